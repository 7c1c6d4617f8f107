"""Mirrors `hyperscale.distributed.encryption`."""

"""Mirrors `hyperscale.distributed.swim`."""

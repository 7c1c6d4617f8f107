"""Mirrors `hyperscale.distributed.health`."""

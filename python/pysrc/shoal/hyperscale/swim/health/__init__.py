"""Mirrors `hyperscale.distributed.swim.health`."""

"""Mirrors `hyperscale.distributed.swim.core`."""

"""Mirrors `hyperscale.distributed.models`."""

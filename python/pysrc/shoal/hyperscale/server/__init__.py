"""Mirrors `hyperscale.distributed.server`."""

"""Mirrors `hyperscale.distributed.jobs`."""

"""Mirrors `hyperscale.distributed.workflow`."""

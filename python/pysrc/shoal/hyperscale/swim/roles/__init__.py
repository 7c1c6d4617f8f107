"""Mirrors `hyperscale.distributed.swim.roles`."""

"""Mirrors `hyperscale.distributed.server.events`."""

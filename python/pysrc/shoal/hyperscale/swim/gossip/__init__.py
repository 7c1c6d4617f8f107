"""Mirrors `hyperscale.distributed.swim.gossip`."""

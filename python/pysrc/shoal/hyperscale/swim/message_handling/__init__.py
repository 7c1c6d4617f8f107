"""Mirrors `hyperscale.distributed.swim.message_handling`."""

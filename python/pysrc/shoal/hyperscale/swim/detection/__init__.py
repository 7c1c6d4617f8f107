"""Mirrors `hyperscale.distributed.swim.detection`."""

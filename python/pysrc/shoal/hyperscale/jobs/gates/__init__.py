"""Mirrors `hyperscale.distributed.jobs.gates`."""

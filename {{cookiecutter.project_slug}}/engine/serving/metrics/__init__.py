"""Metrics: cheap to write in the hot path, summed over all workers when they are read."""

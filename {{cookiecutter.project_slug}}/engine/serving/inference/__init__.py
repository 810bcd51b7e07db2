"""From named arrays to named arrays: signature, batching, models."""

"""What metrics, request lines and traces cost: the service with them beside the same without."""

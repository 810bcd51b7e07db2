"""What leaves a running service, as the kernel sees it."""

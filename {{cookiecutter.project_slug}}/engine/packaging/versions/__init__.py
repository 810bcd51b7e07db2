"""Report where training, lock, environment and image differ, and what each difference means."""

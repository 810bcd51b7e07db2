"""Measure a packaged model on this machine, and say which size of container it wants."""

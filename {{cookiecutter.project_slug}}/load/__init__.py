"""Load tests with Locust; `make load`."""

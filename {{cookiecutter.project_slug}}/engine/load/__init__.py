"""Load test with Locust, and the verdict against load/slo.yaml; `make load`."""

"""The deploy to Kubernetes, against a real control plane."""

"""Azure Container Instances: one container group, replaced in place."""

"""The data plane of container registries: ACR's token service in front of a real registry."""

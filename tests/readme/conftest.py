"""The Docker engine, for the blocks that build and run images."""

from tests.service.conftest import docker_engine

__all__ = ["docker_engine"]

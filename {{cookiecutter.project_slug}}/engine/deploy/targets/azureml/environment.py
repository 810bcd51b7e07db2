"""What an environment file says of an online endpoint, besides what every environment says."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from engine.deploy.config.environment import Environment, Rollout
from engine.deploy.config.kinds import Absent, between, matching

WorkspaceName = Annotated[
    str,
    matching(
        r"[A-Za-z0-9][\w-]{2,32}",
        "must be 3 to 33 letters, digits, - and _, and begin with a letter or digit",
        "iris-ml",
    ),
]
InstanceType = Annotated[
    str,
    matching(
        r"Standard_[A-Z]+\d+[a-z]*(_[A-Za-z0-9]+)*",
        "must be the name of a size as Azure writes it",
        "Standard_F4s_v2",
    ),
]

_ENDPOINT = "an endpoint has an address of its own, with HTTPS"


class EndpointRollout(Rollout):
    """As everywhere; an instance alone takes some ten minutes until it runs."""

    start_seconds: Annotated[int, between(10, 1800, "seconds")] = 1800


class EndpointEnvironment(Environment):
    """An environment behind a managed online endpoint of Azure Machine Learning."""

    absent: ClassVar[Absent] = {
        "dns": (_ENDPOINT, "remove it"),
        "https": (_ENDPOINT, "remove it; an own name needs a gateway in front of the endpoint"),
        "replicas": (
            "an endpoint has a fixed number of instances and never scales to zero",
            "write instances: 2",
        ),
        "copies": ("an endpoint has instances behind one address", "write instances: 2"),
        "switch": (
            "an endpoint always verifies a release beside the old one",
            "remove the line",
        ),
        "container_logs": (
            "Azure Machine Learning keeps the newest lines itself; `logs` shows them",
            "remove it",
        ),
        "restart_policy": (
            "an endpoint always starts a container again that has ended",
            "remove the line",
        ),
        "volumes": (
            "an endpoint mounts models that are registered in its workspace, and no share",
            "remove it; put the files into the image",
        ),
        "allow_retired_gpu": ("it concerns Container Instances only", "remove the line"),
    }

    workspace: WorkspaceName | None = Field(
        None, description="The Azure Machine Learning workspace; by default the endpoint's name."
    )
    instance_type: InstanceType | None = Field(
        None, description="Azure's size; by default the smallest that has cpu and memory_gb."
    )
    instances: Annotated[int, between(1, 50)] = Field(
        1, description="How many instances run, day and night; Microsoft advises 3."
    )
    request_seconds: Annotated[int, between(1, 180, "seconds")] = Field(
        60, description="The endpoint gives up on an answer that takes longer."
    )
    concurrent_requests: Annotated[int, between(1, 1000)] = Field(
        20,
        description="Requests at the same time that an instance gets; twice as many wait, and "
        "the others are refused with 429.",
    )

    rollout: EndpointRollout = EndpointRollout()

    @property
    def workspace_name(self) -> str:
        """The workspace, named or by default."""
        return self.workspace or self.name

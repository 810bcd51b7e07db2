"""deploy/environments/<stage>.yaml: everything that may differ between the environments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from engine.deploy.config.domains import OwnDomains
from engine.deploy.config.kinds import (
    Email,
    GroupName,
    HttpPath,
    Port,
    Region,
    ResourceGroup,
    Section,
    TagName,
    TagValue,
    VariableName,
    VariableValue,
    between,
)
from engine.deploy.targets import kind_names


def _known(value: object) -> object:
    if value not in kind_names():
        expected = " or ".join(repr(name) for name in kind_names())
        raise PydanticCustomError(
            "literal_error", "Input should be {expected}", {"expected": expected}
        )
    return value


TargetName = Annotated[str, BeforeValidator(_known)]
"""One of the folders in ``engine/deploy/targets``."""

Gpu = Literal["none", "t4", "a100", "k80", "p100", "v100"]

CONNECTION = "APPLICATIONINSIGHTS_CONNECTION_STRING"
"""The setting that turns telemetry on; its value is read from Azure at each deploy."""

Seconds = Annotated[int, between(1, 3600, "seconds")]
# A list in YAML is a tuple here, for nothing of a configuration is ever changed.
SecretNames = Annotated[tuple[VariableName, ...], Field(strict=False)]
Emails = Annotated[tuple[Email, ...], Field(strict=False)]


class Probe(Section):
    """A question that Azure asks the container over HTTP, again and again."""

    path: HttpPath
    initial_delay_seconds: Annotated[int, between(0, 3600, "seconds")] = 0
    period_seconds: Seconds = 10
    timeout_seconds: Seconds = 5
    failure_threshold: Annotated[int, between(1, 100)] = 3


class Liveness(Probe):
    """Fails: the container is killed and started again."""

    path: HttpPath = "/healthz"
    initial_delay_seconds: Annotated[int, between(0, 3600, "seconds")] = 15
    period_seconds: Seconds = 15


class Readiness(Probe):
    """Fails: no request reaches the container until it succeeds."""

    path: HttpPath = "/readyz"
    period_seconds: Seconds = 5


class Probes(Section):
    """Both probes."""

    liveness: Liveness = Liveness()
    readiness: Readiness = Readiness()


class Burst(Section):
    """The load that a new release has to bear before it is kept."""

    requests: Annotated[int, between(0, 100_000)] = Field(200, description="0: no burst.")
    p95_ms: Annotated[float, between(1, 60_000, "milliseconds")] = Field(
        500.0,
        description="95 of 100 requests must be answered within this many milliseconds, not "
        "counting the time on the network.",
    )


class Rollout(Section):
    """How long a rollout waits, and what counts as healthy."""

    start_seconds: Annotated[int, between(10, 1800, "seconds")] = Field(
        600, description="From Azure's 'created' until the service is ready."
    )
    verify_seconds: Annotated[int, between(10, 1800, "seconds")] = Field(
        120, description="For release identity, golden answers and burst together."
    )
    lease_seconds: Annotated[int, between(30, 600, "seconds")] = Field(
        45, description="Without a sign of life for so long, a rollout counts as interrupted."
    )
    burst: Burst = Burst()


class Alerts(Section):
    """Who is notified, and the budget; `python -m engine.deploy monitoring` sets it up."""

    email: Emails = Field((), description="Addresses; without one, alerts show in the portal only.")
    budget: Annotated[float, between(0, 1_000_000)] = Field(
        0, description="Most that the resource group may cost in a month; 0: no budget."
    )
    every_minutes: Literal[5, 10, 15, 30, 60] = Field(
        5, description="How often Azure asks the logs; it bills for every asking."
    )
    outside_check_minutes: Literal[0, 5, 10, 15] = Field(
        0, description="How often Azure asks the address from outside; 0: never."
    )


class Environment(Section):
    """One environment: what the files of all targets say. ``stage`` is the name of the file.

    ``target`` decides which model a file has: ``engine.deploy.targets.<target>.environment`` adds
    the fields that only exist there.
    """

    stage: str = Field(description="staging or production; the name of the file.")
    target: TargetName = Field(description="Where it runs: aci, aks, azureml or containerapps.")
    region: Region
    resource_group: ResourceGroup
    name: GroupName = Field(description="Name of the container group, app or endpoint.")
    gpu: Gpu = "none"
    gpu_count: Annotated[int, between(1, 4)] = 1
    cpu: Annotated[float, between(0.25, 64)] = Field(1.0, description="Virtual CPUs.")
    memory_gb: Annotated[float, between(0.5, 512)] = Field(1.5, description="Memory in GB.")
    port: Port = Field(8000, description="Port of the service; its setting PORT follows.")
    variables: Mapping[VariableName, VariableValue] = Field(
        default_factory=dict, description="Settings of the service, visible to all who may look."
    )
    secrets: SecretNames = Field(
        (), description="Names of settings whose values come from the environment of the deploy."
    )
    telemetry: bool = Field(
        True, description="Metrics and traces go to the project's Application Insights."
    )
    alerts: Alerts = Alerts()
    probes: Probes = Probes()
    tags: Mapping[TagName, TagValue] = Field(default_factory=dict)
    rollout: Rollout = Rollout()

    @property
    def own_domains(self) -> OwnDomains | None:
        """Own names; None: there are none."""
        return None

    @property
    def settings(self) -> dict[str, str]:
        """The variables that anyone may see, those that follow from other fields included.

        The name is by what Application Insights tells the environments apart.
        """
        seen = {"OTEL_SERVICE_NAME": self.name} if self.telemetry else {}
        return {**seen, **self.variables, "PORT": str(self.port)}

    @property
    def secret_settings(self) -> tuple[str, ...]:
        """The variables that nobody may read, those that are looked up on Azure included."""
        return (*self.secrets, *((CONNECTION,) if self.telemetry else ()))

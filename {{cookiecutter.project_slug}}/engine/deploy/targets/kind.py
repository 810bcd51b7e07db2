"""What is special about a kind of place besides the running resource, which is a ``Target``.

Each folder beside this file is one kind and has a module ``kind`` with a ``KIND``. Nothing outside
of such a folder knows its name: the configuration offers the folders that are there.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic

from engine.deploy.az import Az
from engine.deploy.bootstrap.inputs import Inputs
from engine.deploy.bootstrap.looks import Tool
from engine.deploy.bootstrap.price import Price
from engine.deploy.bootstrap.role import CustomRole, Role
from engine.deploy.bootstrap.step import Step
from engine.deploy.config.environment import Environment
from engine.deploy.config.project import Project
from engine.deploy.config.rules.rule import Place, Rule
from engine.deploy.diagnosis.evidence import Evidence
from engine.deploy.finding import Finding
from engine.deploy.monitoring.rule import LogRule, MetricRule
from engine.deploy.targets import kind_names
from engine.deploy.targets.base import Inside, Places, Target
from engine.deploy.targets.own_names import OwnNames, ZoneRecords


@dataclass(frozen=True, slots=True)
class Metrics:
    """Azure's metric of the CPU, how many of its units are one core, that of the memory, and how
    many bytes are one of its units.
    """

    cpu: str
    per_core: float
    memory: str
    memory_bytes: float = 1.0


class Kind(ABC, Generic[Place]):
    """One kind of place.

    Attributes:
        environment: the model of its environment files.
        resource_type: Azure's type of what is deployed, "Microsoft.App/containerApps".
        metrics: what Azure measures of it.
        rules: what an environment file must keep.
        deploy_role: lets a deploy run containers in a resource group; None: its bootstrap gives the
            rights.
        prices: list prices, each with its source.
        takes_workspace: what is deployed names the Log Analytics workspace and holds its key.
        has_key: the place itself asks clients for a key.
        own_roles: roles of the project that `roles` may give, besides the deploy's.
        diagnoses: rules for failures that only this kind has.
    """

    environment: type[Place]
    resource_type: str
    metrics: Metrics
    rules: tuple[Rule[Place], ...]
    deploy_role: Role | CustomRole | None
    prices: tuple[Price, ...]
    takes_workspace: bool = False
    has_key: bool = False
    own_roles: tuple[CustomRole, ...] = ()
    diagnoses: tuple[Callable[[Evidence], Iterable[Finding]], ...] = ()

    @property
    def provider(self) -> str:
        """The resource provider for which a subscription has to be registered."""
        return self.resource_type.partition("/")[0]

    @abstractmethod
    def target(self, az: Az, environment: Place, places: Places) -> Target:
        """The resource of one environment."""

    @abstractmethod
    def metric_rules(self, environment: Place) -> tuple[MetricRule, ...]:
        """Alerts on Azure's own metrics."""

    @abstractmethod
    def hour(self, environment: Place) -> float | None:
        """US dollars for an hour of one running copy; None where no price is known."""

    @abstractmethod
    def bill(self, environment: Place, hour: float) -> str:
        """What an environment costs while it runs, for people; ``hour`` as from ``hour``."""

    def apart(self, environment: Place) -> bool:
        """What is deployed is not in the environment's resource group, and does not go with it."""
        return False

    def unpriced(self, environment: Place) -> str:
        """What has no price here, where ``hour`` knows none: "a t4"."""
        return f"a {environment.gpu}"

    def resource(self, environment: Place, name: str) -> str:
        """The end of Azure's id of what has this name, from the provider on."""
        return f"{self.resource_type}/{name}"

    def measured(self, environment: Place) -> Metrics:
        """``metrics``, in the units that an environment has."""
        return self.metrics

    def bills_on(self, environment: Place) -> str:
        """What bills on although the service is stopped, as the end of a sentence."""
        return ""

    def log_rules(self, environment: Place) -> tuple[LogRule, ...]:
        """Alerts on the log, besides those that every kind has."""
        return ()

    def warnings(self, environment: Place) -> Iterable[str]:
        """What is allowed and may surprise, one sentence each."""
        return ()

    def shared_host(self, environment: Place) -> str | None:
        """The name, with its port, by which clients reach all copies, where each has its own."""
        return None

    def probe_address(self, environment: Place, address: str) -> str:
        """Where readiness is asked, before a client makes the certificate be ordered."""
        return address

    def outside(self, environment: Place, address: str) -> Iterable[Finding]:
        """What only a client sees of an address that serves."""
        return ()

    def own_names(
        self, az: Az, environment: Place, places: Places, zone: ZoneRecords | None
    ) -> OwnNames | None:
        """What own names of an environment need; None: it has none."""
        return None

    def storage(self, environment: Place, subscription: str) -> tuple[str, str] | None:
        """Resource group and name of the storage account whose key a document may need."""
        return None

    def mounts(self, environment: Place) -> bool:
        """Whether what is deployed needs the key of that account."""
        return False

    def needs_edge(self, environment: Place) -> bool:
        """Whether the image that ends HTTPS runs beside the service."""
        return False

    def roles(self, environment: Place) -> tuple[Role | CustomRole, ...]:
        """What lets a deploy do more than run containers."""
        return ()

    def roles_elsewhere(self, environment: Place) -> tuple[CustomRole, ...]:
        """Roles that ``bootstrap`` gives a deploy outside of the environment's resource group."""
        return ()

    def private(self, environment: Place) -> bool:
        """Whether only its own network reaches the service."""
        return False

    def inside(self, az: Az, environment: Place, places: Places) -> Inside | None:
        """What asks a service that only its network reaches; None: everybody reaches it."""
        return None

    def providers(self, environment: Place) -> tuple[str, ...]:
        """The resource providers for which a subscription has to be registered."""
        return (self.provider,)

    def places(self, project: Project, environment: Place, found: Places) -> Places:
        """What exists before the first deploy, with what only this kind needs."""
        return found

    def bootstrap(self, inputs: Inputs, stage: str, environment: Place) -> tuple[Step, ...]:
        """What has to be made once in an environment's resource group."""
        return ()

    def tools(self, az: Az, environments: Iterable[Place]) -> Mapping[str, Tool]:
        """What its steps of the bootstrap call besides `az` and `gh`, by the program's name."""
        return {}

    def sends_log(self, environment: Place) -> bool:
        """Whether the deploy needs the workspace and its key for the container's log."""
        return False


def kind_named(name: str) -> Kind[Any]:
    """The kind of this name."""
    kind: Kind[Any] = importlib.import_module(f"engine.deploy.targets.{name}.kind").KIND
    return kind


def kind_of(environment: Environment) -> Kind[Any]:
    """The kind of place that an environment runs on."""
    return kind_named(environment.target)


def own_names(
    az: Az, project: Project, environment: Environment, places: Places
) -> OwnNames | None:
    """What own names of an environment need; None: it has none."""
    given = environment.own_domains
    mark = {"project": project.name, "environment": environment.stage}
    zone = ZoneRecords(az, places.subscription, given.zone, mark) if given and given.zone else None
    return kind_of(environment).own_names(az, environment, places, zone)


def environment_model(content: Mapping[str, object]) -> type[Environment]:
    """The model that a file with this content has: its ``target`` says which.

    Without a target that exists, it is the model that knows most of the fields.
    """
    models = {name: kind_named(name).environment for name in kind_names()}
    best = max(models, key=lambda name: len(content.keys() & models[name].model_fields.keys()))
    chosen: type[Environment] = models.get(str(content.get("target")), models[best])
    return chosen

"""The resource providers, one module each. A new one is added to `classes`."""

from __future__ import annotations

from ..arm.azure import Provider
from .app import App
from .authorization import Authorization
from .consumption import Consumption
from .container_instance import ContainerInstance
from .container_registry import ContainerRegistry
from .container_service import ContainerService
from .identity import Identity
from .insights import Insights
from .machine_learning import MachineLearning
from .operational_insights import OperationalInsights
from .resources import Resources
from .storage import Storage
from .traffic_manager import TrafficManager


def classes() -> tuple[type[Provider], ...]:
    """All providers, in the order in which they start."""
    return (
        Authorization,
        Resources,
        Identity,
        OperationalInsights,
        Insights,
        Consumption,
        ContainerRegistry,
        Storage,
        ContainerInstance,
        App,
        ContainerService,
        MachineLearning,
        TrafficManager,
    )

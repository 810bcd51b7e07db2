"""Resource providers: a subscription has to be told once which services it uses."""

from __future__ import annotations

from collections.abc import Sequence

from engine.deploy.azure_ids import one_of, same
from engine.deploy.bootstrap import storage
from engine.deploy.bootstrap.inputs import Inputs
from engine.deploy.bootstrap.step import Command, Found, Rule, Step, always, az
from engine.deploy.targets.kind import kind_of

PROVIDERS = (
    "Microsoft.ContainerRegistry",
    "Microsoft.ManagedIdentity",
    "Microsoft.OperationalInsights",
    "Microsoft.Insights",
)
_ON_THE_WAY = ("Registering", "Unregistering")
# No filter: JMESPath compares case, and Azure calls one of them microsoft.insights.
_SHOWN = "[].{namespace: namespace, registrationState: registrationState}"


def registrations(inputs: Inputs) -> Step:
    """A new subscription knows no service before its provider is registered, once and for all.

    Registering takes minutes, so all are asked for before the first one is waited for.
    """
    places = inputs.environments.values()
    used = (name for each in places for name in kind_of(each).providers(each))
    keeps = (storage.PROVIDER,) if storage.captured(inputs) else ()
    wanted = list(dict.fromkeys((*used, *keeps, *PROVIDERS)))
    return Step(
        key="providers",
        what="resource providers",
        purpose=f"tells the subscription which services it uses: {', '.join(wanted)}",
        look=az("provider", "list", "--query", _SHOWN),
        make=tuple(map(_register, wanted)),
        state=lambda found: _slowest(found, wanted),
        rules=tuple(_registered(each) for each in wanted),
    )


def _register(namespace: str) -> Command:
    return az("provider", "register", "--namespace", namespace)


def _registered(namespace: str) -> Rule:
    return Rule(
        path=lambda found: one_of(_registration(found, namespace), ("Registered", "Registering")),
        wanted=True,
        wrong=f"{namespace} is not registered",
        repair=always(_register(namespace)),
    )


def _registration(found: Found, namespace: str) -> str | None:
    for each in found:
        if same(each["namespace"], namespace):
            return str(each["registrationState"])
    return None


def _slowest(found: Found, wanted: Sequence[str]) -> str:
    """On its way, as long as one of those that are wanted is."""
    states = [_registration(found, each) for each in wanted]
    return next((each for each in _ON_THE_WAY if one_of(each, states)), "Registered")

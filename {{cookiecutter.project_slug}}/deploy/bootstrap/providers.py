"""Resource providers: a subscription has to be told once which services it uses."""

from __future__ import annotations

from deploy.bootstrap.ground import Ground
from deploy.bootstrap.step import Command, Found, Rule, Step, always, az

PROVIDERS = (
    "Microsoft.ContainerInstance",
    "Microsoft.ContainerRegistry",
    "Microsoft.ManagedIdentity",
    "Microsoft.OperationalInsights",
    "Microsoft.Insights",
)
APPS_PROVIDER = "Microsoft.App"


def registrations(ground: Ground) -> Step:
    """A new subscription knows no service before its provider is registered, once and for all.

    Registering takes minutes, so all are asked for before the first one is waited for.
    """
    wanted = list(PROVIDERS)
    if any(each.target == "containerapps" for each in ground.environments.values()):
        wanted.append(APPS_PROVIDER)
    chosen = " || ".join(f"namespace=='{each}'" for each in wanted)
    shown = "{namespace: namespace, registrationState: registrationState}"
    return Step(
        key="providers",
        what="resource providers",
        purpose=f"tells the subscription which services it uses: {', '.join(wanted)}",
        look=az("provider", "list", "--query", f"[?{chosen}].{shown}"),
        make=tuple(map(_register, wanted)),
        state=_slowest,
        rules=tuple(_registered(each) for each in wanted),
    )


def _register(namespace: str) -> Command:
    return az("provider", "register", "--namespace", namespace)


def _registered(namespace: str) -> Rule:
    return Rule(
        path=lambda found: _registration(found, namespace) in ("Registered", "Registering"),
        wanted=True,
        wrong=f"{namespace} is not registered",
        repair=always(_register(namespace)),
    )


def _registration(found: Found, namespace: str) -> str | None:
    for each in found:
        if each["namespace"].lower() == namespace.lower():
            return str(each["registrationState"])
    return None


def _slowest(found: Found) -> str:
    """Being registered, as long as one of them is."""
    states = {each["registrationState"] for each in found}
    return "Registering" if "Registering" in states else "Registered"

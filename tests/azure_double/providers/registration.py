"""Microsoft.Resources: which namespaces there are, and which the subscription may use."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from ..arm.admission import REGISTERED
from ..arm.azure import Azure, Provider
from ..arm.call import Answer, Call
from ..arm.errors import ArmError
from ..arm.routes import IN_SUBSCRIPTION, Route
from ..settings import REGIONS

READ = "Microsoft.Resources/subscriptions/providers/read"
TYPE = "Microsoft.Resources/providers"
VERSIONS = frozenset({"2016-02-01", "2021-04-01", "2022-09-01", "2024-11-01", "2025-04-01"})
SPELLED = {"Microsoft.Insights": "microsoft.insights"}
"""As published outputs of `az provider show` have it."""
REGISTERING_SECONDS = 0.5
"""Minutes in Azure."""


def routes() -> Iterable[Route]:
    """List, show, register. Roles on a group do not let their holders see namespaces."""
    every = f"{IN_SUBSCRIPTION}/providers"
    one = f"{every}/{{namespace}}"
    for method, template, handle, action in (
        ("GET", every, list_all, READ),
        ("GET", one, show, READ),
        ("POST", f"{one}/register", register, ""),
    ):
        yield Route(method, template, handle, action, TYPE, VERSIONS, scope=IN_SUBSCRIPTION)


async def list_all(call: Call) -> Answer:
    """All namespaces."""
    return Answer(200, {"value": [_shown(call.azure, each) for each in call.azure.providers]})


async def show(call: Call) -> Answer:
    """One namespace, with its types and their api-versions."""
    return Answer(200, _shown(call.azure, _find(call)))


async def register(call: Call) -> Answer:
    """Needs the namespace's own ``register/action`` on the subscription."""
    provider = _find(call)
    call.log.action = f"{provider.namespace}/register/action"
    call.azure.access.require(call.caller, call.log.action, call.scope)
    finished = time.monotonic() + REGISTERING_SECONDS
    _registered(call.azure).setdefault(provider.namespace.lower(), finished)
    return Answer(200, _shown(call.azure, provider))


def _find(call: Call) -> Provider:
    namespace = call.values["namespace"]
    for provider in call.azure.providers:
        if provider.namespace.lower() == namespace.lower():
            return provider
    raise ArmError(
        404, "InvalidResourceNamespace", f"The resource namespace '{namespace}' is invalid."
    )


def _registered(azure: Azure) -> dict[str, float]:
    found: dict[str, float] = azure.store.require(azure.settings.subscription_id).hidden[REGISTERED]
    return found


def _state(azure: Azure, provider: Provider) -> str:
    if provider.registration_free:
        return "Registered"
    finished = _registered(azure).get(provider.namespace.lower())
    if finished is None:
        return "NotRegistered"
    return "Registered" if finished <= time.monotonic() else "Registering"


def _shown(azure: Azure, provider: Provider) -> dict[str, Any]:
    types = [
        {
            "resourceType": each.path,
            "locations": list(REGIONS),
            "apiVersions": sorted(each.versions, reverse=True),
            "capabilities": "SupportsTags, SupportsLocation",
        }
        for each in provider.types()
    ]
    policy = "RegistrationFree" if provider.registration_free else "RegistrationRequired"
    return {
        "id": f"{azure.settings.subscription_id}/providers/{provider.namespace}",
        "namespace": SPELLED.get(provider.namespace, provider.namespace),
        "registrationPolicy": policy,
        "registrationState": _state(azure, provider),
        "resourceTypes": types,
    }

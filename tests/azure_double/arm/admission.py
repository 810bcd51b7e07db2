"""What Azure checks before a resource provider sees a call."""

from __future__ import annotations

import time
from typing import Any

from ..settings import REGIONS
from . import ids
from .azure import Azure, Provider
from .call import Call
from .errors import ArmError
from .routes import Route

REGISTERED = "registered"
"""Key in `Resource.hidden` of the subscription: the namespaces that were registered, in lower case,
and when that is finished, on the monotonic clock."""


class Admission:
    """Subscription, rights, group, registration and region, in this order."""

    def __init__(self, azure: Azure, providers: list[Provider]) -> None:
        self._azure = azure
        self._free = {each.namespace.lower() for each in providers if each.registration_free}

    def check(self, route: Route, call: Call) -> None:
        """Let the call pass.

        Raises:
            ArmError: it may not.
        """
        settings = self._azure.settings
        subscription = ids.subscription(call.id)
        if subscription and subscription.lower() != settings.subscription:
            raise ArmError(
                404,
                "SubscriptionNotFound",
                f"The subscription '{subscription}' could not be found.",
            )
        if route.action:
            self._azure.access.require(call.caller, route.action, call.scope)
        if (group := ids.group(call.id)) and not route.type.endswith("/resourceGroups"):
            found = self._azure.store.require(f"{settings.subscription_id}/resourceGroups/{group}")
            if found.properties["provisioningState"] == "Deleting":
                _refuse_deleting(group, route)
        if route.makes:
            self._check_registered(route)
            _check_location(route, call.body)

    def _check_registered(self, route: Route) -> None:
        namespace = route.type.partition("/")[0]
        subscription = self._azure.store.require(self._azure.settings.subscription_id)
        finished = subscription.hidden[REGISTERED].get(namespace.lower(), float("inf"))
        if namespace.lower() in self._free or time.monotonic() >= finished:
            return
        code = "MissingSubscriptionRegistration"
        message = f"The subscription is not registered to use namespace '{namespace}'."
        hint = "See https://aka.ms/rps-not-found for how to register subscriptions."
        detail = {"code": code, "target": namespace, "message": message}
        raise ArmError(409, code, f"{message} {hint}", details=[detail])


def check_version(route: Route, version: str) -> None:
    """Refuse an api-version that the type does not have.

    Raises:
        ArmError: 400 or 404, as Azure answers for writing and for reading.
    """
    if not version:
        raise ArmError(
            400,
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        )
    if not route.versions or version in route.versions:
        return
    namespace, _, type_name = route.type.partition("/")
    known = ", ".join(sorted(route.versions))
    if route.makes:
        raise ArmError(
            400,
            "NoRegisteredProviderFound",
            f"No registered resource provider found for API version '{version}' for type "
            f"'{type_name}'. The supported api-versions are '{known}'.",
        )
    raise ArmError(
        404,
        "InvalidResourceType",
        f"The resource type '{type_name}' could not be found in the namespace '{namespace}' for "
        f"api version '{version}'. The supported api-versions are '{known}'.",
    )


def _refuse_deleting(group: str, route: Route) -> None:
    if route.method in ("PUT", "PATCH", "POST"):
        raise ArmError(
            409,
            "ResourceGroupBeingDeleted",
            f"The resource group '{group}' is in deprovisioning state and cannot perform this "
            "operation.",
        )


def _check_location(route: Route, body: dict[str, Any]) -> None:
    location = body.get("location")
    if location is None or str(location).lower() == "global":
        return
    if str(location).lower().replace(" ", "") not in REGIONS:
        raise ArmError(
            400,
            "LocationNotAvailableForResourceType",
            f"The provided location '{location}' is not available for resource type "
            f"'{route.type}'. List of available regions for the resource type is "
            f"'{','.join(REGIONS)}'.",
        )

"""Microsoft.Resources/deployments in a resource group, for templates without resources.

Such a deployment changes nothing and stays in the group's history with its outputs. Templates
with resources, expressions or the mode Complete (which would delete what the group holds) are not
modelled. The fault ``deployments.slow`` lets one take ``detail["seconds"]``.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import json
import re
import uuid
from collections.abc import Iterable
from typing import Any

from ..arm.call import Answer, Call, demand, lister, show
from ..arm.errors import ArmError, not_modelled
from ..arm.routes import ResourceType, Route
from ..arm.store import Resource

VERSIONS = frozenset({"2021-04-01", "2022-09-01", "2024-03-01", "2024-11-01", "2025-04-01"})
NAME = re.compile(r"[-\w.()]{1,64}")
TYPES = {
    "string": str,
    "securestring": str,
    "int": int,
    "bool": bool,
    "object": dict,
    "array": list,
}
SECONDS = 0.3
ACTIVE = ("Accepted", "Running")


def routes() -> Iterable[Route]:
    """Create, show, list, delete, validate."""
    types = ResourceType("Microsoft.Resources", "deployments", VERSIONS)
    yield types.put(put)
    yield types.get(show)
    yield types.list(lister(types.name))
    yield types.delete(delete)
    yield types.post("validate", validate)


async def put(call: Call) -> Answer:
    """Accepted at once; outputs are there when it has succeeded, a moment later."""
    name = call.values["name"]
    if not NAME.fullmatch(name):
        raise ArmError(
            400,
            "InvalidDeploymentName",
            f"The provided deployment name '{name}' is not valid: "
            "1 to 64 letters, digits, '-', '_', '.', '(' and ')'.",
        )
    outputs = _outputs(call.body)
    existing = call.azure.store.get(call.id)
    if existing and existing.properties["provisioningState"] in ACTIVE:
        raise _active(existing)
    properties = _begin(call.body["properties"])
    made = call.azure.store.put(call.id, {"properties": properties}, {"sent": call.body})

    slow = call.azure.faults.take("deployments.slow", call.id)

    async def work() -> None:
        await asyncio.sleep(slow.detail["seconds"] if slow else SECONDS)
        made.properties.update(provisioningState="Succeeded", outputs=outputs, duration="PT0.3S")

    return call.long_running(work, status=200 if existing else 201, body=made.shown())


async def delete(call: Call) -> Answer:
    """Removes it from the history; what it deployed would stay."""
    existing = call.azure.store.get(call.id)
    if existing is None:
        return Answer(204)
    if existing.properties["provisioningState"] in ACTIVE:
        raise _active(existing)

    async def work() -> None:
        await call.azure.remove(call.id)

    return call.long_running(work)


async def validate(call: Call) -> Answer:
    """What `az deployment group create` asks first."""
    _outputs(call.body)
    properties = _begin(call.body["properties"]) | {"provisioningState": "Succeeded"}
    return Answer(200, {"id": call.id, "name": call.values["name"], "properties": properties})


def _begin(properties: dict[str, Any]) -> dict[str, Any]:
    template = json.dumps(properties["template"], sort_keys=True).encode()
    return {
        "templateHash": str(int(hashlib.sha256(template).hexdigest()[:15], 16)),
        "mode": properties["mode"],
        "provisioningState": "Accepted",
        "timestamp": datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z"),
        "duration": "PT0S",
        "correlationId": str(uuid.uuid4()),
        "providers": [],
        "dependencies": [],
    }


def _outputs(body: dict[str, Any]) -> dict[str, Any]:
    """The outputs as a finished deployment shows them, the template having been checked."""
    mode, template = demand(body, "properties.mode"), demand(body, "properties.template")
    if mode != "Incremental":
        raise not_modelled(f"deployments in mode {mode}: it deletes what the group holds")
    unknown = template.keys() - {"$schema", "contentVersion", "resources", "outputs", "metadata"}
    if unknown - {"parameters", "variables"} or any(
        template.get(each) for each in ("resources", "parameters", "variables")
    ):
        raise not_modelled("deployments of templates with more than outputs")
    for each in ("$schema", "contentVersion", "resources"):
        if each not in template:
            raise _invalid(f"Deployment template validation failed: '{each}' is missing.")
    return {name: _output(name, each) for name, each in template.get("outputs", {}).items()}


def _output(name: str, output: dict[str, Any]) -> dict[str, Any]:
    kind, value = output.get("type", ""), output.get("value")
    if kind.lower() not in TYPES or not isinstance(value, TYPES[kind.lower()]):
        raise _invalid(f"The template output '{name}' is not valid: it is not of type '{kind}'.")
    return {"type": kind[:1].upper() + kind[1:], "value": _literal(value)}


def _literal(value: Any) -> Any:
    """The value; text that Azure would evaluate is refused, doubled brackets lose one."""
    if isinstance(value, dict):
        return {key: _literal(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_literal(each) for each in value]
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        if not value.startswith("[["):
            raise not_modelled(f"expressions in templates: {value[:60]}")
        return value[1:]
    return value


def _active(existing: Resource) -> ArmError:
    return ArmError(
        409,
        "DeploymentActive",
        f"Unable to edit or replace deployment '{existing.name}': previous deployment from "
        f"'{existing.properties['timestamp']}' is still active. Please see "
        "https://aka.ms/arm-deploy for usage details.",
    )


def _invalid(message: str) -> ArmError:
    return ArmError(400, "InvalidTemplate", message)

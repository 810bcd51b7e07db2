"""Microsoft.Resources/tags: the tags of any resource or group, changed in part."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..arm.call import Answer, Call, demand
from ..arm.errors import ArmError
from ..arm.routes import Route
from ..arm.store import Resource

TYPE = "Microsoft.Resources/tags"
VERSIONS = frozenset({"2021-04-01", "2022-09-01", "2024-11-01", "2025-04-01"})


def routes() -> Iterable[Route]:
    """Show and change."""
    template = f"{{scope*}}/providers/{TYPE}/default"
    for method, handle, verb in (("GET", show, "read"), ("PATCH", patch, "write")):
        action = f"{TYPE}/{verb}"
        yield Route(method, template, handle, action, TYPE, VERSIONS, subject="{scope*}")


async def show(call: Call) -> Answer:
    """The tags of whatever the scope is."""
    return Answer(200, _shown(call.resource()))


async def patch(call: Call) -> Answer:
    """Merge, Replace or Delete."""
    resource = call.resource()
    given = demand(call.body, "properties.tags")
    operation = demand(call.body, "operation")
    tags: dict[str, str] = resource.body.get("tags") or {}
    if operation == "Merge":
        resource.body["tags"] = tags | given
    elif operation == "Replace":
        resource.body["tags"] = given
    elif operation == "Delete":
        resource.body["tags"] = {name: tags[name] for name in tags if name not in given}
    else:
        raise ArmError(400, "InvalidTagPatchOperation", f"Unknown operation '{operation}'.")
    return Answer(200, _shown(resource))


def _shown(resource: Resource) -> dict[str, Any]:
    return {
        "id": f"{resource.id}/providers/{TYPE}/default",
        "name": "default",
        "type": TYPE,
        "properties": {"tags": dict(resource.body.get("tags") or {})},
    }

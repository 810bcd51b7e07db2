"""Is this document a container group at all? Asked of the service's own Python models.

Azure refuses a property that it does not know; `az container create --file` passes any on. So a
misspelt property is found here or nowhere before a real deployment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from azure.mgmt.containerinstance import models

from ..arm.errors import ArmError

ROOT = "ContainerGroup"
SCALARS: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "float": (int, float)}
MISSING_IS_A_RULE = ("ResourceRequests", "ResourceRequirements")
"""Azure answers their absence with an error of its own, in `aci_rules`."""
ALSO_REQUIRED = {"Container": "properties.image"}
"""The models leave it to the service; without it there is nothing to run."""
CONTAINER_OF = re.compile(r"^(?P<open>[\[{])(?P<inner>.+)[\]}]$")


def check(body: dict[str, Any]) -> None:
    """Compare a request body with the models: names, types, required and read-only properties.

    Raises:
        ArmError: 400 InvalidRequestContent with everything that is wrong.
    """
    faults = list(_faults(body, ROOT, ""))
    if faults:
        raise ArmError(
            400,
            "InvalidRequestContent",
            "The request content was invalid and could not be deserialized: " + "; ".join(faults),
        )


def _faults(value: Any, kind: str, where: str) -> Iterator[str]:
    """What is wrong with a value that should be of a model's type: 'str', '[Port]', '{str}' …"""
    wrapped = CONTAINER_OF.match(kind)
    if wrapped:
        yield from _faults_of_many(value, wrapped["open"], wrapped["inner"], where)
    elif kind in SCALARS or kind in ("bool", "object"):
        if not _is_scalar(value, kind):
            yield f"'{where}' must be of type {kind} and is a {type(value).__name__}"
    elif not isinstance(value, dict):
        yield f"'{where}' must be an object and is a {type(value).__name__}"
    else:
        yield from _faults_of_model(value, kind, where)


def _is_scalar(value: Any, kind: str) -> bool:
    if kind == "object":
        return True
    if kind == "bool" or isinstance(value, bool):  # a bool is an int in Python, not in JSON
        return kind == "bool" and isinstance(value, bool)
    return isinstance(value, SCALARS[kind])


def _faults_of_many(value: Any, opening: str, inner: str, where: str) -> Iterator[str]:
    expected, called = (list, "a list") if opening == "[" else (dict, "an object")
    if not isinstance(value, expected):
        yield f"'{where}' must be {called} and is a {type(value).__name__}"
        return
    pairs = enumerate(value) if isinstance(value, list) else value.items()
    for position, item in pairs:
        yield from _faults(item, inner, f"{where}[{position}]")


def _faults_of_model(value: dict[str, Any], kind: str, where: str) -> Iterator[str]:
    """The members of a model, 'properties.' included, which Azure nests and Python flattens."""
    known, required, read_only = _members(kind)
    for path in sorted(required - set(_paths(value, known))):
        yield f"Required property '{path}' not found in JSON at '{where or '(root)'}'"
    for path, item in _flat(value, known):
        place = f"{where}.{path}" if where else path
        if path not in known:
            yield f"Could not find member '{path}' on object of type '{kind}' at '{place}'"
        elif path in read_only:
            yield f"'{place}' is read-only and may not be sent"
        elif item is not None:
            yield from _faults(item, known[path], place)


def _members(kind: str) -> tuple[dict[str, str], set[str], set[str]]:
    """Paths of a model with their types; those that are required; those that are read-only."""
    model: Any = getattr(models, kind)
    known, read_only = {}, set()
    required = {ALSO_REQUIRED[kind]} if kind in ALSO_REQUIRED else set()
    for attribute, entry in model._attribute_map.items():
        path = entry["key"]
        known[path] = entry["type"]
        rules = model._validation.get(attribute, {})
        if rules.get("required") and kind not in MISSING_IS_A_RULE:
            required.add(path)
        if rules.get("readonly"):
            read_only.add(path)
    return known, required, read_only


def _flat(value: dict[str, Any], known: dict[str, str]) -> Iterator[tuple[str, Any]]:
    nested = any(path.startswith("properties.") for path in known)
    for name, item in value.items():
        if nested and name == "properties" and isinstance(item, dict):
            yield from ((f"properties.{inner}", deeper) for inner, deeper in item.items())
        else:
            yield name, item


def _paths(value: dict[str, Any], known: dict[str, str]) -> Iterator[str]:
    return (path for path, item in _flat(value, known) if item is not None)

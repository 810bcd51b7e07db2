"""Are these documents an app, an environment at all? Asked of the service's own Python models.

`az` brings them along, generated from the specification of API version 2025-07-01. The package
azure-mgmt-appcontainers that `az` also installs is of 2022 and knows no workload profiles.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from azure.cli.command_modules.containerapp import _sdk_models as models

from ..arm.errors import ArmError

SCALARS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
}
CONTAINER_OF = re.compile(r"^(?P<open>[\[{])(?P<inner>.+)[\]}]$")
LOOSE = {
    # az writes the member of its default profile with a capital; Azure reads names loosely.
    ("WorkloadProfile", "Name"): "name",
}


def check(body: dict[str, Any], kind: str, *, partial: bool = False) -> None:
    """Compare a body with a model: names, types, required and read-only members.

    Args:
        kind: ``ContainerApp`` or ``ManagedEnvironment``.
        partial: a PATCH, in which nothing is required.

    Raises:
        ArmError: 400 InvalidRequestContent with everything that is wrong.
    """
    faults = list(_model_faults(body, kind, "", partial))
    if faults:
        raise ArmError(
            400,
            "InvalidRequestContent",
            "The request content was invalid and could not be deserialized: " + "; ".join(faults),
        )


def _faults(value: Any, kind: str, where: str, partial: bool) -> Iterator[str]:
    """What is wrong with a value that should be of a type: 'str', '[Container]', '{str}' …"""
    wrapped = CONTAINER_OF.match(kind)
    if wrapped:
        yield from _many_faults(value, wrapped["open"], wrapped["inner"], where, partial)
    elif kind in SCALARS:
        # A bool is an int in Python and not in JSON.
        if not isinstance(value, SCALARS[kind]) or (isinstance(value, bool) != (kind == "bool")):
            yield f"'{where}' must be of type {kind} and is a {type(value).__name__}"
    elif isinstance(getattr(models, kind, None), type) and isinstance(value, dict):
        yield from _model_faults(value, kind, where, partial)
    elif hasattr(getattr(models, kind, None), "_attribute_map"):
        yield f"'{where}' must be an object and is a {type(value).__name__}"


def _many_faults(value: Any, opening: str, inner: str, where: str, partial: bool) -> Iterator[str]:
    expected, called = (list, "a list") if opening == "[" else (dict, "an object")
    if not isinstance(value, expected):
        yield f"'{where}' must be {called} and is a {type(value).__name__}"
        return
    pairs = enumerate(value) if isinstance(value, list) else value.items()
    for position, item in pairs:
        # The items of a list are replaced as a whole: nothing in them may be left out.
        yield from _faults(item, inner, f"{where}[{position}]", partial and opening == "{")


def _model_faults(value: dict[str, Any], kind: str, where: str, partial: bool) -> Iterator[str]:
    """The members of a model, 'properties.' included, which Azure nests and Python flattens."""
    model: Any = getattr(models, kind)
    known = {entry["key"]: entry["type"] for entry in model._attribute_map.values()}
    rules = {
        entry["key"]: model._validation.get(name, {})
        for name, entry in model._attribute_map.items()
    }
    given = dict(_flat(value, kind, known))
    if not partial:
        for path, rule in rules.items():
            if rule.get("required") and given.get(path) is None:
                yield f"Required property '{path}' not found in JSON at '{where or '(root)'}'"
    for path, item in given.items():
        place = f"{where}.{path}" if where else path
        if path not in known:
            yield f"Could not find member '{path}' on object of type '{kind}' at '{place}'"
        elif item is not None and not rules[path].get("readonly"):
            yield from _faults(item, known[path], place, partial)


def _flat(value: dict[str, Any], kind: str, known: dict[str, str]) -> Iterator[tuple[str, Any]]:
    nested = any(path.startswith("properties.") for path in known)
    for name, item in value.items():
        if nested and name == "properties" and isinstance(item, dict):
            yield from ((f"properties.{inner}", deeper) for inner, deeper in item.items())
        else:
            yield LOOSE.get((kind, name), name), item

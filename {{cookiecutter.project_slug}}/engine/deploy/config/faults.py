"""What pydantic found wrong with a file, said for the person who has to correct it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from engine.deploy.config.kinds import BROKEN_RULE, Section
from engine.deploy.config.rules.rule import Broken, field_name
from engine.deploy.config.source import HIDDEN, MISSING, Location, Source, Written
from engine.errors import Fault

# Fields that people know by another name, or look for in the other file.
ELSEWHERE = {
    "accelerator": "it is in deploy/project.yaml: one image for all environments",
    "target": "it is in deploy/environments/, for every environment",
    "gpu": "it is in deploy/environments/, for every environment",
    "environments": "each has its own file in deploy/environments/",
    "env": "write variables",
    "environment_variables": "write variables",
    "image": "remove it: the image is the one that was built from the commit",
    "location": "write region",
    "memory": "write memory_gb",
    "memoryInGB": "write memory_gb",
    "stage": "remove it: the name of the file says it",
}
# Fields in which somebody may have written a secret by mistake.
_NEVER_SHOWN = "secrets"


def fault_of(error: ErrorDetails, source: Source, model: type[Section]) -> Fault:
    """One fault of pydantic's, with file, line, the value as it is written, rule and way out."""
    # The key of a mapping is reported with "[key]" behind it.
    location = tuple(step for step in error["loc"] if step != "[key]")
    rule, fix = _rule(error, source, location, model)
    value = _value(error, source, location)
    return Fault(source.place(location), field_name(location), value, rule, fix)


def fault_of_rule(broken: Broken, source: Source, content: BaseModel) -> Fault:
    """A rule across fields that is broken; ``content`` is what the file says, typed."""
    value: Any = content
    for step in broken.at:
        value = getattr(value, str(step)) if isinstance(value, BaseModel) else value[step]
    hidden = broken.secret or broken.at[0] == _NEVER_SHOWN
    shown = HIDDEN if hidden else source.written(broken.at) or value
    return Fault(source.place(broken.at), field_name(broken.at), shown, broken.rule, broken.fix)


def suggestion(wrong: str, known: Iterable[str]) -> str | None:
    """The known name that is nearest to a wrong one, if any is near."""
    by_case = {name.lower(): name for name in known}
    near = difflib.get_close_matches(wrong.lower(), by_case, n=1, cutoff=0.7)
    longer = [name for name in by_case if name.startswith(f"{wrong.lower()}_")]
    return next((by_case[name] for name in (*near, *longer)), None)


def _value(error: ErrorDetails, source: Source, location: Location) -> object:
    if error["type"] == "missing":
        return MISSING
    if location and location[0] == _NEVER_SHOWN:
        return HIDDEN
    if error["type"] == "extra_forbidden":
        return Written("unknown")
    if error["loc"][-1] == "[key]":
        return location[-1]
    return source.written(location) or error["input"]


def _rule(
    error: ErrorDetails, source: Source, location: Location, model: type[Section]
) -> tuple[str, str]:
    kind, written = error["type"], source.written(location)
    context = error.get("ctx", {})
    if kind == BROKEN_RULE:
        return str(context["rule"]), str(context["fix"])
    if kind == "extra_forbidden":
        return _unknown(str(location[-1]), _section_at(model, location))
    if kind == "missing":
        return "is required", f"add the line  {location[-1]}: ..."
    if kind == "literal_error":
        near = suggestion(str(error["input"]), str(context["expected"]).replace("'", "").split())
        return f"must be {context['expected']}", f"write {near}" if near else "take one of these"
    if kind == "string_type" and written is not None:
        return _read_as(error["input"]), f'quote it: "{written or "..."}"'
    wants = {
        "string_type": ("must be text", 'write it in quotes, on one line: "..."'),
        "bool_type": ("must be true or false", "write true or false, without quotes"),
        "int_type": ("must be a whole number", "write it without quotes and without a point"),
        "int_from_float": ("must be a whole number", "write it without a point"),
        "float_type": ("must be a number", "write it without quotes"),
        "tuple_type": ("must be a list of names", "write each name on a line of its own, after -"),
    }
    fallback = ("must consist of fields", "write them indented below it, such as  NAME: value")
    return wants.get(kind, fallback)


def _read_as(value: object) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", type(None): "nothing at all"}
    return f"must be text, and without quotes YAML reads it as {names.get(type(value), 'a date')}"


def _unknown(key: str, section: type[Section]) -> tuple[str, str]:
    if key in section.absent:
        return section.absent[key]
    rule = "there is no such field"
    fields = [field for field in section.model_fields if field != "stage"]
    if key in ELSEWHERE and key not in fields:
        return rule, ELSEWHERE[key]
    near = suggestion(key, fields)
    return rule, f"did you mean {near}?" if near else f"there are {', '.join(fields)}"


def _section_at(model: type[Section], location: Location) -> type[Section]:
    for step in location[:-1]:
        if isinstance(step, str):
            annotation: Any = model.model_fields[step].annotation
            for part in (annotation, *get_args(annotation)):
                if isinstance(part, type) and issubclass(part, Section):
                    model = part
    return model

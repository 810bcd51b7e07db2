"""Compare what is there with what should be: values, lists, and ids that are known only later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.deploy.azure_ids import plain, same
from engine.deploy.bootstrap.step import Among, Argument, Found, Output, Rule, value_at

Known = Mapping[str, Found]
"""What the looks of the steps so far have shown, by the steps' keys."""


def resolved(argument: Argument, known: Known) -> str | None:
    """The text of an argument; None while the step that gives it is not done."""
    if isinstance(argument, str):
        return argument
    value = value_at(known.get(argument.step), argument.path)
    return None if value is None else f"{argument.prefix}{value}"


def met(rule: Rule, found: Found, known: Known) -> bool:
    """Whether what was found obeys the rule."""
    actual = value_at(found, rule.path)
    wanted = resolved(rule.wanted, known) if isinstance(rule.wanted, Output) else rule.wanted
    return _same(actual, wanted, exact=rule.exact) != rule.refused


def chosen(among: Among, shown: Found, known: Known) -> Found | None:
    """The element of a list that is meant; None if it is not there, or cannot be known yet."""
    wanted = {name: resolved(value, known) for name, value in among.where.items()}
    if None in wanted.values():
        return None
    for each in value_at(shown, among.path) or ():
        if all(
            _same(value_at(each, name), value, exact=among.exact) for name, value in wanted.items()
        ):
            return each
    return None


def _same(actual: Any, wanted: Any, *, exact: bool) -> bool:
    if isinstance(wanted, tuple):
        if not isinstance(actual, (list, tuple)):
            return False
        spelled = str if exact else plain
        return sorted(map(spelled, actual)) == sorted(map(spelled, wanted))
    if isinstance(wanted, bool):
        return bool(actual) is wanted  # Azure may leave out what is false
    if isinstance(wanted, str) and isinstance(actual, str) and not exact:
        return same(actual, wanted)
    return bool(actual == wanted)

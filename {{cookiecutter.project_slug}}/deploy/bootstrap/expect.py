"""Compare what is there with what should be: values, lists, and ids that are known only later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy.bootstrap.step import Among, Argument, Found, Output, Rule, value_at

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
    return _same(actual, wanted) != rule.refused


def chosen(among: Among, shown: Found, known: Known) -> Found | None:
    """The element of a list that is meant; None if it is not there, or cannot be known yet."""
    wanted = {name: resolved(value, known) for name, value in among.where.items()}
    if None in wanted.values():
        return None
    for each in value_at(shown, among.path) or ():
        if all(_same(value_at(each, name), value) for name, value in wanted.items()):
            return each
    return None


def _same(actual: Any, wanted: Any) -> bool:
    if isinstance(wanted, tuple):
        return isinstance(actual, (list, tuple)) and _plain(actual) == _plain(wanted)
    if _is_id(wanted) and isinstance(actual, str):
        return bool(actual.rstrip("/").lower() == wanted.lower())
    return bool(actual == wanted)


def _plain(items: Any) -> list[str]:
    """In no order; the ids of Azure without regard to case."""
    return sorted(each.lower() if _is_id(each) else str(each) for each in items)


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("/subscriptions/")

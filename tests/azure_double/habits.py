"""How Azure may spell what it gives back: habits that a test turns on, one by one or together.

Where Azure's way is published, the providers have it; these are for where it is not, or not the
same in all regions and versions. They change what successful answers show, and nothing that is
kept: code that relies on one spelling fails under another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Habit = Callable[[str, Any], Any]
_ID = "/subscriptions/"
_FOR_PEOPLE = {
    "westeurope": "West Europe",
    "northeurope": "North Europe",
    "swedencentral": "Sweden Central",
    "eastus": "East US",
    "westus3": "West US 3",
}
# az itself looks for these, in the spelling of the specification.
_OF_AZ = ("nextlink", "serializeddata")


def _ids(change: Callable[[str], str]) -> Habit:
    def habit(name: str, value: Any) -> Any:
        is_id = isinstance(value, str) and value.startswith(_ID) and name.lower() not in _OF_AZ
        return change(value) if is_id else value

    return habit


def _location(change: Callable[[str], str]) -> Habit:
    def habit(name: str, value: Any) -> Any:
        return change(value) if name == "location" and isinstance(value, str) else value

    return habit


def _without_empty(_: str, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: each for key, each in value.items() if each not in ([], {}, "")}


def _dictionary_keys(name: str, value: Any) -> Any:
    if name != "notifications" or not isinstance(value, dict):
        return value
    return {key[:1].lower() + key[1:]: each for key, each in value.items()}


def _profile_types(name: str, value: Any) -> Any:
    return value.upper() if name == "workloadProfileType" and isinstance(value, str) else value


def _providers(name: str, value: Any) -> Any:
    return value.lower() if name == "namespace" and isinstance(value, str) else value


HABITS: dict[str, Habit] = {
    "ids-lower": _ids(str.lower),
    "ids-upper": _ids(str.upper),
    "locations-plain": _location(lambda text: text.replace(" ", "").lower()),
    "locations-pretty": _location(lambda text: _FOR_PEOPLE.get(text.lower(), text)),
    "empty-dropped": _without_empty,
    "keys-lower-first": _dictionary_keys,
    "profile-types-upper": _profile_types,
    "providers-lower": _providers,
}


def dressed(value: Any, habits: list[Habit], name: str = "") -> Any:
    """A JSON value as an Azure with these habits shows it."""
    if isinstance(value, dict):
        value = {key: dressed(each, habits, key) for key, each in value.items()}
    elif isinstance(value, list):
        value = [dressed(each, habits, name) for each in value]
    for habit in habits:
        value = habit(name, value)
    return value

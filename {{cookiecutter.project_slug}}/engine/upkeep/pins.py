"""Pins of actions in workflows, where your Dependabot and the template have both renewed them."""

from __future__ import annotations

import re

PIN = re.compile(r"(?<=uses: )(?P<action>[^@\s]+)@(?P<commit>[0-9a-f]{40}) # v(?P<version>\S+)")


def settled(base: str, ours: str, new: str) -> tuple[str, str]:
    """Both versions of the template with pins that cannot conflict with the owner's.

    Where the template renewed nothing but pins, it changes nothing: Dependabot offers them to you
    as well. Else an action gets the newer one of the owner's pin and the template's.

    Args:
        base: a workflow as the recorded version of the template has it.
        ours: as the owner has it.
        new: as the new version of the template has it.

    Returns:
        The recorded and the new version to merge with.
    """
    if PIN.sub("", base) == PIN.sub("", new):
        return base, base
    mine, theirs = _pins(ours), _pins(new)
    newest = {
        action: max(pin, theirs.get(action, pin), key=_version) for action, pin in mine.items()
    }
    return _with(base, mine), _with(new, newest)


def _pins(text: str) -> dict[str, str]:
    return {each["action"]: each[0] for each in PIN.finditer(text)}


def _with(text: str, pins: dict[str, str]) -> str:
    return PIN.sub(lambda each: pins.get(each["action"], each[0]), text)


def _version(pin: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", pin.rpartition("# v")[2])]

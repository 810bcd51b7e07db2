"""What a rule across several fields is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from engine.deploy.config.environment import Environment
from engine.deploy.config.project import Project


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that a value of the environment breaks. ``at`` leads to it: keys and positions.

    ``secret``: the value must not be shown.
    """

    at: tuple[int | str, ...]
    rule: str
    fix: str
    secret: bool = False


Place = TypeVar("Place", bound=Environment)
"""The model of the environments that a rule is about."""


@dataclass(frozen=True, slots=True)
class Rule(Generic[Place]):
    """A check, and the fields that it needs: with one of them faulty it cannot be judged.

    Fields of the project are written ``project.<field>``.
    """

    needs: tuple[str, ...]
    check: Callable[[Project, Place], Iterator[Broken]]


def field_name(at: Sequence[int | str]) -> str:
    """``("secrets", 0)`` as ``secrets[0]``, ``("dns", "label")`` as ``dns.label``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in at)
    return text.removeprefix(".")

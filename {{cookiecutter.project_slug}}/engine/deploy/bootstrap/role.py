"""Roles: those that Azure has, and those that a project makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.deploy.config.project import Project


@dataclass(frozen=True, slots=True)
class Role:
    """A role of Azure. ``id`` is its own, the same in every subscription."""

    name: str
    id: str


@dataclass(frozen=True, slots=True)
class CustomRole:
    """A role of the project. ``key`` is that of the step that makes it, ``actions`` what it allows,
    ``purpose`` completes the sentence "The role ...".
    """

    key: str
    name: Callable[[Project], str]
    actions: tuple[str, ...]
    purpose: str

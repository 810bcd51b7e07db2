"""The kinds of places that a service can run on: each package in this folder is one."""

from __future__ import annotations

import pkgutil


def kind_names() -> tuple[str, ...]:
    """Their names, in alphabetical order."""
    return tuple(sorted(each.name for each in pkgutil.iter_modules(__path__) if each.ispkg))

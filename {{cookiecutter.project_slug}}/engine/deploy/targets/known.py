"""Which kinds of places there are: the packages in this folder."""

from __future__ import annotations

import pkgutil

from engine.deploy import targets


def kind_names() -> tuple[str, ...]:
    """Their names, in alphabetical order."""
    return tuple(sorted(each.name for each in pkgutil.iter_modules(targets.__path__) if each.ispkg))

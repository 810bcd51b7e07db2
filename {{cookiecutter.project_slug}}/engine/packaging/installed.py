"""Which installed distributions have a top-level module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata


@cache
def distributions() -> Mapping[str, Sequence[str]]:
    """The names of distributions by top-level module.

    It reads the record of every installed distribution, which takes a third of a second; nothing
    is installed while a model is packaged.
    """
    return metadata.packages_distributions()

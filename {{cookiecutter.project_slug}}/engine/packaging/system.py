"""Debian packages that Python packages need and do not bring along."""

from __future__ import annotations

from collections.abc import Iterable

# Their wheels link to these libraries; slim images of Python do not have them.
SYSTEM = {"lightgbm": ("libgomp1",)}


def system_of(packages: Iterable[str]) -> tuple[str, ...]:
    """The Debian packages, sorted.

    Args:
        packages: names of distributions.
    """
    return tuple(sorted({each for name in packages for each in SYSTEM.get(name, ())}))

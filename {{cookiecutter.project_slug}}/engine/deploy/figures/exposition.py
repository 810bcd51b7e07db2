"""Read what `/metrics` answers: Prometheus' text format, as far as this service writes it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_SAMPLE = re.compile(r"(?P<name>[A-Za-z_:][\w:]*)(?:\{(?P<labels>.*)\})? +(?P<value>\S+)(?: +\d+)?")
_LABEL = re.compile(r'([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"')
_ESCAPES = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}


@dataclass(frozen=True, slots=True)
class Sample:
    """One line: a metric's name, its labels, its value."""

    name: str
    labels: Mapping[str, str]
    value: float


def read(text: str) -> tuple[Sample, ...]:
    """The samples in their order; lines that are none are passed over."""
    found = []
    for line in text.splitlines():
        parts = _SAMPLE.fullmatch(line.strip())
        if parts is None:
            continue
        try:
            value = float(parts["value"])
        except ValueError:
            continue
        labels = {name: _unescaped(given) for name, given in _LABEL.findall(parts["labels"] or "")}
        found.append(Sample(parts["name"], labels, value))
    return tuple(found)


def total(samples: Iterable[Sample], name: str) -> float | None:
    """The sum over all labels; None where the metric is not there."""
    values = [each.value for each in samples if each.name == name]
    return sum(values) if values else None


def quantile(samples: Iterable[Sample], name: str, share: float) -> float | None:
    """The value below which this share of a histogram lies, all labels together.

    Within a bucket the values are taken to lie evenly, as Prometheus does; what lies beyond the
    last bound is given as that bound. None: nothing was measured.
    """
    counts: dict[float, float] = {}
    for each in samples:
        if each.name == f"{name}_bucket" and "le" in each.labels:
            bound = float(each.labels["le"])
            counts[bound] = counts.get(bound, 0.0) + each.value
    ordered = sorted(counts.items())
    if not ordered or ordered[-1][1] <= 0:
        return None
    wanted = share * ordered[-1][1]
    low, below = 0.0, 0.0
    for bound, reached in ordered:
        if reached >= wanted:
            if bound == float("inf"):
                return low
            inside = reached - below
            return low + (bound - low) * ((wanted - below) / inside if inside else 1.0)
        low, below = bound, reached
    return low


def _unescaped(text: str) -> str:
    return re.sub(r"\\.", lambda found: _ESCAPES.get(found[0], found[0]), text)

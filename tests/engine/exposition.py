"""Read `/metrics` as Prometheus does."""

from __future__ import annotations

import httpx
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families


def families(text: str) -> dict[str, Metric]:
    """The families by the names that they are published with; a counter's ends in `_total`."""
    found = list(text_string_to_metric_families(text))
    return {each.name + ("_total" if each.type == "counter" else ""): each for each in found}


def value(text: str, sample: str, **labels: str) -> float | None:
    """One sample; None where it is absent."""
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            if each.name == sample and each.labels == labels:
                return float(each.value)
    return None


def ask(url: str, sample: str, **labels: str) -> float | None:
    """One sample of a running service."""
    return value(httpx.get(f"{url}/metrics").text, sample, **labels)

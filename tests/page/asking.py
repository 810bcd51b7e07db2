"""What the page should show, read from the service without it."""

from __future__ import annotations

import re
import time
from typing import Any

import httpx

BUCKET = re.compile(r'inference_request_duration_seconds_bucket\{le="([^"]+)",[^}]*\} (\S+)')
TRIES, PAUSE = 400, 0.05


def get(url: str, path: str) -> Any:
    """A JSON answer of the service."""
    return httpx.get(f"{url}/{path}", timeout=10).json()


def post(url: str, body: str, model: str = "iris", **headers: str) -> httpx.Response:
    """A prediction."""
    headers["Content-Type"] = "application/json"
    return httpx.post(f"{url}/predict/{model}", content=body, headers=headers, timeout=10)


def wait_for_failure(url: str) -> None:
    """Wait until the service says that it has failed."""
    for _ in range(TRIES):
        try:
            if get(url, "readyz")["state"] == "failed":
                return
        except httpx.TransportError:
            pass  # it does not listen yet
        time.sleep(PAUSE)
    raise AssertionError(f"{url} did not fail")


def total(scrape: str, name: str, *labels: str) -> float:
    """Sum of all samples of a metric that have these labels, from the text of /metrics."""
    lines = [line for line in scrape.splitlines() if re.match(rf"{name}[{{ ]", line)]
    assert lines, f"/metrics has no {name}"
    return sum(float(line.split()[-1]) for line in lines if all(each in line for each in labels))


def quantile(before: str, after: str, part: float) -> float:
    """Quantile of the request duration between two scrapes, in seconds.

    What Prometheus documents of histogram_quantile: find the bucket, then go through it evenly.
    """
    counts: dict[float, float] = {}
    for scrape, sign in ((after, 1), (before, -1)):
        for bound, count in BUCKET.findall(scrape):
            counts[float(bound)] = counts.get(float(bound), 0) + sign * float(count)
    rank = part * counts[float("inf")]
    lower, below = 0.0, 0.0
    for bound, count in sorted(counts.items()):
        if count >= rank:
            return (
                lower
                if bound == float("inf")
                else lower + (bound - lower) * ((rank - below) / (count - below))
            )
        lower, below = bound, count
    raise AssertionError("no request between the scrapes")

"""Verify a running service at any address: ready, the right release, right answers, fast enough.

The image's digest is no part of this: a service cannot know it. The rollout compares it in the
document of the container group.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from engine.client.burst import check_burst
from engine.client.failures import Check, Report, VerifyError
from engine.client.identity import Expected, check_release
from engine.client.parity import Record, check_parity, read_records, served_records
from engine.client.readiness import Progress, require_ready, wait_until_ready
from engine.client.service import Limits, Service

MODELS = Path(__file__).resolve().parents[2] / "models"


def key_from(environment: Mapping[str, str]) -> str | None:
    """The API key to ask with: the first of API_KEYS, else LOAD_API_KEY."""
    keys = [*environment.get("API_KEYS", "").split(","), environment.get("LOAD_API_KEY", "")]
    return next((key.strip() for key in keys if key.strip()), None)


def verify(
    url: str,
    expected: Expected | None,
    limits: Limits,
    progress: Progress = lambda text: None,
    *,
    models: Path = MODELS,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
    authority: str | None = None,
) -> Report:
    """Verify what answers at an address.

    Args:
        url: with scheme and host, for example ``http://name.region.azurecontainer.io:8000``.
        expected: the release it must report; None: any.
        limits: how long to wait, and what is fast enough.
        progress: is called with a line at every step, and every five seconds while waiting.
        models: folder of the model packages whose golden records are asked.
        key: an API key; by default that of the environment. It is never printed.
        headers, authority: see ``Service``.

    Raises:
        VerifyError: it must not be kept; ``report`` says what passed before.
        EngineError: the golden records of the checkout cannot be read.
    """
    read_records(models)  # before anything is asked
    key = key or key_from(os.environ)
    report = Report(url)
    with Service(url, key, limits.request_seconds, headers, authority) as service:

        def ready() -> str:
            return f"after {wait_until_ready(service, limits.ready_seconds, progress):.1f} s"

        def still_ready() -> str:
            require_ready(service)
            return "after the burst"

        records: list[Record] = []

        def answers() -> str:
            records.extend(served_records(service, models))
            return check_parity(service, records, limits, progress)

        steps: tuple[tuple[str, Callable[[], str]], ...] = (
            ("ready", ready),
            ("release", lambda: check_release(service, expected)),
            ("answers", answers),
            ("speed", lambda: check_burst(service, records, limits)),
            ("still ready", still_ready),
        )
        for name, run in steps:
            report = _checked(report, name, run, progress)
    return report


def _checked(report: Report, name: str, run: Callable[[], str], progress: Progress) -> Report:
    begun = time.monotonic()
    try:
        detail = run()
    except VerifyError as error:
        seconds = time.monotonic() - begun
        error.report = report.with_check(Check(name, False, error.cause, seconds))
        raise
    progress(f"{name}: {detail}")
    return report.with_check(Check(name, True, detail, time.monotonic() - begun))

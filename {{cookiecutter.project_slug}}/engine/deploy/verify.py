"""Verify a running service at any address: ready, the right release, right answers, fast enough.

The image's digest is no part of this: a service cannot know it. The rollout compares it in the
document of the container group.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from engine.client.burst import check_burst
from engine.client.failures import Check, Report, VerifyError
from engine.client.identity import Expected, check_release
from engine.client.parity import (
    Record,
    check_parity,
    read_records,
    served_records,
)
from engine.client.readiness import Progress, require_ready, wait_until_ready
from engine.client.service import Limits, Service
from engine.deploy.az import AzError
from engine.deploy.az_error import TIMED_OUT
from engine.deploy.config.environment import Rollout
from engine.errors import EngineError

AGAIN_SECONDS = (5.0, 15.0, 30.0)
"""Pauses before further tries: a lost connection, a gateway's error or a stale answer is over."""

MODELS = Path(__file__).resolve().parents[2] / "models"


T = TypeVar("T")


def key_from(environment: Mapping[str, str]) -> str | None:
    """The API key to ask with: the first of API_KEYS, else LOAD_API_KEY."""
    keys = [*environment.get("API_KEYS", "").split(","), environment.get("LOAD_API_KEY", "")]
    return next((key.strip() for key in keys if key.strip()), None)


def limits_of(rollout: Rollout) -> Limits:
    """The limits that an environment is configured with."""
    return Limits(
        ready_seconds=rollout.verify_seconds,
        burst_requests=rollout.burst.requests,
        burst_p95_ms=rollout.burst.p95_ms,
    )


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


def ask_again(
    check: Callable[[], T],
    seconds: float,
    progress: Progress,
    *,
    also: tuple[type[VerifyError], ...] = (),
) -> T:
    """Call ``check`` again as long as it fails without proof, a few times.

    Args:
        check: raises ``VerifyError``, or ``AzError`` where Azure is asked.
        seconds: no further try begins after so many.
        progress: is called with the reason of each further try.
        also: failures that may be over in a moment although they are proof.

    Raises:
        EngineError: of the last try.
    """
    begun = time.monotonic()
    for pause in AGAIN_SECONDS:
        try:
            return check()
        except (VerifyError, AzError) as error:
            late = time.monotonic() - begun + pause > seconds
            if late or not (may_pass(error) or isinstance(error, also)):
                raise
            progress(f"asking again in {pause:.0f} s: {error.cause}")
            time.sleep(pause)
    return check()


def may_pass(error: EngineError) -> bool:
    """Whether the failure is no proof, and may be over in a moment."""
    if isinstance(error, AzError):
        return error.transient or error.code == TIMED_OUT
    return isinstance(error, VerifyError) and not error.proof and not error.final


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

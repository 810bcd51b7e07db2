"""A deploy on the double, watched change by change.

Each request of a stage that changes something is held by the double until the test has seen it.
Then it arrives; or its sender is killed first, and it arrives afterwards, as a request does that
was on its way. So a test need not know beforehand how many changes a deploy makes, and when.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any

from .rollout_world import SECONDS, SLUG, RolloutWorld

_POLL_SECONDS = 0.05
_TIMES = 1000
_RESOURCE = re.compile(
    r"/(?P<type>deployments|containergroups|containerapps)/[^/]+(?P<below>/.*)?$", re.IGNORECASE
)
_NAMES = {"deployments": "record", "containergroups": "group", "containerapps": "app"}
_QUESTIONS = ("getauthtoken", "listsecrets")
"""They are asked with POST and change nothing."""


def step_of(request: Mapping[str, Any]) -> str | None:
    """A change in words, with the state that it writes: "PUT group verifying", "PUT record kept".

    None for a question, and for a sign of life: a rollout sends as many as time demands.
    """
    method, body = request["method"], request["body"] or {}
    found = _RESOURCE.search(request["path"])
    assert found, request["path"]
    name, below = _NAMES[found["type"].lower()], (found["below"] or "").rpartition("/")[2].lower()
    if below in _QUESTIONS:
        return None
    if below:
        return f"{method} {name} {below}"
    if name == "record" and body:
        written = body["properties"]["template"]["outputs"].get("record")
        return written and f"{method} {name} {json.loads(written['value'])['phase']}"
    state = (body.get("tags") or {}).get("rollout-state", "")
    return f"{method} {name} {state}".rstrip()


def walked(
    world: RolloutWorld,
    stage: str,
    process: subprocess.Popen[str],
    at: Mapping[str, Callable[[], object]] | None = None,
) -> list[str]:
    """Let a deploy go on to its end, however that comes; gives the steps that were sent.

    Args:
        world: where it happens.
        stage: the stage that the process deploys to.
        process: the deploy, just started. Read its output afterwards.
        at: what is done when a step was sent and has not arrived yet. A step that comes again is
            called "DELETE group, again".
    """
    where = f"[PD]* */resourcegroups/{SLUG}-{stage}/*"
    steps: list[str] = []
    number = 0
    deadline = time.monotonic() + SECONDS
    world.double.inject(where=where, times=_TIMES, hold=True)
    try:
        while (runs := process.poll() is None) or _held(world, stage):
            for request in _held(world, stage):
                number = request["number"]
                if step := step_of(request):
                    steps.append(f"{step}, again" if step in steps else step)
                    (at or {}).get(steps[-1], _nothing)()
                world.double.release(number)
            assert time.monotonic() < deadline, f"still at {steps}"
            time.sleep(_POLL_SECONDS if runs else 0)
    finally:
        world.double.clear_faults(where)
        for request in _held(world, stage):
            world.double.release(request["number"])
    while number and not world.double.requests()[number - 1]["status"]:
        assert time.monotonic() < deadline, f"{steps[-1]} is never answered"
        time.sleep(_POLL_SECONDS)
    return steps


def _held(world: RolloutWorld, stage: str) -> list[dict[str, Any]]:
    inside = f"/resourcegroups/{SLUG}-{stage}/"
    return [each for each in world.double.held() if inside in each["path"].lower()]


def _nothing() -> None:
    """Most steps are only seen."""

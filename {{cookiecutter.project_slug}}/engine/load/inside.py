"""`python -m engine.load.inside TASK`: a load test inside of a network that lets nobody in.

The service's own image runs it, so it needs no Locust: each user is a thread. Requests, checks and
figures are those of every load test, and the deploy that sent the task judges them. The API key
comes from LOAD_API_KEY. Exit code 0: it ran, and its last line has the figures; 1: it could not.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from threading import Thread

from engine.client.failures import Unreachable
from engine.client.parity import served_records
from engine.client.readiness import wait_until_ready
from engine.client.service import Service
from engine.client.verification import MODELS, key_from
from engine.client.wire import LENGTH
from engine.errors import EngineError
from engine.load.measured import Kind, Measured, Recording, Request, Slot, measure
from engine.load.samples import Sample, prepare
from engine.serving.proxies import keep_local_direct

COMMAND = ("python", "-m", "engine.load.inside")
ANSWER_SECONDS, READY_SECONDS = 30.0, 60.0
RAN, FAILED = 0, 1
_MARK = "measured: "
_TASKS = {"single_row": 6, "batch": 2, "protocol_json": 1, "protocol_binary": 2, "mistake": 1}
"""How often users do what, as in ``engine.load.locustfile``."""


@dataclass(frozen=True, slots=True)
class Task:
    """The load; ``think`` is the shortest and longest pause of a user, all times are in seconds."""

    url: str
    users: int
    ramp_seconds: float
    before_seconds: float
    run_seconds: float
    think: tuple[float, float]

    def argument(self) -> str:
        """The task as an argument of ``COMMAND``; it holds no secret."""
        return json.dumps(asdict(self))


def read_measured(exit_code: int, lines: Sequence[str]) -> Measured:
    """The figures, from how the command ended and what it printed.

    Raises:
        EngineError: it could not run; the message has its last words.
    """
    said = [line.strip() for line in lines if line.strip()]
    try:
        if exit_code != RAN:
            raise ValueError(f"exit code {exit_code}")
        content = json.loads(next(x for x in reversed(said) if x.startswith(_MARK))[len(_MARK) :])
        return Measured(
            **{
                **content,
                "kinds": tuple(Kind(**each) for each in content["kinds"]),
                "slots": tuple(Slot(**each) for each in content["slots"]),
                "failures": tuple((str(name), int(count)) for name, count in content["failures"]),
            }
        )
    except (KeyError, StopIteration, TypeError, ValueError) as error:
        words = said[-1][:200] if said else "nothing"
        raise EngineError(
            f"the load test inside of the network has no figures ({error}); it said: {words}",
            "read the log of the service (`.venv/bin/python -m engine.deploy logs ENV`)",
        ) from None


def run(task: Task, key: str | None) -> Recording:
    """Put the load on the service.

    Raises:
        EngineError: it is not ready, or its golden records cannot be read.
    """
    with Service(task.url, key, ANSWER_SECONDS) as service:
        wait_until_ready(service, READY_SECONDS, lambda text: print(text, flush=True))
        samples = prepare(served_records(service, MODELS))
    began, cpu = time.monotonic(), time.process_time()
    end = began + task.before_seconds + task.run_seconds
    requests: list[Request] = []
    users = [
        Thread(target=_use, args=(task, key, samples, began, end, number, requests), daemon=True)
        for number in range(task.users)
    ]
    for user in users:
        user.start()
    for user in users:
        user.join(end - time.monotonic() + ANSWER_SECONDS)
    share = 100 * (time.process_time() - cpu) / (time.monotonic() - began)
    return Recording(task.before_seconds, end - began, requests, share)


def _use(
    task: Task,
    key: str | None,
    samples: Mapping[str, list[Sample]],
    began: float,
    end: float,
    number: int,
    requests: list[Request],
) -> None:
    """One user, who comes in its turn and thinks for a moment between requests."""
    chance = random.Random(number)  # noqa: S311 - chooses samples
    time.sleep(task.ramp_seconds * number / task.users)
    with Service(task.url, key, ANSWER_SECONDS) as service:
        while time.monotonic() < end:
            (name,) = chance.choices(list(_TASKS), list(_TASKS.values()))
            requests.append(_asked(service, chance.choice(samples[name]), began))
            time.sleep(chance.uniform(*task.think))


def _asked(service: Service, sample: Sample, began: float) -> Request:
    start = time.monotonic()
    try:
        response = service.post(sample.request)
    except Unreachable as error:
        fault: str | None = f"no answer: {error.cause}"
        now = time.monotonic()
    else:
        now = time.monotonic()
        length = response.headers.get(LENGTH)
        fault = sample.fault(response.status_code, response.content, length)
    return Request(now - began, sample.kind, 1000 * (now - start), fault or "")


def main(arguments: list[str]) -> int:
    """The command line; its exit code."""
    keep_local_direct()
    try:
        (text,) = arguments
        recording = run(Task(**json.loads(text)), key_from(os.environ))
    except (EngineError, TypeError, ValueError) as error:
        print(f"error: {error}", flush=True)
        return FAILED
    print(_MARK + json.dumps(asdict(measure(recording))), flush=True)
    return RAN


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

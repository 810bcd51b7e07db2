"""Stop the service under full load, again and again: no client may lose anything."""

from __future__ import annotations

import re
import subprocess
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

from benchmarks.resilience import kinds
from benchmarks.resilience.client import Kind
from benchmarks.resilience.generator import Clients, Seen
from benchmarks.resilience.service import Site, serving
from benchmarks.resilience.traffic import Shape
from benchmarks.resilience.verdict import Outcome, Promise, at_most, none_of

# Many, so that at every moment some of them are just coming back; for the slow model as many as
# its queue can take.
IRIS_CLIENTS = 400
HEAVY_CLIENTS = 48
LONGEST_SECONDS = 10.0
GIVE_UP_SECONDS = 30
# The clients end by themselves when the service is gone.
LOAD_SECONDS = 60.0
LOADED_SECONDS = 0.8
STEP_SECONDS = 0.013
ANSWERED = re.compile(r'^inference_requests_total\{[^}]*status="200"[^}]*\} [1-9]', re.MULTILINE)
COLUMNS = ("workers", "model", "stops", "answers", "faults", "exit codes", "slowest exit s")


@dataclass(frozen=True)
class Stop:
    """One stop: how the process ended and what the clients saw until then."""

    workers: int
    model: str
    code: int
    seconds: float
    seen: Seen


def sigterm(site: Site, *, quick: bool) -> Outcome:
    """SIGTERM under full load, with 1 and 2 workers, a quick and a slow model in turn."""
    stops = [
        _stop(site, workers, number)
        for workers in (1, 2)
        for number in range(5 if quick else 20)
    ]  # fmt: skip
    return Outcome(
        "sigterm",
        f"{IRIS_CLIENTS} keep-alive clients, for the heavy model {HEAVY_CLIENTS}, that ask as fast "
        "as they are answered; they come back until the port refuses them.",
        COLUMNS,
        table(stops),
        promises(stops),
        {"stops": [each.__dict__ | {"seen": each.seen.__dict__} for each in stops]},
    )


def promises(stops: list[Stop]) -> list[Promise]:
    """What is promised of every stop."""
    faults: Counter[str] = Counter()
    for each in stops:
        faults.update(each.seen.faults)
    bad = Counter(f"exit code {each.code}" for each in stops if each.code)
    idle = sum(1 for each in stops if not each.seen.of("200"))
    return [
        none_of("reset connection, no lost answer", faults),
        none_of("exit code but 0", bad),
        at_most("slowest exit", max(each.seconds for each in stops), LONGEST_SECONDS, " s"),
        at_most("stops without load", idle, 0),
    ]


def table(stops: list[Stop]) -> list[list[str]]:
    """One line for each number of workers and model."""
    lines = []
    for workers, model in dict.fromkeys((each.workers, each.model) for each in stops):
        chosen = [each for each in stops if (each.workers, each.model) == (workers, model)]
        lines.append(
            [
                str(workers),
                model,
                str(len(chosen)),
                f"{sum(each.seen.of('200').get('count', 0) for each in chosen):.0f}",
                str(sum(sum(each.seen.faults.values()) for each in chosen)),
                ", ".join(sorted({str(each.code) for each in chosen})),
                f"{max(each.seconds for each in chosen):.2f}",
            ]
        )
    return lines


def _stop(site: Site, workers: int, number: int) -> Stop:
    heavy = number % 2 == 1
    kind: Kind = kinds.heavy() if heavy else kinds.iris()
    models = site.heavy if heavy else site.iris
    shape = Shape(HEAVY_CLIENTS if heavy else IRIS_CLIENTS, LOAD_SECONDS)
    with serving(site, models, WORKERS=str(workers)) as service:
        clients = Clients(service.port, [kind], shape, until_gone=True)
        _wait_for_load(service.port)
        # Never at the same moment of a batch.
        time.sleep(LOADED_SECONDS + number * STEP_SECONDS)
        begun = time.monotonic()
        service.process.terminate()
        try:
            code = service.process.wait(GIVE_UP_SECONDS)
        except subprocess.TimeoutExpired:
            code = -1
        seconds = time.monotonic() - begun
        return Stop(workers, kind.name, code, seconds, clients.seen())


def _wait_for_load(port: int) -> None:
    """Wait until a client was answered; ``promises`` finds a stop before which none was."""
    url = f"http://127.0.0.1:{port}/metrics"
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(url, timeout=GIVE_UP_SECONDS) as answer:
            if ANSWERED.search(answer.read().decode()):
                return
        time.sleep(0.02)

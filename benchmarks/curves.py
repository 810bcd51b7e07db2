"""Latency curves: constant-rate load on the best configuration of some servers, rising in steps."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.launch import Launched, launched
from benchmarks.loads import LOADS
from benchmarks.measure import Contender, Plan, say
from benchmarks.processes import ServerFailedError
from benchmarks.results import CurvePoint, Results

OPEN_LOOP = Path(__file__).with_name("open_loop.py")
LOAD = "iris"
CONNECTIONS = 64
# A third more each time; the generator itself, one Python thread, ends at 12000 to 20000 a second.
RATES = tuple(round(250 * (4 / 3) ** step, -1) for step in range(15))
# Where a curve ends: a server that answers less than it is offered only builds a queue.
SATURATED = 0.97
TIMEOUT_SECONDS = 60


def measure_curves(plan: Plan, results: Results, every: int = 1) -> None:
    """Add curves of iris with single rows, at every n-th rate.

    A server without samples of that load has none.
    """
    if LOAD not in {load.name for load in plan.loads}:
        return
    say("latency curves, constant rate")
    for contender in plan.contenders:
        name = results.best(LOAD, contender.server.name)
        if name is None or contender.server.kind == "ours binary":
            continue
        try:
            for point in _curve(plan, contender, name, RATES[::every]):
                results.curves.append(point)
        except (ServerFailedError, subprocess.SubprocessError) as error:
            say(f"  {contender.server.title}: curve LEFT OUT: {error}")
            results.left_out[f"{contender.server.title}, latency curve"] = str(error)


def _curve(
    plan: Plan, contender: Contender, name: str, rates: Iterable[float]
) -> Iterator[CurvePoint]:
    configuration = next(each for each in contender.configurations if each.name == name)
    model = next(load.model for load in LOADS if load.name == LOAD)
    with launched(contender.server, configuration, model, contender.site) as process:
        _offer(plan, process, RATES[2])
        for rate in rates:
            answer = _offer(plan, process, rate)
            point = CurvePoint(server=contender.server.name, **answer)
            if point.answered < SATURATED * point.offered:
                say(f"  {contender.server.title}: saturated at {rate:.0f}/s")
                return
            yield point


def _offer(plan: Plan, process: Launched, rate: float) -> dict[str, float]:
    request = process.request(1)
    body = plan.site.scratch / "body"
    body.write_bytes(request.body)
    path = process.url(1).partition(f":{process.port}")[2]
    numbers = [str(each) for each in (rate, plan.seconds, CONNECTIONS)]
    headers = [f"{name}: {value}" for name, value in request.headers.items()]
    command: list[str | Path] = [sys.executable, OPEN_LOOP, str(process.port), path, body]
    done = subprocess.run(
        [*command, *numbers, *headers],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise ServerFailedError(done.stderr.strip().splitlines()[-1])
    answer: dict[str, float] = json.loads(done.stdout)
    return answer

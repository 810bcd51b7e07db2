"""The measurement itself: repetitions, and in each of them every server in turn, one at a time."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from benchmarks import processes, wrk
from benchmarks.configurations import Configuration
from benchmarks.launch import Launched, Site, launched
from benchmarks.loads import Load
from benchmarks.processes import ServerFailedError
from benchmarks.quiet import Watch
from benchmarks.results import DISTURBED, Bare, Results, Sample
from benchmarks.servers import Server

Found = TypeVar("Found")
LIMIT = Path(__file__).with_name("session_limit.py")
BARE_TIMEOUT = 300
# How often a load is measured, at most, while others disturb it.
ATTEMPTS = 3
PAUSE_SECONDS = 2


@dataclass(frozen=True)
class Contender:
    """A server with those of its configurations that take part, and its folders."""

    server: Server
    configurations: tuple[Configuration, ...]
    site: Site


@dataclass
class Plan:
    """What a run does.

    `keep`: after the first repetition a configuration is measured again if for some load it is
    within this share of its server's best. `dropped` fills as the run goes on.
    """

    contenders: list[Contender]
    loads: tuple[Load, ...]
    repetitions: int
    seconds: float
    warm_seconds: float
    site: Site
    keep: float = 0.15
    dropped: set[tuple[str, str, str]] = field(default_factory=set)

    def loads_of(self, model: str) -> list[Load]:
        """The loads of one model."""
        return [load for load in self.loads if load.model == model]


def measure(plan: Plan, results: Results, path: Path) -> None:
    """Measure what the results do not have yet of the plan; they are saved after every server."""
    for repetition in range(1, plan.repetitions + 1):
        for model in dict.fromkeys(load.model for load in plan.loads):
            say(f"repetition {repetition} of {plan.repetitions}, {model}")
            if not any(
                (each.repetition, each.model) == (repetition, model) for each in results.bare
            ):
                results.bare += _bare(plan, repetition, model)
            for contender in plan.contenders:
                for configuration in contender.configurations:
                    _one(plan, results, repetition, model, contender, configuration)
                    results.save(path)
        if repetition == 1:
            _drop(plan, results)


def say(line: str) -> None:
    """Tell the progress."""
    print(f"bench: {line}", flush=True)


def _one(
    plan: Plan,
    results: Results,
    repetition: int,
    model: str,
    contender: Contender,
    configuration: Configuration,
) -> None:
    """All loads of one model on one configuration; a fault leaves it out, with a word."""
    server = contender.server
    key = (server.name, configuration.name, model)
    if model not in server.models or key in plan.dropped:
        return
    if all(
        results.has(repetition, load.name, server.name, configuration.name)
        for load in plan.loads_of(model)
    ):
        return
    label = f"{server.title} ({configuration.name})"
    try:
        with launched(server, configuration, model, contender.site) as process:
            if process.relapse:
                say(f"  {label}: after its first right answer: {process.relapse}")
                results.relapses[f"{label}, {model}"] = process.relapse
            found = [
                _sample(plan, repetition, load, server.name, configuration.name, process)
                for load in plan.loads_of(model)
            ]
    except (ServerFailedError, wrk.LoadFailedError) as error:
        say(f"  {label}: LEFT OUT: {error}")
        results.left_out[f"{label}, {model}"] = str(error)
        plan.dropped.add(key)
        return
    results.samples += found
    numbers = "; ".join(
        f"{each.load} {each.rate:.0f}/s p50 {each.p50_ms:.2f} p99 {each.p99_ms:.2f} ms"
        + _disturbed(each.others)
        for each in found
    )
    say(f"  {label}: {numbers}; {found[-1].memory_mb:.0f} MB, start {found[-1].start_s:.2f} s")


def _sample(
    plan: Plan,
    repetition: int,
    load: Load,
    server: str,
    configuration: str,
    process: Launched,
) -> Sample:
    process.check(load.rows)
    request, url = process.request(load.rows), process.url(load.rows)
    # One client comes after many of the same kind, and finds everything warm.
    if not load.idle:
        wrk.run(url, request, load.clients, plan.warm_seconds, plan.site.scratch)
    loaded, others = _quietest(
        lambda: wrk.run(url, request, load.clients, plan.seconds, plan.site.scratch), process.pid
    )
    return Sample(
        repetition=repetition,
        load=load.name,
        server=server,
        configuration=configuration,
        rate=loaded.rate,
        p50_ms=loaded.p50_ms,
        p99_ms=loaded.p99_ms,
        memory_mb=processes.megabytes(process.pid),
        start_s=process.start_s,
        others=others,
    )


def _quietest(measured: Callable[[], Found], pid: int | None = None) -> tuple[Found, float]:
    """Measure; again where others disturbed it; the least disturbed attempt, and by how much."""
    attempts: list[tuple[Found, float]] = []
    while not attempts or (attempts[-1][1] > DISTURBED and len(attempts) < ATTEMPTS):
        time.sleep(PAUSE_SECONDS * len(attempts))
        watch = Watch(pid)
        found = measured()
        attempts.append((found, watch.others()))
    return min(attempts, key=lambda attempt: attempt[1])


def _bare(plan: Plan, repetition: int, model: str) -> list[Bare]:
    folder = plan.site.models / model
    command: list[str | Path] = [plan.site.venv / "bin" / "python", LIMIT, folder / "model.onnx"]
    command += [str(plan.seconds), *sorted(folder.glob("samples-*.npz"))]
    done, others = _quietest(
        lambda: subprocess.run(
            command, capture_output=True, text=True, timeout=BARE_TIMEOUT, check=True
        )
    )
    rates: dict[str, dict[str, float]] = json.loads(done.stdout)
    found = [Bare(repetition, model, int(batch), each, others) for batch, each in rates.items()]
    shown = ", ".join(f"{each.best:.0f} rows/s at batch {each.batch}" for each in found)
    say(f"  bare session.run: {shown}{_disturbed(others)}")
    return found


def _disturbed(others: float) -> str:
    return f" (disturbed: {others:.0%})" if others > DISTURBED else ""


def _drop(plan: Plan, results: Results) -> None:
    """Leave out of the next repetitions what is far from its server's best for every load."""
    for contender in plan.contenders:
        for model in contender.server.models:
            loads = plan.loads_of(model)
            kept: set[str] = set()
            for load in loads:
                kept |= _near_best(results, load, contender.server.name, plan.keep)
            for configuration in contender.configurations:
                if loads and configuration.name not in kept and contender.server.kind != "limit":
                    plan.dropped.add((contender.server.name, configuration.name, model))


def _near_best(results: Results, load: Load, server: str, keep: float) -> set[str]:
    names = results.configurations(load.name, server)
    merits = {
        name: 1 / sample.p50_ms if load.idle else sample.rate
        for name in names
        for sample in results.of(load.name, server, name)
    }
    return {name for name, merit in merits.items() if merit >= (1 - keep) * max(merits.values())}

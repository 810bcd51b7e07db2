"""`python -m benchmarks.sides`: forms of a request beside each other; revisions and settings too.

What is compared is CPU time of the event loop's thread for each request: a machine that others use
makes all of it slower, and hardly changes how much of it a request takes. Loads take turns, a
second or two each, and every repetition starts the services anew: two processes of one program
differ by some per cent for their whole life.

`--setting DRIFT=off` measures what a setting costs: the service as it is beside the same one with
the setting. Both serve models with a reference.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from benchmarks import prepare, processes, wrk
from benchmarks.configurations import ours
from benchmarks.environments import BUILD, environment
from benchmarks.launch import Launched, Site, launched
from benchmarks.loads import samples as samples_of
from benchmarks.servers import Server
from benchmarks.wires import Wire

OUT = BUILD / "sides"
NEW = "this"
FORMS: Mapping[str, tuple[str, Wire]] = {
    "/predict": ("/predict", "rows"),
    "protocol, JSON": ("/v2/models/{model}/infer", "v2"),
    "protocol, binary": ("/v2/models/{model}/infer", "binary"),
}
BASE = "/predict"
CLIENTS = 64
# Rows of a reference.
ROWS = 2000
RESAMPLED = 2000


@dataclass(frozen=True)
class Sample:
    """One load: where it was measured, and microseconds of the event loop's thread a request."""

    model: str
    revision: str
    form: str
    turn: int
    microseconds: float


@dataclass(frozen=True)
class Memory:
    """Of one process, in MB (10**6 bytes): when it was ready, and after all its loads."""

    model: str
    revision: str
    ready: float
    loaded: float


@dataclass(frozen=True)
class Interval:
    """A median, and where it lies with a probability of 95 %."""

    low: float
    median: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.1%} ({self.low:.1%} to {self.high:.1%})"


def main() -> int:
    """Measure and print two tables.

    Returns:
        0 when it was measured, whatever came of it.
    """
    options = _options()
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    wrk.install()
    OUT.mkdir(parents=True, exist_ok=True)
    sites = {NEW: prepare.site_of(OUT)}
    settings: dict[str, dict[str, str]] = {}
    if options.before:
        sites[options.before] = _site_of(options.before)
    if options.setting:
        sites = dict.fromkeys((NEW, options.setting), _with_references(sites[NEW]))
        name, _, value = options.setting.partition("=")
        settings[options.setting] = {name: value}
    base = options.before or options.setting
    samples: list[Sample] = []
    memory: list[Memory] = []
    for repetition in range(options.repetitions):
        for model in options.models:
            found, used = measure(
                model, sites, repetition, options.turns, options.seconds, settings
            )
            samples += found
            memory += used
            print(f"sides: repetition {repetition + 1}, {model}", flush=True)
            print(table(samples, memory, base), flush=True)
    return 0


def measure(
    model: str,
    sites: Mapping[str, Site],
    repetition: int,
    turns: int,
    seconds: float,
    settings: Mapping[str, Mapping[str, str]],
) -> tuple[list[Sample], list[Memory]]:
    """Start each revision with the model and load all its forms in turn, every other turn
    backwards.

    Args:
        settings: of the service, by revision.
    """
    usual = ours("1 worker")
    configurations = {
        each: replace(usual, environment={**usual.environment, **settings.get(each, {})})
        for each in sites
    }
    samples = []
    with ExitStack() as stack:
        running = {
            revision: stack.enter_context(
                launched(
                    Server(f"sides-{number}", "this template", "ours", (configuration,)),
                    configuration,
                    model,
                    sites[revision],
                )
            )
            for number, (revision, configuration) in enumerate(configurations.items())
        }
        ready = {name: processes.megabytes(each.pid) for name, each in running.items()}
        loads = [
            (revision, form, replace(each, path=path.format(model=model), wire=wire))
            for form, (path, wire) in FORMS.items()
            for revision, each in running.items()
        ]
        for _, _, each in loads:
            each.check(1)
            wrk.run(each.url(1), each.request(1), CLIENTS, 1, OUT / "scratch")
        for turn in range(turns):
            for revision, form, each in loads if turn % 2 == 0 else reversed(loads):
                number = repetition * turns + turn
                spent = _microseconds(each, seconds)
                samples.append(Sample(model, revision, form, number, spent))
        memory = [
            Memory(model, name, ready[name], processes.megabytes(each.pid))
            for name, each in running.items()
        ]
    return samples, memory


def shares(samples: Sequence[Sample], own: Sample, other: Sample) -> Interval:
    """The rate of one side as a share of the other's, from the turns that both have.

    Args:
        own: names the side, by its revision and form; so does the other.
    """
    ours_by_turn, theirs = _by_turn(samples, own), _by_turn(samples, other)
    return interval([theirs[turn] / each for turn, each in ours_by_turn.items() if turn in theirs])


def interval(ratios: Sequence[float]) -> Interval:
    """The median, and the middle 95 % of medians of as many ratios drawn from these."""
    draw = random.Random(0)
    medians = sorted(
        statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(RESAMPLED)
    )
    edge = RESAMPLED // 40
    return Interval(medians[edge], statistics.median(ratios), medians[-edge - 1])


def table(samples: Sequence[Sample], memory: Sequence[Memory], before: str | None) -> str:
    """What was measured until now, in Markdown."""
    return "\n".join([*_speeds(samples, before), "", *_memory(memory)])


def _speeds(samples: Sequence[Sample], before: str | None) -> Iterator[str]:
    yield f"| model | revision | request | us of CPU | of {BASE}'s rate | of the rate before |"
    yield "|---|---|---|--:|--:|--:|"
    sides = {(each.model, each.revision, each.form): each for each in samples}
    for (model, revision, form), each in sides.items():
        spent = statistics.median(_by_turn(samples, each).values())
        of_base, of_before = "", ""
        if form != BASE:
            of_base = str(shares(samples, each, replace(each, form=BASE)))
        if before and revision == NEW:
            of_before = str(shares(samples, each, replace(each, revision=before)))
        yield f"| {model} | {revision} | {form} | {spent:.1f} | {of_base} | {of_before} |"


def _memory(memory: Sequence[Memory]) -> Iterator[str]:
    yield "| model | revision | MB when ready | MB after the loads |"
    yield "|---|---|--:|--:|"
    for model, revision in dict.fromkeys((each.model, each.revision) for each in memory):
        own = [each for each in memory if (each.model, each.revision) == (model, revision)]
        ready = statistics.median(each.ready for each in own)
        loaded = statistics.median(each.loaded for each in own)
        yield f"| {model} | {revision} | {ready:.1f} | {loaded:.1f} |"


def _by_turn(samples: Sequence[Sample], side: Sample) -> dict[int, float]:
    return {
        each.turn: each.microseconds
        for each in samples
        if (each.model, each.revision, each.form) == (side.model, side.revision, side.form)
    }


def _microseconds(server: Launched, seconds: float) -> float:
    """CPU time of the event loop's thread, which is the process's first, for each request."""
    spent = Path(f"/proc/{server.pid}/task/{server.pid}/schedstat")
    before = int(spent.read_text().split()[0])
    loaded = wrk.run(server.url(1), server.request(1), CLIENTS, seconds, OUT / "scratch")
    return (int(spent.read_text().split()[0]) - before) / loaded.requests / 1000


def _site_of(revision: str) -> Site:
    """A service rendered from another revision, with the same models as it packages them.

    An older service refuses a manifest with fields that it does not know.
    """
    out = OUT / "before"
    template = out / "template"
    template.mkdir(parents=True, exist_ok=True)
    archive = subprocess.run(["git", "archive", revision], check=True, capture_output=True)
    subprocess.run(["tar", "-x", "-C", template], input=archive.stdout, check=True)
    return prepare.site_of(out, template)


def _with_references(site: Site) -> Site:
    """The same with a reference in each package."""
    models = OUT / "models-with-references"
    shutil.rmtree(models, ignore_errors=True)
    shutil.copytree(site.models, models)
    python = environment("train", site.folder / "requirements" / "train.txt") / "bin" / "python"
    for model in ("iris", "dense"):
        # As make_models.py draws the requests; of numbers that are all different, bins have edges.
        width = samples_of(models, model, 1)[0].shape[1]
        rows = np.random.default_rng(0).normal(1.0, 1.0, (ROWS, width))
        packages = models / model / "packages"
        manifest = yaml.safe_load((packages / model / "model.yaml").read_text(encoding="utf-8"))
        columns = manifest["inputs"][0].get("features") or range(rows.shape[1])
        file = OUT / "scratch" / f"{model}.csv"
        header = ",".join(map(str, columns))
        np.savetxt(file, rows, delimiter=",", header=header, comments="")
        subprocess.run(
            [python, "-m", "engine.drift", "record", file],
            cwd=site.folder,
            env=os.environ | {"MODELS_DIR": str(packages)},
            check=True,
        )
    return replace(site, models=models)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sides", description=__doc__)
    parser.add_argument("--before", help="a revision to measure beside the working tree")
    parser.add_argument("--setting", metavar="NAME=VALUE", help="a setting to measure beside none")
    parser.add_argument("--models", nargs="+", default=["iris", "dense"], choices=["iris", "dense"])
    parser.add_argument("--repetitions", type=int, default=5, help="starts of each service")
    parser.add_argument("--turns", type=int, default=4, help="loads of each form in each")
    parser.add_argument("--seconds", type=float, default=1, help="of each load")
    options = parser.parse_args()
    if options.setting and (options.before or "=" not in options.setting):
        parser.error("--setting is NAME=VALUE, such as DRIFT=off, and goes without --before")
    return options


if __name__ == "__main__":
    sys.exit(main())

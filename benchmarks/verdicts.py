"""The part of the report that judges: required ratios, memory, start."""

from __future__ import annotations

from statistics import median

from benchmarks.loads import LOADS
from benchmarks.results import Results, spread
from benchmarks.servers import SERVERS
from benchmarks.tables import number, table
from benchmarks.targets import (
    SPREAD_BOUND,
    START_ALLOWANCE_S,
    Outcome,
    outcomes,
    start_seconds,
)

VERDICT = {True: "yes", False: "**no**", None: "not measured"}
FIGURES = {"rate": "requests/s", "p50_ms": "p50", "p99_ms": "p99", "memory_mb": "memory"}


def required(results: Results) -> list[str]:
    """Every target with what came of it, and the spread of our own rates."""
    rows = [_target(outcome) for outcome in outcomes(results)]
    if not rows:
        return []
    for load in LOADS:
        best = results.best(load.name, "ours")
        rates = [each.rate for each in results.of(load.name, "ours", best)] if best else []
        if len(rates) > 1:
            kept = VERDICT[spread(rates) <= SPREAD_BOUND]
            bound = f"at most {SPREAD_BOUND:.0%}"
            rows.append(
                [load.title, "spread of requests/s", "itself", bound, f"{spread(rates):.0%}", kept]
            )
    head = ("load", "figure", "against", "required", "measured", "met")
    return ["## Required ratios (ours / theirs)", "", *table(head, rows)]


def _target(outcome: Outcome) -> list[str]:
    target = outcome.target
    load = next(each.title for each in LOADS if each.name == target.load)
    kind = "binary tensors, " if target.ours == "ours-binary" else ""
    sign = "at least" if target.figure == "rate" else "at most"
    measured = "" if outcome.ratio is None else number(outcome.ratio)
    return [
        load,
        kind + FIGURES[target.figure],
        outcome.opponent,
        f"{sign} {number(target.bound)}" if target.bound else "nothing, for comparison",
        measured,
        VERDICT[outcome.met] if target.bound or outcome.ratio is None else "",
    ]


def footprint(results: Results) -> list[str]:
    """Memory, time to the first answer and installed size of every configuration."""
    rows = []
    for server in SERVERS:
        if start_seconds(results, server.name) is None:
            continue
        for name in results.configurations("iris", server.name):
            samples = results.of("iris", server.name, name)
            rows.append(
                [
                    server.title,
                    name,
                    number(median(each.memory_mb for each in samples)),
                    f"{median(each.start_s for each in samples):.2f}",
                    number(results.installed_mb.get(server.name, 0))
                    if server.kind != "limit"
                    else "",
                ]
            )
    if not rows:
        return []
    head = ("server", "configuration", "memory MB (PSS)", "first answer s", "installed MB")
    lines = ["## Memory, start and size (iris)", "", *table(head, rows)]
    if results.image_mb:
        whole, compressed = map(number, results.image_mb)
        lines += [f"CPU image of this template: {whole} MB, compressed {compressed} MB.", ""]
    ours, theirs = start_seconds(results, "ours"), start_seconds(results, "fastapi")
    if ours is not None and theirs is not None:
        kept = VERDICT[ours <= theirs + START_ALLOWANCE_S]
        lines += [
            f"Start: {ours:.2f} s against {theirs:.2f} s of the FastAPI tutorial app "
            f"(allowed: {START_ALLOWANCE_S} s more): {kept}.",
            "",
        ]
    return lines

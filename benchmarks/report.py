"""results.md: the tables of a run, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median

from benchmarks.chart import svg
from benchmarks.loads import LOADS, Load
from benchmarks.results import Results, Sample, paired_ratio, spread
from benchmarks.servers import SERVERS
from benchmarks.targets import (
    SPREAD_BOUND,
    START_ALLOWANCE_S,
    Outcome,
    outcomes,
    start_seconds,
)

VERDICT = {True: "yes", False: "**no**", None: "not measured"}
FIGURES = {"rate": "requests/s", "p50_ms": "p50", "p99_ms": "p99", "memory_mb": "memory"}


def write(results: Results, out: Path) -> None:
    """Write results.md and benchmark.svg into a folder."""
    (out / "results.md").write_text(markdown(results), encoding="utf-8")
    (out / "benchmark.svg").write_text(svg(results), encoding="utf-8")


def markdown(results: Results) -> str:
    """The whole report."""
    about = ", ".join(f"{name} {value}" for name, value in results.about.items())
    parts = [
        ["# Benchmark", "", about, ""],
        [
            "Each server with its best configuration of this run. Medians over the repetitions; "
            "spread is (largest - smallest) / median of the requests per second; ratios are the "
            "median of ours / theirs within one repetition. " + _disturbance(results),
            "",
        ],
        *(
            _load(results, load)
            for load in LOADS
            if any(s.load == load.name for s in results.samples)
        ),
        _bare(results),
        _targets(results),
        _footprint(results),
        _curves(results),
        _reasons("Left out", results.left_out),
        _reasons("Faults after the first right answer", results.relapses),
    ]
    return "\n".join(line for part in parts for line in part)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """A Markdown table and an empty line behind it."""
    titles = list(head)
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _disturbance(results: Results) -> str:
    shares = sorted(each.others for each in results.samples) or [0.0]
    return (
        f"Other processes took {median(shares):.0%} of the CPU time during the median load, "
        f"{shares[-1]:.0%} during the most disturbed one."
    )


def _load(results: Results, load: Load) -> list[str]:
    head = ("server", "configuration", "requests/s", "spread", "p50 ms", "p99 ms", "ours / theirs")
    return [f"## {load.title}", "", *table(head, _rows(results, load))]


def _rows(results: Results, load: Load) -> Iterator[list[str]]:
    best_of_ours = results.best(load.name, "ours")
    ours = results.of(load.name, "ours", best_of_ours) if best_of_ours else []
    for server in SERVERS:
        names = results.configurations(load.name, server.name)
        best = results.best(load.name, server.name)
        # All of ours and of the limits; of a peer the best.
        if server.kind not in ("ours", "ours binary", "limit"):
            names = [best] if best else []
        for name in names:
            samples = results.of(load.name, server.name, name)
            rates = [each.rate for each in samples]
            yield [
                server.title,
                name,
                number(median(rates)),
                f"{spread(rates):.0%}",
                number(median(each.p50_ms for each in samples)),
                number(median(each.p99_ms for each in samples)),
                "" if server.kind == "ours" else _ratio(ours, samples),
            ]


def _ratio(ours: list[Sample], theirs: list[Sample]) -> str:
    try:
        value = paired_ratio(
            [(each.repetition, each.rate) for each in ours],
            [(each.repetition, each.rate) for each in theirs],
        )
    except ValueError:
        return "not measured"
    return f"{number(value)}x"


def _bare(results: Results) -> list[str]:
    if not results.bare:
        return []
    rows = []
    for model, batch in dict.fromkeys((each.model, each.batch) for each in results.bare):
        found = [each for each in results.bare if (each.model, each.batch) == (model, batch)]
        best = max(found, key=lambda each: each.best)
        label = max(best.rates, key=lambda each: best.rates[each])
        rows.append([model, str(batch), number(median(each.best for each in found)), label])
    head = ("model", "batch", "rows/s", "best threads")
    return ["## Limit: bare session.run", "", *table(head, rows)]


def _targets(results: Results) -> list[str]:
    rows = [_target(outcome) for outcome in outcomes(results)]
    if not rows:
        return []
    for load in LOADS:
        best = (
            results.best(load.name, "ours")
            if any(each.load == load.name and each.server == "ours" for each in results.samples)
            else None
        )
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


def _footprint(results: Results) -> list[str]:
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
    ours, theirs = start_seconds(results, "ours"), start_seconds(results, "fastapi")
    if ours is not None and theirs is not None:
        kept = VERDICT[ours <= theirs + START_ALLOWANCE_S]
        lines += [
            f"Start: {ours:.2f} s against {theirs:.2f} s of the FastAPI tutorial app "
            f"(allowed: {START_ALLOWANCE_S} s more): {kept}.",
            "",
        ]
    return lines


def _curves(results: Results) -> list[str]:
    if not results.curves:
        return []
    titles = {server.name: server.title for server in SERVERS}
    names = list(dict.fromkeys(each.server for each in results.curves))
    cells = {(each.server, each.offered): each.p99_ms for each in results.curves}
    rows = [
        [
            number(rate),
            *(number(cells[name, rate]) if (name, rate) in cells else "" for name in names),
        ]
        for rate in sorted({each.offered for each in results.curves})
    ]
    head = ("offered/s", *(titles[name] for name in names))
    return ["## p99 in ms at a constant rate (iris, 1 row)", "", *table(head, rows)]


def _reasons(title: str, reasons: dict[str, str]) -> list[str]:
    if not reasons:
        return []
    lines = [f"- {name}: {' '.join(why.split())[:400]}" for name, why in reasons.items()]
    return [f"## {title}", "", *lines, ""]

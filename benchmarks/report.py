"""results.md: the tables of a run, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.chart import svg
from benchmarks.loads import LOADS, Load
from benchmarks.results import DISTURBED, Results, Sample, paired_ratio, spread
from benchmarks.servers import SERVERS
from benchmarks.tables import number, table
from benchmarks.verdicts import footprint, required


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
        required(results),
        footprint(results),
        _curves(results),
        _reasons("Left out", results.left_out),
        _reasons("Faults after the first right answer", results.relapses),
    ]
    return "\n".join(line for part in parts for line in part)


def _disturbance(results: Results) -> str:
    shares = [each.others for each in results.samples]
    disturbed = sum(share > DISTURBED for share in shares)
    return (
        f"Other processes took {median(shares or [0.0]):.0%} of the CPU time during the median "
        f"load; {disturbed} of {len(shares)} loads were disturbed (more than {DISTURBED:.0%}, also "
        "when measured again) and count only where no other repetition does."
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
    if not ours:
        return "not measured"
    value = paired_ratio(
        [(each.repetition, each.rate) for each in ours],
        [(each.repetition, each.rate) for each in theirs],
    )
    return f"{number(value)}x"


def _bare(results: Results) -> list[str]:
    if not results.bare:
        return []
    rows = []
    for model, batch in dict.fromkeys((each.model, each.batch) for each in results.bare):
        found = results.bare_of(model, batch)
        best = max(found, key=lambda each: each.best)
        label = max(best.rates, key=lambda each: best.rates[each])
        rows.append([model, str(batch), number(median(each.best for each in found)), label])
    head = ("model", "batch", "rows/s", "best threads")
    return ["## Limit: bare session.run", "", *table(head, rows)]


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

"""A run and its verdict as JSON, as text for a terminal and as Markdown for a summary page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.load.chart import svg
from engine.load.measured import Measured
from engine.load.slo import Slo
from engine.load.verdict import Verdict

RESULT, PICTURE, SUMMARY, LOCUST = "result.json", "latency.svg", "summary.md", "report.html"
Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """All about one load test. ``started`` is UTC, as ISO 8601."""

    url: str
    started: str
    slo: Slo
    measured: Measured
    verdict: Verdict


def write(run: Run, folder: Path) -> None:
    """Write result, picture and summary into an existing folder."""
    content = json.dumps(result(run), indent=2) + "\n"
    (folder / RESULT).write_text(content, encoding="utf-8")
    (folder / PICTURE).write_text(svg(run.url, run.slo, run.measured), encoding="utf-8")
    (folder / SUMMARY).write_text(markdown(run), encoding="utf-8")


def result(run: Run) -> dict[str, Any]:
    """What a program may want to know of the run."""
    measured = asdict(run.measured) | {"error_ratio": run.measured.error_ratio}
    return {
        "passed": run.verdict.passed,
        "url": run.url,
        "started": run.started,
        "slo": run.slo.model_dump(),
        "objectives": [asdict(each) for each in run.verdict.objectives],
        "notes": list(run.verdict.notes),
        "measured": measured,
    }


def text(run: Run) -> str:
    """Tables and verdict for a terminal."""
    parts = [_table(_kinds(run)), "", _table(_objectives(run)), "", headline(run)]
    parts += [f"  {each.name}: {each.advice}" for each in run.verdict.missed]
    parts += [f"  note: {note}" for note in run.verdict.notes]
    return "\n".join(parts)


def markdown(run: Run) -> str:
    """The same for the summary page of a workflow, with a chart."""
    slo, verdict = run.slo, run.verdict
    about = (
        f"{run.url}, {slo.users} users, {run.measured.seconds:.0f} s measured after "
        f"{slo.before_seconds:g} s of warm-up, from {run.started}"
    )
    parts = [f"## {headline(run)}", "", about, "", *_markdown_table(_objectives(run)), ""]
    parts += [f"- **{each.name}**: {each.advice}" for each in verdict.missed]
    parts += [f"- {note}" for note in verdict.notes]
    parts += [f"- {count} times: {_code(failure)}" for failure, count in run.measured.failures]
    parts += ["", *_markdown_table(_kinds(run)), "", *_mermaid(run), ""]
    return "\n".join(parts)


def headline(run: Run) -> str:
    """The verdict in one line."""
    missed = [each.name for each in run.verdict.missed]
    if not missed:
        return "Load test passed: every objective of load/slo.yaml was kept"
    return f"Load test failed: {', '.join(missed)} of load/slo.yaml missed"


def _objectives(run: Run) -> list[Row]:
    rows = [
        (each.name, each.wanted, each.measured, "kept" if each.kept else "MISSED")
        for each in run.verdict.objectives
    ]
    return [("objective", "wanted", "measured", "verdict"), *rows]


def _kinds(run: Run) -> list[Row]:
    rows: list[Row] = [("requests", "count", "failed", "p50 ms", "p95 ms", "p99 ms")]
    for kind in run.measured.kinds:
        times = (f"{value:.1f}" for value in (kind.p50_ms, kind.p95_ms, kind.p99_ms))
        rows.append((kind.name, str(kind.requests), str(kind.failed), *times))
    return rows


def _table(rows: Sequence[Row]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def _markdown_table(rows: Sequence[Row]) -> list[str]:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]


def _code(text: str) -> str:
    """What a service answered may hold anything; as code it is shown as it is."""
    return "`" + text.replace("`", "'") + "`"


def _mermaid(run: Run) -> list[str]:
    """A chart that GitHub draws; a picture cannot be put on its summary page."""
    slots = run.measured.slots
    highest = max([run.slo.p95_ms, *(slot.p95_ms for slot in slots)])
    p95 = ", ".join(f"{slot.p95_ms:.1f}" for slot in slots)
    limit = ", ".join(f"{run.slo.p95_ms:g}" for _ in slots)
    return [
        "```mermaid",
        "xychart-beta",
        '  title "p95 in ms over the measured time, and the limit"',
        f'  x-axis "seconds" 0 --> {run.measured.seconds:.0f}',
        f'  y-axis "ms" 0 --> {highest * 1.1:.0f}',
        f"  line [{p95}]",
        f"  line [{limit}]",
        "```",
    ]

"""A comparison in words: for the terminal, and for the summary page of a workflow."""

from __future__ import annotations

from engine.comparing.metrics import LEAST_ROWS, LOWER_IS_BETTER, RESAMPLES, Compared
from engine.comparing.run import Result

_HEAD = ("metric", "candidate", "other", "difference", "95 % interval", "verdict")


def verdict(result: Result) -> str:
    """One sentence."""
    found, margin = result.decides, result.job.margin
    direction = "lower" if found.metric in LOWER_IS_BETTER else "higher"
    figures = (
        f"{found.metric} is {found.candidate:.4g}, against {found.other:.4g}, a difference of "
        f"{found.difference:+.4g} ({found.low:+.4g} to {found.high:+.4g}; {direction} is better)"
    )
    if found.verdict == "undecided":
        return (
            f"Undecided: {result.rows} rows are too few to tell, at least {LEAST_ROWS} are "
            f"needed; {figures}"
        )
    if found.verdict == "equal":
        half = (found.high - found.low) / 2
        seen = f"; {result.rows:,} rows show no difference below about {half:.2g}" if half else ""
        return f"Not distinguishable: {figures}{seen}"
    if found.verdict == "within the margin":
        return f"Worse by no more than the margin of {margin:g}: {figures}"
    if found.verdict == "worse":
        return f"Worse by more than the margin of {margin:g}: {figures}"
    return f"Better: {figures}"


def text(result: Result) -> str:
    """A table, what was left out, and the verdict."""
    rows = [_HEAD, *map(_cells, result.compared)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, *(f"note: {each}" for each in result.notes), verdict(result)])


def markdown(result: Result, against: str) -> str:
    """The same for the summary page; ``against`` names the other side."""
    lines = [
        f"## Quality: {result.decides.verdict}",
        "",
        f"Model `{result.model}` and {against}, on {result.rows:,} rows of "
        f"`{result.job.data}`: **{verdict(result)}.**",
        "",
        f"| {' | '.join(_HEAD)} |",
        "|---|--:|--:|--:|---|---|",
        *(f"| {' | '.join(_cells(each))} |" for each in result.compared),
        "",
        *(f"- {each}" for each in result.notes),
        f"\nThe first line decides. Intervals: paired bootstrap, {RESAMPLES} resamples, seed "
        f"{result.job.seed}.",
    ]
    return "\n".join(lines)


def _cells(each: Compared) -> tuple[str, ...]:
    return (
        each.metric,
        f"{each.candidate:.4g}",
        f"{each.other:.4g}",
        f"{each.difference:+.4g}",
        f"{each.low:+.4g} to {each.high:+.4g}",
        each.verdict,
    )

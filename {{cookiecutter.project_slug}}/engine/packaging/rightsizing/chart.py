"""A chart of rows per second over batch size, as SVG and for the terminal."""

from __future__ import annotations

import math
from xml.sax.saxutils import escape

from engine.packaging.rightsizing.measure import Measurement

WIDTH, HEIGHT, MARGIN = 640, 360, 56
COLOURS = ("#1f6feb", "#d9480f", "#2b8a3e", "#862e9c")
BAR = 40


def bars(measured: Measurement) -> list[str]:
    """A line of text for each batch size."""
    most = measured.fastest.rows_per_second
    return [
        f"{batch.rows:6} rows {batch.median * 1000:9.3f} ms (p95 {batch.p95 * 1000:9.3f}) "
        f"{batch.rows_per_second:10.0f} rows/s {'#' * round(BAR * batch.rows_per_second / most)}"
        for batch in measured.batches
    ]


def svg(name: str, measured: list[Measurement]) -> str:
    """Rows per second over rows in a batch, both axes in powers; a line for each measurement."""
    sizes = [batch.rows for each in measured for batch in each.batches]
    rates = [batch.rows_per_second for each in measured for batch in each.batches]
    right, low, high = math.log2(max(*sizes, 2)), math.log10(min(rates)), math.log10(max(rates))
    span = max(high - low, 0.1)

    def x(rows: int) -> float:
        return MARGIN + (WIDTH - 2 * MARGIN) * math.log2(rows) / right

    def y(rate: float) -> float:
        return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (math.log10(rate) - low) / span

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{MARGIN}" y="24" font-size="15">{escape(name)}: rows per second</text>',
        f'<text x="{WIDTH - MARGIN}" y="{HEIGHT - 12}" text-anchor="end">rows in a run</text>',
    ]
    for rows in sorted(set(sizes)):
        parts.append(
            f'<text x="{x(rows):.0f}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle">{rows}</text>'
        )
    for number, each in enumerate(measured):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{x(b.rows):.1f},{y(b.rows_per_second):.1f}" for b in each.batches)
        last = each.batches[-1]
        label = each.provider if each.provider != "cpu" else f"{each.threads} thread(s)"
        parts += [
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>',
            f'<text x="{x(last.rows) - 4:.0f}" y="{y(last.rows_per_second) - 8 - 14 * number:.0f}" '
            f'text-anchor="end" fill="{colour}">{label}: {last.rows_per_second:.0f}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])

"""latency.svg: the median and the 95th percentile over time, against the limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from html import escape

from engine.load.measured import Measured, Slot
from engine.load.slo import Slo

WIDTH, HEIGHT = 900, 380
LEFT, RIGHT, TOP, BOTTOM = 60, 790, 60, 270
RATE_TOP, RATE_BOTTOM = 300, 350
FONT = "font-family='system-ui, Helvetica, Arial, sans-serif'"
DARK, BLUE, LIGHT, RED, GREY = "#1d2125", "#0b62a8", "#4ba3e3", "#c8501e", "#b9bec6"
TICKS = 4


def svg(url: str, slo: Slo, measured: Measured) -> str:
    """The chart, whole."""
    slots = measured.slots
    highest = max([slo.p95_ms, *(slot.p95_ms for slot in slots)]) * 1.1

    def x_of(slot: Slot) -> float:
        return LEFT + slot.at / max(measured.seconds, 1) * (RIGHT - LEFT)

    def y_of(milliseconds: float) -> float:
        return BOTTOM - milliseconds / highest * (BOTTOM - TOP)

    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' {FONT}>",
        f"<rect width='{WIDTH}' height='{HEIGHT}' rx='6' fill='#fff'/>",
        _text(20, 26, "Answer times under load, in milliseconds", size=15, weight="bold"),
        _text(WIDTH - 20, 26, url, size=11, anchor="end", colour="#666"),
        *_grid(highest, y_of),
        *_line(slots, x_of, lambda slot: y_of(slot.p50_ms), LIGHT),
        *_line(slots, x_of, lambda slot: y_of(slot.p95_ms), BLUE),
        f"<path d='M{LEFT} {y_of(slo.p95_ms):.1f}H{RIGHT}' stroke='{RED}' stroke-dasharray='6 4'/>",
        _text(RIGHT + 8, y_of(slo.p95_ms) + 4, f"limit {slo.p95_ms:g}", colour=RED),
        *_labels(slots, y_of),
        *_rates(measured, x_of),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _grid(highest: float, y_of: Callable[[float], float]) -> Iterator[str]:
    step = _step(highest)
    for index in range(int(highest / step) + 1):
        y = y_of(index * step)
        yield f"<path d='M{LEFT} {y:.1f}H{RIGHT}' stroke='#e3e5e8'/>"
        yield _text(LEFT - 8, y + 4, f"{index * step:g}", anchor="end", colour="#666")


def _step(highest: float) -> float:
    """1, 2 or 5 times a power of ten, so that a few lines reach the highest value."""
    rough = highest / TICKS
    power: float = 10 ** math.floor(math.log10(rough))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= rough)


def _line(
    slots: tuple[Slot, ...],
    x_of: Callable[[Slot], float],
    y_of: Callable[[Slot], float],
    colour: str,
) -> Iterator[str]:
    points = " ".join(f"{x_of(slot):.1f},{y_of(slot):.1f}" for slot in slots)
    yield f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='2'/>"


def _labels(slots: tuple[Slot, ...], y_of: Callable[[float], float]) -> Iterator[str]:
    if slots:
        p95 = y_of(slots[-1].p95_ms)
        yield _text(RIGHT + 8, p95 - 4, "p95", colour=BLUE, weight="bold")
        yield _text(RIGHT + 8, max(y_of(slots[-1].p50_ms), p95 + 12), "median", colour=LIGHT)


def _rates(measured: Measured, x_of: Callable[[Slot], float]) -> Iterator[str]:
    """Answers per second as bars; a red one where requests failed."""
    highest = max([slot.rps for slot in measured.slots] + [1.0])
    width = max(1.0, (RIGHT - LEFT) / max(len(measured.slots), 1) - 1)
    for slot in measured.slots:
        height = slot.rps / highest * (RATE_BOTTOM - RATE_TOP)
        colour = RED if slot.failed else GREY
        yield (
            f"<rect x='{x_of(slot):.1f}' y='{RATE_BOTTOM - height:.1f}' width='{width:.1f}' "
            f"height='{max(height, 2 if slot.failed else 0):.1f}' fill='{colour}'/>"
        )
    yield _text(RIGHT + 8, RATE_TOP + 12, f"{measured.rps:.0f} per second")
    failed = RED if measured.failed else "#666"
    yield _text(RIGHT + 8, RATE_TOP + 28, f"{measured.failed} failed", colour=failed)
    yield _text(LEFT, HEIGHT - 10, "0 s", colour="#666")
    yield _text(RIGHT, HEIGHT - 10, f"{measured.seconds:.0f} s", anchor="end", colour="#666")


def _text(
    x: float,
    y: float,
    text: str,
    size: int = 12,
    weight: str = "normal",
    anchor: str = "start",
    colour: str = DARK,
) -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' font-weight='{weight}' "
        f"text-anchor='{anchor}' fill='{colour}'>{escape(text)}</text>"
    )

"""benchmark.svg: throughput as bars, latency at a constant rate as curves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape
from statistics import median

from benchmarks.results import CurvePoint, Results
from benchmarks.servers import SERVERS

COLOURS = {
    "ours": "#0b62a8",
    "ours-binary": "#4ba3e3",
    "fastapi": "#e08a00",
    "fastapi-async": "#f2b84b",
    "flask": "#c8501e",
    "bentoml": "#00836a",
    "litserve": "#b0528f",
    "mlserver": "#806a2a",
    "constant": "#8a8f98",
    "bare": "#8a8f98",
}
NAMES = {
    "ours": "this template",
    "ours-binary": "in binary tensors",
    "fastapi": "FastAPI app",
    "fastapi-async": "FastAPI, on its loop",
    "flask": "Flask app",
    "bentoml": "BentoML",
    "litserve": "LitServe",
    "mlserver": "MLServer",
    "constant": "constant answer",
    "bare": "bare session.run",
}
PANELS = (
    ("iris", "Iris, 1 row, 64 clients"),
    ("dense", "Dense net, 1 row, 64 clients"),
    ("dense-256", "Dense net, 256 rows, 2 clients"),
    ("conv", "Conv net, 1 image, 8 clients"),
)
WIDTH, PANEL_WIDTH, BAR = 900, 425, 20
LABEL = 122
CURVE_HEIGHT = 230
FONT = "font-family='system-ui, Helvetica, Arial, sans-serif'"
Bars = list[tuple[str, float]]


def svg(results: Results) -> str:
    """The chart, whole; panels without samples are left out."""
    panels = [(title, bars) for load, title in PANELS if (bars := _bars(results, load))]
    parts: list[str] = []
    top = 40.0
    for left in range(0, len(panels), 2):
        row = panels[left : left + 2]
        for place, (title, bars) in enumerate(row):
            parts += _panel(20 + place * (PANEL_WIDTH + 10), top, title, bars)
        top += max(len(bars) for _, bars in row) * BAR + 48
    if results.curves:
        parts += _curves(20, top, results.curves)
        top += CURVE_HEIGHT + 74
    about = ", ".join(results.about.get(key, "") for key in ("machine", "date"))
    head = _text(20, 24, "Requests per second: longer is better", size=15, weight="bold")
    foot = _text(WIDTH - 20, 24, about, size=11, anchor="end", colour="#666")
    return "\n".join(
        [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {top:.0f}' {FONT}>",
            f"<rect width='{WIDTH}' height='{top:.0f}' rx='6' fill='#fff'/>",
            *(head, foot),
            *parts,
            "</svg>\n",
        ]
    )


def _bars(results: Results, load: str) -> Bars:
    bars = []
    for server in SERVERS:
        best = results.best(load, server.name)
        if best and server.kind != "limit":
            samples = results.of(load, server.name, best)
            bars.append((server.name, median(each.rate for each in samples)))
    return [*bars, *_limit(results, load)] if bars else []


def _limit(results: Results, load: str) -> Bars:
    """The limit that is near: HTTP for a tiny model, computing for large requests."""
    if load == "iris":
        best = results.best(load, "constant")
        samples = results.of(load, "constant", best) if best else []
        return [("constant", median(each.rate for each in samples))] if samples else []
    rows = {"dense-256": 256, "conv": 1}.get(load)
    model = load.partition("-")[0]
    found = [each.best for each in results.bare_of(model, rows or 0)]
    return [("bare", median(found) / (rows or 1))] if found else []


def _panel(left: float, top: float, title: str, bars: Bars) -> Iterator[str]:
    yield _text(left, top + 14, title, size=13, weight="bold")
    largest = max(rate for _, rate in bars)
    room = PANEL_WIDTH - LABEL - 62
    for index, (name, rate) in enumerate(bars):
        y = top + 24 + index * BAR
        length = max(1.0, rate / largest * room)
        bold = "bold" if name.startswith("ours") else "normal"
        yield _text(left + LABEL - 6, y + 13, NAMES[name], anchor="end", weight=bold)
        yield (
            f"<rect x='{left + LABEL:.1f}' y='{y + 2:.1f}' width='{length:.1f}' "
            f"height='{BAR - 5}' rx='2' fill='{COLOURS[name]}'/>"
        )
        shown = f"{rate:,.0f}".replace(",", " ")
        yield _text(left + LABEL + length + 5, y + 13, shown, weight=bold)


def _curves(left: float, top: float, points: list[CurvePoint]) -> Iterator[str]:
    yield _text(
        left, top + 14, "Iris at a constant rate, p99 in milliseconds: lower is better", 13, "bold"
    )
    x_of = _LogScale([each.offered for each in points], left + 40, WIDTH - 150)
    bottom = top + CURVE_HEIGHT + 24
    y_of = _LogScale([each.p99_ms for each in points], bottom, top + 34)
    for value in _ticks([each.p99_ms for each in points]):
        y = y_of(value)
        yield f"<path d='M{left + 40} {y:.1f}H{WIDTH - 150}' stroke='#e3e5e8'/>"
        yield _text(left + 34, y + 4, f"{value:g}", anchor="end", colour="#666")
    for value in _ticks([each.offered for each in points]):
        yield _text(x_of(value), bottom + 18, f"{value:g}", anchor="middle", colour="#666")
    yield _text(WIDTH - 150, bottom + 34, "requests/s offered", anchor="end", colour="#666")
    taken: list[tuple[float, float]] = []
    for name in dict.fromkeys(each.server for each in points):
        line = [(x_of(p.offered), y_of(p.p99_ms)) for p in points if p.server == name]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
        thick = 3 if name == "ours" else 1.6
        colour = COLOURS[name]
        yield f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='{thick}'/>"
        x, y = line[-1]
        yield f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3.5' fill='{colour}'/>"
        while any(abs(x - other) < 80 and abs(y - above) < 13 for other, above in taken):
            y += 13
        taken.append((x, y))
        weight = "bold" if name == "ours" else "normal"
        yield _text(x + 8, y + 4, NAMES[name], weight=weight, colour=colour)


class _LogScale:
    """Maps values to places, logarithmically."""

    def __init__(self, values: list[float], start: float, end: float) -> None:
        self.low, self.high = math.log(min(values)), math.log(max(values))
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        share = (math.log(value) - self.low) / ((self.high - self.low) or 1)
        return self.start + share * (self.end - self.start)


def _ticks(values: list[float]) -> list[float]:
    steps = [
        digit * 10.0**power
        for power in range(math.floor(math.log10(min(values))), 7)
        for digit in (1, 2, 5)
    ]
    return [step for step in steps if min(values) <= step <= max(values)]


def _text(
    x: float,
    y: float,
    text: str,
    size: int = 12,
    weight: str = "normal",
    anchor: str = "start",
    colour: str = "#1d2125",
) -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' font-weight='{weight}' "
        f"text-anchor='{anchor}' fill='{colour}'>{escape(text)}</text>"
    )

"""Three times more than the service can do, at a constant rate, for a minute."""

from __future__ import annotations

from statistics import median

from benchmarks.resilience import kinds
from benchmarks.resilience.generator import Seen, load
from benchmarks.resilience.memory import Watch, growth
from benchmarks.resilience.service import Service, Site, serving
from benchmarks.resilience.traffic import Shape
from benchmarks.resilience.verdict import Outcome, Promise, at_least, at_most, none_of

# Enough clients to fill every batch: the capacity is what full batches reach.
CLIENTS = 48
CONNECTIONS = 600
BASE_LOAD = 0.8
OVERLOAD = 3.0
WORSE = 2.0
REFUSAL_MS = 50.0
MEMORY_GROWTH = 0.03
BACK = 0.9
COLUMNS = (
    "phase", "offered/s", "200/s", "p50 ms", "p99 ms", "refused/s",
    "refusal p99 ms", "refusal max ms", "PSS MB",
)  # fmt: skip
SETTINGS: dict[str, str] = {}


def overload(site: Site, *, quick: bool) -> Outcome:
    """Measure capacity, the latency at 80 % of it, three times of it, and what is left after."""
    seconds = 10.0 if quick else 60.0
    with serving(site, site.heavy, **SETTINGS) as service:
        before = _capacity(service)
        rate = median(each.rate for each in before)
        base = _offered(service, BASE_LOAD * rate, seconds / 2)
        base_megabytes = service.megabytes
        with Watch(service.process.pid) as watch:
            over = _offered(service, OVERLOAD * rate, seconds)
        after = _capacity(service)
    return Outcome(
        "overload",
        _about(rate),
        COLUMNS,
        [
            _row("capacity", before[-1], 0, base_megabytes),
            _row("80 %", base, BASE_LOAD * rate, base_megabytes),
            _row("3 x", over, OVERLOAD * rate, median(watch.seen)),
            _row("afterwards", after[-1], 0, watch.seen[-1]),
        ],
        promises(base, over, median(each.rate for each in after) / rate, watch.seen),
        {
            "capacity": [each.rate for each in before],
            "afterwards": [each.rate for each in after],
            "at_80_percent": base.__dict__,
            "overload": over.__dict__,
            "pss_mb": watch.seen,
        },
    )


def promises(base: Seen, over: Seen, back: float, megabytes: list[float]) -> list[Promise]:
    """What is promised, with what was found; `back` is capacity after, divided by before."""
    slowest = max((over.of(status).get("sent_max_ms", 0.0) for status in ("429", "503")))
    ratio = over.of("200").get("p99_ms", float("inf")) / base.of("200")["p99_ms"]
    refused_before = base.refused / base.sent
    return [
        at_most("p99 of admitted requests, against that at 80 %", ratio, WORSE, "x"),
        at_most("slowest refusal", slowest, REFUSAL_MS, " ms"),
        none_of("fault at 80 %", base.faults),
        none_of("fault but refusals with Retry-After", over.faults),
        at_most("refused at 80 %", refused_before * 100, 1, " %"),
        at_most("memory growth", growth(megabytes) * 100, MEMORY_GROWTH * 100, " %"),
        at_least("throughput afterwards", back * 100, BACK * 100, " %"),
        at_most("requests that the clients could not send", over.unsent, 0),
    ]


def _capacity(service: Service) -> list[Seen]:
    return [load(service.port, [kinds.heavy()], Shape(CLIENTS, 3)) for _ in range(3)]


def _offered(service: Service, rate: float, seconds: float) -> Seen:
    return load(service.port, [kinds.heavy()], Shape(CONNECTIONS, seconds, rate))


def _about(rate: float) -> str:
    settings = ", ".join(f"{name}={value}" for name, value in SETTINGS.items()) or "defaults"
    return (
        f"Settings: {settings}. Requests of {kinds.HEAVY_ROWS} rows to a net of 12.7 million "
        f"weights; capacity {rate:.0f} requests/s."
    )


def _row(phase: str, seen: Seen, rate: float, megabytes: float) -> list[str]:
    answered, refused = seen.of("200"), seen.of("429") or seen.of("503")
    return [
        phase,
        f"{rate:.0f}" if rate else "closed loop",
        f"{seen.rate:.0f}",
        f"{answered.get('p50_ms', 0):.1f}",
        f"{answered.get('p99_ms', 0):.1f}",
        f"{seen.refused / seen.elapsed:.0f}",
        f"{refused.get('sent_p99_ms', 0):.1f}",
        f"{refused.get('sent_max_ms', 0):.1f}",
        f"{megabytes:.0f}",
    ]

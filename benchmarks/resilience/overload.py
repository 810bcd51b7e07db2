"""Three times more than the service can do, at a constant rate, for a minute."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median

from benchmarks import quiet
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
    "refusal p99 ms", "refusal max ms", "PSS MB", "other CPUs",
)  # fmt: skip
SETTINGS: dict[str, str] = {}


@dataclass(frozen=True)
class Phase:
    """One load: what was offered a second (0: as much as is answered), seen, and used meanwhile."""

    name: str
    rate: float
    seen: Seen
    megabytes: list[float]
    other_cpus: float

    def row(self) -> list[str]:
        """As a line of the table."""
        seen = self.seen
        answered, refused = seen.of("200"), seen.of("429") or seen.of("503")
        return [
            self.name,
            f"{self.rate:.0f}" if self.rate else "closed loop",
            f"{seen.rate:.0f}",
            f"{answered.get('p50_ms', 0):.1f}",
            f"{answered.get('p99_ms', 0):.1f}",
            f"{seen.refused / seen.elapsed:.0f}",
            f"{refused.get('sent_p99_ms', 0):.1f}",
            f"{refused.get('sent_max_ms', 0):.1f}",
            f"{median(self.megabytes):.0f}",
            f"{self.other_cpus:.2f}",
        ]


def overload(site: Site, *, quick: bool) -> Outcome:
    """Measure capacity, the latency at 80 % of it, three times of it, and what is left after."""
    seconds = 10.0 if quick else 60.0
    with serving(site, site.heavy, **SETTINGS) as service:
        before = [_phase(service, "capacity", 3) for _ in range(3)]
        rate = _rate(before)
        base = _phase(service, "80 %", seconds / 2, BASE_LOAD * rate)
        over = _phase(service, "3 x", seconds, OVERLOAD * rate)
        after = [_phase(service, "afterwards", 3) for _ in range(3)]
    phases = [*before, base, over, *after]
    return Outcome(
        "overload",
        _about(rate),
        COLUMNS,
        [each.row() for each in phases],
        promises(base.seen, over.seen, _rate(after) / rate, over.megabytes),
        {"settings": SETTINGS, "phases": [asdict(each) for each in phases]},
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


def _phase(service: Service, name: str, seconds: float, rate: float = 0.0) -> Phase:
    shape = Shape(CONNECTIONS, seconds, rate) if rate else Shape(CLIENTS, seconds)
    others = quiet.Watch(service.process.pid)
    with Watch(service.process.pid) as watch:
        seen = load(service.port, [kinds.heavy()], shape)
    return Phase(name, rate, seen, watch.seen, others.others())


def _rate(phases: list[Phase]) -> float:
    return median(each.seen.rate for each in phases)


def _about(rate: float) -> str:
    settings = ", ".join(f"{name}={value}" for name, value in SETTINGS.items()) or "defaults"
    return (
        f"Settings: {settings}. Requests of {kinds.HEAVY_ROWS} rows to a net of 12.7 million "
        f"weights; capacity {rate:.0f} requests/s."
    )

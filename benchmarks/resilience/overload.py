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
from benchmarks.results import DISTURBED

# Enough clients to fill every batch: the capacity is what full batches reach.
CLIENTS = 48
CONNECTIONS = 600
BASE_LOAD = 0.8
OVERLOAD = 3.0
WORSE = 2.0
REFUSAL_MS = 50.0
MEMORY_GROWTH = 0.03
BACK = 0.9
REFUSED_AT_BASE = 0.01
CAPACITY_SECONDS = 3.0
# The first tenth of a second of an overload passes for a burst and is let in. Those answers must be
# fewer than a hundredth, or they alone are the p99.
SECONDS = 60.0
QUICK_SECONDS = 30.0
ROUNDS = 3
COLUMNS = (
    "phase", "offered/s", "200/s", "p50 ms", "p99 ms", "refused/s",
    "refusal p99 ms", "refusal max ms", "PSS MB", "others",
)  # fmt: skip


@dataclass(frozen=True)
class Phase:
    """One load: what was offered a second (0: as much as is answered), seen, and used meanwhile.

    `others` is the share of all CPU time that processes which do not belong here took.
    """

    name: str
    rate: float
    seen: Seen
    megabytes: list[float]
    others: float

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
            f"{self.others:.0%}",
        ]


@dataclass(frozen=True)
class Round:
    """All phases against one process, in this order."""

    before: list[Phase]
    base: Phase
    over: Phase
    after: list[Phase]

    @property
    def phases(self) -> list[Phase]:
        """One after the other."""
        return [*self.before, self.base, self.over, *self.after]

    @property
    def others(self) -> float:
        """How much others disturbed the two phases that are compared, at worst."""
        return max(self.base.others, self.over.others)


def overload(site: Site, *, quick: bool) -> Outcome:
    """Measure capacity, the latency at 80 % of it, three times of it, and what is left after.

    Measured again where others disturbed it; the least disturbed round counts.
    """
    rounds: list[Round] = []
    while len(rounds) < (2 if quick else ROUNDS) and all(
        each.others > DISTURBED for each in rounds
    ):
        rounds.append(_round(site, QUICK_SECONDS if quick else SECONDS))
    best = min(rounds, key=lambda each: each.others)
    return Outcome(
        "overload",
        f"Default settings. Requests of {kinds.HEAVY_ROWS} rows to a net of 12.7 "
        f"million weights, {CONNECTIONS} connections. Round {rounds.index(best) + 1} of "
        f"{len(rounds)}, others took {best.others:.0%} of the CPUs.",
        COLUMNS,
        [each.row() for each in best.phases],
        promises(best),
        {"rounds": [asdict(each) for each in rounds]},
    )


def promises(found: Round) -> list[Promise]:
    """What is promised, with what was found."""
    base, over = found.base.seen, found.over.seen
    slowest = max(over.of(status).get("sent_max_ms", 0.0) for status in ("429", "503"))
    ratio = over.of("200").get("p99_ms", float("inf")) / base.of("200")["p99_ms"]
    back = rate_of(found.after) / rate_of(found.before)
    return [
        at_most("p99 of admitted requests, against that at 80 %", ratio, WORSE, "x"),
        at_most("slowest refusal", slowest, REFUSAL_MS, " ms"),
        none_of("fault at 80 %", base.faults),
        none_of("fault but refusals with Retry-After", over.faults),
        at_most("refused at 80 %", base.refused / base.sent * 100, REFUSED_AT_BASE * 100, " %"),
        at_most("memory growth", growth(found.over.megabytes) * 100, MEMORY_GROWTH * 100, " %"),
        at_least("throughput afterwards", back * 100, BACK * 100, " %"),
        at_most("requests that the clients could not send", over.unsent, 0),
    ]


def rate_of(phases: list[Phase]) -> float:
    """The median rate of answers."""
    return median(each.seen.rate for each in phases)


def _round(site: Site, seconds: float) -> Round:
    with serving(site, site.heavy) as service:
        before = [_phase(service, "capacity", CAPACITY_SECONDS) for _ in range(3)]
        rate = rate_of(before)
        base = _phase(service, "80 %", seconds / 2, BASE_LOAD * rate)
        over = _phase(service, "3 x", seconds, OVERLOAD * rate)
        after = [_phase(service, "afterwards", CAPACITY_SECONDS) for _ in range(3)]
    return Round(before, base, over, after)


def _phase(service: Service, name: str, seconds: float, rate: float = 0.0) -> Phase:
    shape = Shape(CONNECTIONS, seconds, rate) if rate else Shape(CLIENTS, seconds)
    others = quiet.Watch(service.process.pid)
    with Watch(service.process.pid) as watch:
        seen = load(service.port, [kinds.heavy()], shape)
    return Phase(name, rate, seen, watch.seen, others.others())

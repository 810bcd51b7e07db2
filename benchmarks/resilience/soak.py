"""As many requests as a moderate hour has, of every kind, right and wrong: memory must not grow."""

from __future__ import annotations

from statistics import median

from benchmarks.resilience import kinds
from benchmarks.resilience.generator import Clients, Seen
from benchmarks.resilience.memory import Watch
from benchmarks.resilience.service import Site, serving
from benchmarks.resilience.traffic import Shape
from benchmarks.resilience.verdict import Outcome, Promise, at_least, at_most, none_of

# 100 a second for an hour.
REQUESTS = 360_000
QUICK_REQUESTS = 36_000
CLIENTS = 16
LONGEST_SECONDS = 900.0
GROWTH = 0.03


def soak(site: Site, *, quick: bool) -> Outcome:
    """Send all of them as fast as they are answered, and watch the memory."""
    requests = QUICK_REQUESTS if quick else REQUESTS
    with serving(site, site.iris) as service:
        shape = Shape(CLIENTS, LONGEST_SECONDS, most=requests)
        with Watch(service.process.pid) as watch:
            seen = Clients(service.port, kinds.mixed(), shape).seen()
    early, late = ends(watch.seen)
    return Outcome(
        "soak",
        f"{requests} requests of {len(kinds.mixed())} kinds in {seen.elapsed:.0f} s "
        f"({seen.sent / seen.elapsed:.0f}/s); PSS after a tenth {early:.1f} MB, at the end "
        f"{late:.1f} MB, most {max(watch.seen):.1f} MB.",
        ("request", "answers"),
        [[kind, str(count)] for kind, count in sorted(seen.kinds.items())],
        promises(seen, requests, late / early - 1),
        {"requests": requests, "seen": seen.__dict__, "pss_mb": watch.seen},
    )


def promises(seen: Seen, requests: int, growth: float) -> list[Promise]:
    """What is promised of a long run."""
    return [
        none_of("fault", seen.faults),
        at_least("requests sent", seen.sent, requests),
        at_most("memory growth after the first tenth", growth * 100, GROWTH * 100, " %"),
    ]


def ends(megabytes: list[float]) -> tuple[float, float]:
    """Medians of the second tenth, because the first one is the warm-up, and of the last one."""
    tenth = max(1, len(megabytes) // 10)
    return median(megabytes[tenth : 2 * tenth] or megabytes), median(megabytes[-tenth:])

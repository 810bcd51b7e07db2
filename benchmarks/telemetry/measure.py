"""Measure the variants in turn, several times, and compare each with the first of its turn."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import processes, wrk
from benchmarks.resilience.service import wait_until_ready
from benchmarks.telemetry.variants import BASE, COLLECTOR, Variant
from benchmarks.wires import Request

TICKS = os.sysconf("SC_CLK_TCK")
BODY = Request(b'{"data":[[5.9,3.0,5.1,1.8]]}', {"Content-Type": "application/json"})


@dataclass(frozen=True)
class Site:
    """The rendered service, the interpreter that runs it, and a folder to write to."""

    folder: Path
    python: Path
    scratch: Path


@dataclass(frozen=True)
class Server:
    """A running variant: its port, and the process whose family answers there."""

    name: str
    port: int
    pid: int

    def load(self, clients: int, scratch: Path) -> wrk.Loaded:
        """One second of requests."""
        return wrk.run(f"http://127.0.0.1:{self.port}/predict", BODY, clients, 1, scratch)


@dataclass(frozen=True)
class Sample:
    """One measurement: requests a second, and CPU seconds that the service spent on each."""

    variant: str
    repetition: int
    rate: float
    cpu_seconds: float


@dataclass(frozen=True)
class Compared:
    """A variant beside the service without telemetry: medians, and medians of ratios."""

    variant: str
    rate: float
    cpu_microseconds: float
    rate_ratio: float
    cpu_ratio: float


def measure(
    variants: Sequence[Variant],
    site: Site,
    collector: str,
    repetitions: int,
    clients: int,
    turns: int,
) -> Iterator[Sample]:
    """Each repetition starts all variants anew and loads them in turn, a second at a time.

    Every other turn goes backwards. A machine that is shared is a third faster or slower some
    seconds later, so the seconds that are compared must be neighbours; and two processes of one
    program differ by some per cent for their whole life, so there must be several.
    """
    for repetition in range(repetitions):
        with ExitStack() as stack:
            servers = [
                Server(each.name, *stack.enter_context(_serving(each, site, collector)))
                for each in variants
            ]
            for server in servers:
                server.load(clients, site.scratch)
            before = [cpu_seconds(each.pid) for each in servers]
            loads: dict[str, list[wrk.Loaded]] = {each.name: [] for each in servers}
            for turn in range(turns):
                for server in servers if turn % 2 == 0 else reversed(servers):
                    loads[server.name].append(server.load(clients, site.scratch))
            # Over all turns and not in each: spans are sent when their requests are over.
            spent = [
                cpu_seconds(each.pid) - then for each, then in zip(servers, before, strict=True)
            ]
        for server, seconds in zip(servers, spent, strict=True):
            own = loads[server.name]
            requests = sum(each.requests for each in own)
            rate = requests / sum(each.seconds for each in own)
            yield Sample(server.name, repetition, rate, seconds / requests)


def compare(samples: Sequence[Sample]) -> list[Compared]:
    """One row for each variant, in the order in which they were measured first."""
    bases = {each.repetition: each for each in samples if each.variant == BASE}
    rows = []
    for name in dict.fromkeys(each.variant for each in samples):
        own = [each for each in samples if each.variant == name]
        rows.append(
            Compared(
                name,
                statistics.median(each.rate for each in own),
                1e6 * statistics.median(each.cpu_seconds for each in own),
                statistics.median(each.rate / bases[each.repetition].rate for each in own),
                statistics.median(
                    each.cpu_seconds / bases[each.repetition].cpu_seconds for each in own
                ),
            )
        )
    return rows


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and all that descend from it, user and system."""
    ticks = 0
    for each in processes.tree(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS


@contextmanager
def _serving(variant: Variant, site: Site, collector: str) -> Iterator[tuple[int, int]]:
    (port,) = processes.free_ports(1)
    settings = {
        name: value.replace(COLLECTOR, collector) for name, value in variant.settings.items()
    }
    settings |= {"HOST": "127.0.0.1", "PORT": str(port), "LOG_FORMAT": "json"}
    log = site.scratch / f"service-{port}.log"
    command = [str(site.python), *variant.arguments]
    with processes.running(command, site.folder, settings, log) as process:
        wait_until_ready(port, process, log)
        yield port, process.pid

"""Where the time of a test run went, printed at its end: by folder, and the files that cost most.

Both conftest.py of this repository import the two hooks. Seconds are those of the tests
themselves with their fixtures; processes of pytest-xdist work at the same time, so the sum is
longer than the run. CPU seconds include programs that a test starts and waits for.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Generator
from pathlib import PurePosixPath

import pytest

COSTLIEST = 12


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool, bool]:
    """Note the CPU time before a test."""
    item.stash[STARTED] = _cpu_seconds()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the CPU seconds to the report of the last phase, which travels between processes."""
    report = yield
    if report.when == "teardown":
        report.user_properties.append((CPU, _cpu_seconds() - item.stash[STARTED]))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the two tables."""
    seconds: defaultdict[str, float] = defaultdict(float)
    cpu: defaultdict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if not isinstance(report, pytest.TestReport):
                continue
            file = PurePosixPath(report.nodeid.partition("::")[0])
            for place in (f"{file.parent}/", str(file)):
                seconds[place] += report.duration
                cpu[place] += sum(v for _, v in report.user_properties if isinstance(v, float))
    places = sorted(seconds, key=seconds.__getitem__, reverse=True)
    folders = [place for place in places if place.endswith("/")]
    files = [place for place in places if not place.endswith("/")][:COSTLIEST]
    terminalreporter.section("where the time went: seconds, and seconds of CPU")
    for place in (*folders, *files):
        terminalreporter.write_line(f"{seconds[place]:8.1f} {cpu[place]:8.1f}  {place}")


STARTED = pytest.StashKey[float]()
CPU = "cpu seconds"


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system

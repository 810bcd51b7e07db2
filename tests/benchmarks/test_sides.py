"""Sides are compared turn by turn, and a ratio comes with where it lies."""

from __future__ import annotations

import math

import pytest

from benchmarks.sides import BASE, NEW, Memory, Sample, interval, shares, table

JSON = "protocol, JSON"


def samples() -> list[Sample]:
    """A machine that gets slower with every turn; the protocol takes a quarter more, and what was
    before a tenth less.
    """
    return [
        Sample("iris", revision, form, turn, 10.0 * (1 + turn) * more * less)
        for turn in range(8)
        for form, more in ((BASE, 1.0), (JSON, 1.25))
        for revision, less in ((NEW, 1.0), ("old", 0.9))
    ]


def test_what_a_busy_machine_does_to_both_sides_is_no_difference() -> None:
    new, old = (Sample("iris", each, BASE, 0, 0.0) for each in (NEW, "old"))
    found = shares(samples(), Sample("iris", NEW, JSON, 0, 0.0), new)
    assert (found.low, found.median, found.high) == pytest.approx((0.8, 0.8, 0.8))
    assert shares(samples(), new, old).median == pytest.approx(0.9)


def test_an_interval_is_as_wide_as_the_turns_differ() -> None:
    ratios = [0.7 + 0.005 * number for number in range(41)]
    found = interval(ratios)
    # A median lies between the ranks n/2 - 0.98 sqrt(n) and n/2 + 0.98 sqrt(n).
    reach = 0.98 * math.sqrt(len(ratios)) * 0.005
    assert found.median == pytest.approx(0.8)
    assert (found.low, found.high) == pytest.approx((0.8 - reach, 0.8 + reach), abs=0.008)


def test_the_table_has_a_line_for_each_side() -> None:
    memory = [Memory("iris", NEW, 61.0, 62.04), Memory("iris", NEW, 61.0, 62.06)]
    lines = table(samples(), memory, "old").splitlines()
    assert f"| iris | old | {BASE} | 40.5 |  |  |" in lines
    assert (
        f"| iris | {NEW} | {JSON} | 56.2 | 80.0% (80.0% to 80.0%) | 90.0% (90.0% to 90.0%) |"
        in lines
    )
    assert f"| iris | {NEW} | 61.0 | 62.0 |" in lines
    assert len(lines) == 2 + 4 + 1 + 2 + 1

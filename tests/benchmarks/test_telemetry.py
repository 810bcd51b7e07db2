"""What telemetry costs: how samples become ratios, and in which order they are taken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.telemetry.__main__ import table
from benchmarks.telemetry.measure import Sample, compare
from benchmarks.telemetry.variants import BASE, DEFAULT, SILENT, TRACING, VARIANTS, apart

APP = Path(__file__).parents[2] / "{{cookiecutter.project_slug}}" / "engine" / "serving"


def test_each_sample_is_compared_with_the_base_of_its_own_repetition() -> None:
    # The machine was half as fast in the second repetition; the ratio does not show it.
    samples = [
        Sample(BASE, 0, 1000, 100e-6),
        Sample(DEFAULT, 0, 950, 104e-6),
        Sample(DEFAULT, 1, 475, 208e-6),
        Sample(BASE, 1, 500, 200e-6),
    ]
    base, default = compare(samples)
    assert (base.variant, base.cpu_ratio, base.rate_ratio) == (BASE, 1, 1)
    assert default.cpu_ratio == pytest.approx(1.04)
    assert default.rate_ratio == pytest.approx(0.95)
    assert f"| {DEFAULT} | 712 | 156.0 µs | 0.950 | 1.040 |" in table([base, default])


def test_the_base_comes_first_and_traces_only_where_there_is_a_setting_for_them() -> None:
    assert VARIANTS[0].name == BASE
    assert [each.needs for each in VARIANTS] == ["", "", "", TRACING, TRACING, TRACING]


def test_traces_are_measured_apart_each_group_with_the_base_first() -> None:
    assert apart(VARIANTS) == [list(VARIANTS[:3]), [VARIANTS[0], *VARIANTS[3:]]]
    assert apart(VARIANTS[:2]) == [list(VARIANTS[:2])]


def test_every_function_that_is_silenced_is_one_of_the_service() -> None:
    """A renamed one would go on observing in the service that all others are compared with."""
    silenced = re.findall(r"^    (\w+)\.(\w+) = ", SILENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(silenced) == 5
    code = "\n".join(each.read_text(encoding="utf-8") for each in APP.rglob("*.py"))
    for owner, function in silenced:
        found = re.search(rf"^class {owner}\b.*?(?=^class |\Z)", code, re.MULTILINE | re.DOTALL)
        assert found, owner
        assert f"    def {function}(" in found[0], f"{owner}.{function}"

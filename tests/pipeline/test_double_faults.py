"""Injected failures reach the real `az`, strike where and as often as planned, and are recorded."""

from __future__ import annotations

import time

import pytest

from .commands import Azure, CommandError

pytestmark = pytest.mark.slow


def test_an_error_of_azure(az: Azure) -> None:
    az.double.inject(
        where="PUT */resourcegroups/rg", status=409, code="Conflict", message="planned", times=1
    )
    with pytest.raises(CommandError, match=r"\(Conflict\) planned"):
        az.group("rg")
    az.group("rg")
    assert az.double.pending_faults() == []
    assert [each["status"] for each in az.double.requests("PUT")] == [409, 201]


def test_az_retries_what_the_service_could_not_do(az: Azure) -> None:
    az.double.inject(where="PUT */resourcegroups/rg", status=503, code="Busy", message="later")
    az.group("rg")
    assert [each["status"] for each in az.double.requests("PUT")] == [503, 201]


@pytest.mark.parametrize(("drop", "exists"), [("before", False), ("after", True)])
def test_a_lost_connection(az: Azure, drop: str, exists: bool) -> None:
    az.double.inject(where="PUT */resourcegroups/rg", drop=drop, times=10)
    with pytest.raises(CommandError, match="RemoteDisconnected"):
        az.group("rg")
    assert az("group", "exists", "--name", "rg") is exists
    assert {each["status"] for each in az.double.requests("PUT")} == {0}


def test_a_delay_and_a_later_occasion(az: Azure) -> None:
    az.double.inject(where="PUT */resourcegroups/*", delay_seconds=2, skip=1)
    az.group("one")
    began = time.monotonic()
    az.group("two")
    assert time.monotonic() - began > 2
    az.group("three")
    assert [bool(each["fault"]) for each in az.double.requests("PUT")] == [False, True, False]


def test_a_reset_forgets_everything(az: Azure) -> None:
    az.group("rg")
    az.double.inject(where="never")
    before = az.double.owner
    az.double.reset()
    assert az.double.owner == before
    assert az.double.pending_faults() == []
    assert az.double.requests() == []
    assert not [each for each in az.double.resources() if "resourceGroups" in each]

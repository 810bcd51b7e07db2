"""Liveness and readiness probes, as Kubernetes does them and Container Instances inherits them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..engine import Engine, EngineError
from .aci_pace import Pace

PASSED = ""
PERIOD_SECONDS, TIMEOUT_SECONDS, FAILURES, SUCCESSES = 10, 1, 3, 1


@dataclass(frozen=True, slots=True)
class Target:
    """A container to be probed: its Docker id and where its ports can be reached from here."""

    engine: Engine
    container: str
    addresses: Mapping[int, tuple[str, int]]


async def watch(
    probe: dict[str, Any],
    target: Target,
    pace: Pace,
    spoilt: Callable[[], str],
    verdict: Callable[[bool, str], Awaitable[None]],
) -> None:
    """Probe for ever; tell the verdict each time that a threshold is reached, and why.

    Args:
        probe: as in the document.
        target: what is probed.
        pace: how long a second is.
        spoilt: gives the reason for which a probe fails although it passed, or "".
        verdict: told True (success threshold reached) or False (failure threshold reached), with
            the reason of the last failure; every failure is told with None by `spoilt` alone.
    """
    await asyncio.sleep(pace.probe(probe.get("initialDelaySeconds") or 0))
    passed = failed = 0
    while True:
        reason = spoilt() or await once(probe, target)
        passed, failed = (passed + 1, 0) if reason == PASSED else (0, failed + 1)
        if passed == (probe.get("successThreshold") or SUCCESSES):
            await verdict(True, reason)
        if failed and failed % (probe.get("failureThreshold") or FAILURES) == 0:
            await verdict(False, reason)
        await asyncio.sleep(pace.probe(probe.get("periodSeconds") or PERIOD_SECONDS))


async def once(probe: dict[str, Any], target: Target) -> str:
    """One probe: "" when it passes, else why not."""
    timeout = float(probe.get("timeoutSeconds") or TIMEOUT_SECONDS)
    if probe.get("exec"):
        return await _execute(probe["exec"]["command"], target, timeout)
    return await _get(probe["httpGet"], target, timeout)


async def _execute(command: list[str], target: Target, timeout: float) -> str:
    try:
        code = await target.engine.execute(target.container, command, timeout)
    except EngineError as problem:
        return f"command could not run: {problem}"
    return PASSED if code == 0 else f"command exited with {code}"


async def _get(http: dict[str, Any], target: Target, timeout: float) -> str:
    port, path = http["port"], http.get("path") or "/"
    try:
        # `wait_for` of Python 3.11 forgets a cancellation that meets the answer, and the watch
        # would go on probing a container that is gone.
        async with asyncio.timeout(timeout):
            status = await _status(http, path, target.addresses[port])
    except TimeoutError:
        return f'Get "http://container:{port}{path}": no answer within {timeout:g} s'
    except (OSError, ValueError, KeyError, asyncio.IncompleteReadError):
        return f'Get "http://container:{port}{path}": connection refused'
    return PASSED if 200 <= status < 400 else f"HTTP probe failed with statuscode: {status}"


async def _status(http: dict[str, Any], path: str, address: tuple[str, int]) -> int:
    reader, writer = await asyncio.open_connection(*address)
    sent = {"Host": f"container:{http['port']}", "User-Agent": "kube-probe", "Connection": "close"}
    sent |= {header["name"]: header["value"] for header in http.get("httpHeaders") or []}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
    try:
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await writer.drain()
        return int((await reader.readline()).split()[1])
    except IndexError:
        raise ValueError("no status line") from None
    finally:
        writer.close()

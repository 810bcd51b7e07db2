"""The log stream of Container Apps, on a host of its own in each region."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

from ..arm.azure import Azure
from ..arm.store import Resource
from ..wire import Request, Response, json_response
from .aci_container import Container
from .aci_events import State, now
from .app_fleet import REVISIONS, Fleet
from .app_replicas import RunningRevision

TOKEN = "log-token"
"""Where the token of `getAuthToken` lies in an app's hidden values."""
POLL_SECONDS = 0.3
PATH = re.compile(
    r"(?P<start>/subscriptions/[^/]+/resourceGroups/[^/]+)/containerApps/(?P<app>[^/]+)"
    r"(/revisions/(?P<revision>[^/]+)/replicas/(?P<replica>[^/]+)/containers/[^/]+/logstream"
    r"|/eventstream)",
    re.IGNORECASE,
)


class LogStream:
    """The handler of ``<region>.azurecontainerapps.dev``."""

    def __init__(self, azure: Azure, fleet: Fleet) -> None:
        self._azure = azure
        self._fleet = fleet

    async def __call__(self, request: Request) -> Response:
        """The log of one replica, or the events of the app, as lines."""
        found = PATH.fullmatch(request.path)
        app = self._app(found) if found else None
        if found is None or app is None:
            return json_response(404, {"error": {"code": "NotFound", "message": request.path}})
        if request.header("authorization") != f"Bearer {app.hidden.get(TOKEN)}":
            return json_response(401, {"error": {"code": "Unauthorized", "message": "token"}})
        if found["replica"] is None:
            return _lines(self._events(app))
        container = self._container(app, found["revision"], found["replica"])
        if container is None:
            return json_response(404, {"error": {"code": "ReplicaNotFound", "message": "gone"}})
        follow = request.query.get("follow") == "true"
        tail = int(request.query.get("taillines") or 20)
        text = request.query.get("output", "json") == "text"
        return _lines(_log(container, tail, follow, _as_text if text else _as_json))

    def _app(self, found: re.Match[str]) -> Resource | None:
        path = f"{found['start']}/providers/Microsoft.App/containerApps/{found['app']}"
        return self._azure.store.get(path)

    def _container(self, app: Resource, revision: str, replica: str) -> Container | None:
        resource = self._azure.store.get(f"{app.id}/revisions/{revision}")
        running = self._fleet.running(resource) if resource else None
        for each in running.replicas if running else []:
            if each.name == replica:
                return each.container
        return None

    async def _events(self, app: Resource) -> AsyncIterator[str]:
        """The system log: what happened to the containers that run now."""
        for revision in self._azure.store.list(REVISIONS, app.id):
            running = self._fleet.running(revision)
            for replica in running.replicas if running else []:
                about = {
                    "ContainerAppName": app.name,
                    "RevisionName": revision.name,
                    "ReplicaName": replica.name,
                    "EventSource": "ContainerAppController",
                }
                for event in [*_happened(replica.container), *_refused(running)]:
                    yield json.dumps({**event, **about})


def _refused(running: RunningRevision | None) -> list[dict[str, Any]]:
    """The shares that could not be mounted, as Kubernetes calls it."""
    return [
        {
            "TimeStamp": event["lastTimestamp"],
            "Type": event["type"],
            "Reason": "FailedMount",
            "Msg": f"MountVolume.SetUp failed for volume: {event['message']}",
            "Count": event["count"],
        }
        for event in (running.mounting.shown() if running else [])
    ]


def _happened(container: Container) -> list[dict[str, Any]]:
    """The events of one container in the words of Container Apps, the end of its last run last."""
    made = []
    for event in container.events.shown():
        message = re.sub(r"^(\w+) probe failed", r"Probe of \1 failed", event["message"])
        made.append(
            {
                "TimeStamp": event["lastTimestamp"],
                "Type": event["type"],
                "Reason": "ProbeFailed" if message != event["message"] else event["name"],
                "Msg": message,
                "Count": event["count"],
            }
        )
    ended = next((each for each in (container.state, container.previous) if _has_ended(each)), None)
    if ended is not None:
        reason = "OOMKilled" if ended.detail == "OOMKilled" else "ProcessExited"
        message = (
            f"Container '{container.plan.name}' was terminated with exit code "
            f"'{ended.exit_code}' and reason '{reason}'"
        )
        made.append(
            {
                "TimeStamp": ended.finished,
                "Type": "Warning",
                "Reason": "ContainerTerminated",
                "Msg": message,
                "Count": container.restarts + 1,
            }
        )
    return made


def _has_ended(state: State | None) -> bool:
    return state is not None and state.exit_code is not None


async def _log(
    container: Container, tail: int, follow: bool, shape: Callable[[str], str]
) -> AsyncIterator[str]:
    name = container.plan.name
    yield _as_json(f"Connecting to the container '{name}'...")
    yield _as_json(f"Successfully Connected to container: '{name}'")
    seen = (await container.log(None)).splitlines()
    for line in seen[len(seen) - tail if len(seen) > tail else 0 :]:
        yield shape(line)
    while follow:
        await asyncio.sleep(POLL_SECONDS)
        lines = (await container.log(None)).splitlines()
        # A container that was started again begins a new log.
        for line in lines[len(seen) if len(lines) >= len(seen) else 0 :]:
            yield shape(line)
        seen = lines


def _lines(lines: AsyncIterator[str]) -> Response:
    async def body() -> AsyncIterator[bytes]:
        async for line in lines:
            yield line.encode() + b"\n"

    return Response(200, body(), [("content-type", "text/plain; charset=utf-8")])


def _as_json(line: str) -> str:
    return json.dumps({"TimeStamp": now(), "Log": line})


def _as_text(line: str) -> str:
    return f"{now()} {line}"

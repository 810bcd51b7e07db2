"""One step of a deploy to Container Apps, for tests: a document on stdin says which.

Run in a rendered service, by an interpreter with its requirements. Every step is a process of its
own, as if the one before it had been killed.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from typing import Any

from engine.deploy.az import Az
from engine.deploy.bootstrap.roles import DNS
from engine.deploy.config.project import Project
from engine.deploy.say import Say
from engine.deploy.targets.base import Places, Release
from engine.deploy.targets.containerapps.bootstrap import ROLE
from engine.deploy.targets.containerapps.environment import AppEnvironment
from engine.deploy.targets.containerapps.target import ContainerApps
from engine.deploy.targets.kind import own_names
from engine.errors import EngineError

Json = dict[str, Any]
PROJECT = Project(
    name="iris-service",
    title="Iris",
    owner="octo-org",
    accelerator="cpu",
    registry="irisservice",
    region="westeurope",
    shared_resource_group="iris-service-shared",
)


def main() -> int:
    """Do the step; its result as JSON on stdout. 1 and the message on stderr when it is refused."""
    request = json.load(sys.stdin)
    say = Say(verbose=True)
    say.hide(request.get("secrets", {}).values())
    az = Az(say, dry_run=request.get("dry_run", False), without=request.get("secrets", {}))
    environment = AppEnvironment.model_validate(request["environment"])
    target = ContainerApps(az, environment, Places(**request["places"]))
    request["names"] = own_names(az, PROJECT, environment, Places(**request["places"]))
    try:
        answer = STEPS[request["step"]](target, az, request)
    except EngineError as error:
        print(f"{error.cause}\nfix: {error.fix}", file=sys.stderr)
        return 1
    json.dump(answer, sys.stdout)
    return 0


def _document(target: ContainerApps, request: Json) -> Any:
    if "document" in request:
        return target.with_tags(request["document"], request["tags"])
    return target.document(Release(**request["release"]), request["tags"])


def _apply(target: ContainerApps, az: Az, request: Json) -> Any:
    document = _document(target, request)
    target.apply(document, request.get("secrets", {}), lambda: None)
    return document


def _restore(target: ContainerApps, az: Az, request: Json) -> Any:
    document = _document(target, request)
    target.restore(document, request.get("secrets", {}), lambda: None)
    return document


def _read(target: ContainerApps, az: Az, request: Json) -> Any:
    live = target.read()
    return dataclasses.asdict(live) | {"tags": dict(live.tags)} if live else None


def _differences(target: ContainerApps, az: Az, request: Json) -> Any:
    live = target.read()
    assert live is not None
    return list(target.differences(live.document, _document(target, request)))


def _names(target: ContainerApps, az: Az, request: Json) -> Any:
    """What is left after a method of the own names: causes and fixes."""
    found = getattr(request["names"], request["method"])(*request["arguments"])
    return [
        each if isinstance(each, str) else [each.code, each.cause, each.fix] for each in found or ()
    ]


STEPS: dict[str, Callable[[ContainerApps, Az, Json], Any]] = {
    "actions": lambda target, az, request: ROLE.actions,
    "dns actions": lambda target, az, request: DNS.actions,
    "apply": _apply,
    "restore": _restore,
    "read": _read,
    "differences": _differences,
    "findings": lambda target, az, request: [
        finding.cause for finding in target.findings(Release(**request["release"]))
    ],
    "events": lambda target, az, request: [
        [event.name, event.message]
        for container in getattr(target.evidence(), "containers", ())
        for event in container.events
    ],
    "candidate": lambda target, az, request: target.candidate_addresses()[0],
    "names": _names,
    "keep": lambda target, az, request: target.keep(request["tags"]),
    "mark": lambda target, az, request: target.mark(request["tags"]),
    "stop": lambda target, az, request: target.stop(),
    "start": lambda target, az, request: target.start(),
    "delete": lambda target, az, request: target.delete(),
    "logs": lambda target, az, request: list(target.logs(follow=False)),
    # A log that is followed has no end.
    "follow": lambda target, az, request: next(target.logs(follow=True)),
}


if __name__ == "__main__":
    raise SystemExit(main())

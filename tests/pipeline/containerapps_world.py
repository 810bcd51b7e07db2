"""What the tests of Container Apps share: a place for apps in the double, and steps of a deploy."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.azure_double.client import Person

from .commands import run
from .double_world import GROUP, REGION, World

VERSION = "2025-07-01"
ENVIRONMENT = "world-apps"
DRIVER = Path(__file__).with_name("containerapps_driver.py")
SECRETS = {"API_KEYS": "planted-secret"}
CONSUMPTION = {"name": "Consumption", "workloadProfileType": "Consumption"}
T4 = {"name": "gpu-t4", "workloadProfileType": "Consumption-GPU-NC8as-T4"}
STEP_SECONDS = 120
RUNNING = ("Running", "RunningAtMaxScale", "ScaledToZero")
FAILED = ("Failed",)

Json = dict[str, Any]


class Refused(AssertionError):
    """A step of the deploy that was refused; ``str()`` is cause and fix."""


class Apps:
    """A Container Apps environment in the world, and the deploy package of a rendered service.

    Attributes:
        said: what all steps wrote to standard error, command lines included.
    """

    def __init__(self, world: World, service: Path, python: Path) -> None:
        self.world = world
        self.said = ""
        self._service = service
        self._python = python
        self._envs: dict[str, dict[str, str]] = {}
        self._rollouts = 0
        self._spied = world.double.folder / "az-arguments"
        self.environment = world.provider("Microsoft.App/managedEnvironments", ENVIRONMENT)
        properties = {"workloadProfiles": [CONSUMPTION]}
        answer = self.call("PUT", self.environment, {"location": REGION, "properties": properties})
        world.finished(*answer)

    def id(self, name: str) -> str:
        """The identifier of an app."""
        return self.world.provider("Microsoft.App/containerApps", name)

    def call(
        self, method: str, path: str, body: Json | None = None
    ) -> tuple[int, Json, dict[str, str]]:
        """A request to Resource Manager as the owner: status, body, headers."""
        return self.world.call(method, path, body, version=VERSION)

    def stored(self, name: str) -> Json:
        """The app as the double keeps it, the values of its secrets included."""
        found = self.world.double.resource(self.id(name))
        assert found is not None
        return found

    def revisions(self, name: str) -> dict[str, Json]:
        """The properties of an app's revisions, by the end of their names."""
        _, answer, _ = self.call("GET", f"{self.id(name)}/revisions")
        return {each["name"].partition("--")[2]: each["properties"] for each in answer["value"]}

    def rollout(self, state: str = "verifying") -> dict[str, str]:
        """Tags of a new rollout."""
        self._rollouts += 1
        return {"rollout-id": f"20261121051530-{self._rollouts:06x}", "rollout-state": state}

    def app(self, name: str, **settings: Any) -> App:
        """An environment file for an app of that name, and steps on it."""
        return App(self, name, settings)

    @property
    def arguments(self) -> str:
        """All arguments that `az` was called with, a line each."""
        return self._spied.read_text(encoding="utf-8")

    def _spy(self) -> Path:
        """A program that notes its arguments and becomes `az`."""
        spy = self.world.double.folder / "az-spy"
        note = f"printf '%s\\n' \"$@\" >> '{self._spied}'"
        spy.write_text(f'#!/bin/sh\n{note}\nexec az "$@"\n', encoding="utf-8")
        spy.chmod(0o700)
        return spy

    def run(self, request: Json, person: Person) -> Any:
        """One step in a process of its own.

        Raises:
            Refused: it ended with cause and fix.
        """
        if person.name not in self._envs:
            env = self.world.double.env(person)
            more = {"PYTHONPATH": str(self._service), "AZ": str(self._spy())}
            self._envs[person.name] = {**env, **more}
        done = subprocess.run(
            [self._python, DRIVER],
            input=json.dumps(request),
            env=self._envs[person.name],
            cwd=self._service,
            capture_output=True,
            text=True,
            timeout=STEP_SECONDS,
            check=False,
        )
        self.said += done.stderr
        if done.returncode:
            raise Refused(done.stderr)
        return json.loads(done.stdout)


class App:
    """The steps of a deploy, in the order in which a rollout takes them."""

    def __init__(self, apps: Apps, name: str, settings: Mapping[str, Any]) -> None:
        self.apps = apps
        self.name = name
        self.image = apps.world.image
        self.secrets = dict(SECRETS)
        self.person = apps.world.owner
        self.settings: Json = {
            "stage": "staging",
            "target": "containerapps",
            "telemetry": False,
            "region": REGION,
            "resource_group": GROUP,
            "name": name,
            "cpu": 0.25,
            "memory_gb": 0.5,
            "secrets": ["API_KEYS"],
            "variables": {"NAME": "one"},
            "replicas": {"min": 1},
            "probes": {"liveness": {"path": "/alive"}, "readiness": {"path": "/ready"}},
            **settings,
        }

    def step(self, step: str, **more: Any) -> Any:
        """One step of `containerapps_driver`."""
        world = self.apps.world
        places = {
            "subscription": world.double.subscription,
            "registry_server": world.server,
            "pull_identity": world.identity,
            "apps_environment": self.apps.environment,
        }
        release = {"image": self.image, "revision": "a" * 40, "model_digest": "b" * 64}
        request = {
            "step": step,
            "environment": self.settings,
            "places": places,
            "release": release,
            "secrets": self.secrets,
            **more,
        }
        return self.apps.run(request, self.person)

    def names(self, method: str, *arguments: Any) -> list[Any]:
        """A method of the own names; findings are code, cause and fix."""
        found: list[Any] = self.step("names", method=method, arguments=arguments)
        return found

    def apply(self, *, until: str = "running", **variables: str) -> Json:
        """Apply a release with these variables and wait for it; what is live then."""
        self.settings["variables"] = {**self.settings["variables"], **variables}
        self.step("apply", tags=self.apps.rollout())
        return self.wait(until)

    def deploy(self, **variables: str) -> Json:
        """Apply and keep; what is live then."""
        live = self.apply(**variables)
        return self.keep(live["tags"])

    def keep(self, tags: Mapping[str, str]) -> Json:
        """Keep what was applied last."""
        self.step("keep", tags={**tags, "rollout-state": "kept"})
        return self.read()

    def restore(self, document: Json) -> Json:
        """Restore a document as a rollout that failed does it, with its tags in the end."""
        live = self.read()
        under_way = {**document["tags"], "rollout-id": live["tags"]["rollout-id"]}
        under_way["rollout-state"] = "restoring"
        self.step("restore", document=document, tags=under_way)
        self.wait("running")
        self.step("mark", tags=document["tags"])
        return self.read()

    def read(self) -> Json:
        """What is live."""
        live: Json = self.step("read")
        return live

    def wait(self, until: str) -> Json:
        """Wait until what was applied last is "running" or "failed"; what is live then.

        Asks Azure itself: the deploy package reads by `az`, which takes a second each time.
        """
        deadline = time.monotonic() + 60
        while not self._has_come(until):
            assert time.monotonic() < deadline, self.read()
            time.sleep(0.2)
        return self.read()

    @property
    def host(self) -> str:
        """The name that Azure gave."""
        return str(self._app()["ingress"]["fqdn"])

    @property
    def bound(self) -> dict[str, str]:
        """The own names as `az` lists them, with their bindings."""
        environment = self.apps.world.double.env(self.apps.world.owner)
        command = ("az", "containerapp", "hostname", "list", "-n", self.name, "-g", GROUP)
        listed = json.loads(run(environment, *command))
        return {each["name"]: each["bindingType"] for each in listed}

    def ask(self, path: str = "/env/NAME", *, candidate: bool = False) -> tuple[int, str]:
        """A request from outside to the app, or to the revision applied last."""
        host = self._revision()["fqdn"] if candidate else self._app()["ingress"]["fqdn"]
        return self.apps.world.get(f"https://{host}{path}")

    def _app(self) -> Json:
        _, shown, _ = self.apps.call("GET", self.apps.id(self.name))
        properties: Json = shown["properties"]
        return {**properties["configuration"], **properties, "tags": shown.get("tags") or {}}

    def _revision(self) -> Json:
        name = self._app()["tags"]["revision"]
        _, shown, _ = self.apps.call("GET", f"{self.apps.id(self.name)}/revisions/{name}")
        properties: Json = shown["properties"]
        return properties

    def _has_come(self, until: str) -> bool:
        if self._app()["provisioningState"] != "Succeeded":
            return False
        state = self._revision()["runningState"]
        return state in (FAILED if until == "failed" else RUNNING)

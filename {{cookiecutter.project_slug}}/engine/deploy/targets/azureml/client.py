"""One online endpoint, its deployments and environments, through `az rest`.

Bodies travel through standard input, for they hold secrets. `az ml` is an extension, which a
deploy must not install in passing.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

from engine.deploy.az import Az
from engine.deploy.azure_ids import same
from engine.deploy.targets.azureml.document import API_VERSION, version_of
from engine.deploy.targets.base import Check
from engine.errors import EngineError

Json = dict[str, Any]

POLL_SECONDS = 3.0
IDLE_SECONDS = 1800.0
"""An instance takes some ten minutes to start."""
VISIBLE_SECONDS = 120.0
"""How long Azure may show what was there before a change; see ``engine.deploy.rollout.waiting``."""
LINES = 1000
SERVER, STORAGE = "InferenceServer", "StorageInitializer"
"""The containers of an instance that have a log."""
_FINAL = ("Succeeded", "Failed", "Canceled")


class EndpointClient:
    """The endpoint ``name`` of a workspace; ``sleep`` and ``clock`` are there for tests."""

    def __init__(
        self,
        az: Az,
        workspace_id: str,
        name: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._az = az
        self._name = name
        self._sleep = sleep
        self._clock = clock
        self._workspace = workspace_id
        self._id = f"{workspace_id}/onlineEndpoints/{name}"
        self._key: str | None = None
        self._versions: dict[str, Json] = {}

    def workspace(self) -> Json | None:
        """The workspace; None where there is none."""
        return self._find(self._workspace)

    def endpoint(self) -> Json | None:
        """The endpoint; None where there is none."""
        return self._find(self._id)

    def deployments(self) -> list[Json]:
        """All deployments of the endpoint."""
        found: list[Json] = []
        url: str | None = _url(f"{self._id}/deployments")
        while url:
            page = self._az.find("rest", "--method", "get", "--url", url) or {}
            found += page.get("value") or []
            url = page.get("nextLink")
        return found

    def deployment(self, name: str) -> Json | None:
        """One deployment; None where there is none."""
        return self._find(self._deployment(name))

    def environment(self, deployment: Json | None) -> Json | None:
        """The version of an environment that a deployment names; it never changes."""
        named = (deployment or {}).get("properties", {}).get("environmentId")
        if named is None:
            return None
        if named not in self._versions:
            found = self._find(re.sub(r"^azureml:(?=/)", "", named))
            if found is None:
                return None
            self._versions[named] = found
        return self._versions[named]

    def key(self) -> str:
        """The key with which clients ask the endpoint; from then on it is never shown."""
        if self._key is None:
            url = _url(f"{self._id}/listKeys")
            self._key = str(self._az.json("rest", "--method", "post", "--url", url)["primaryKey"])
            self._az.say.hide([self._key])
        return self._key

    def log(self, deployment: str, container: str = SERVER) -> list[str]:
        """The newest lines of a container's log, oldest first."""
        url = _url(f"{self._deployment(deployment)}/getLogs")
        body = json.dumps({"containerType": container, "tail": LINES})
        request = ("rest", "--method", "post", "--url", url, "--body", "@-")
        found = self._az.json(*request, stdin=body) or {}
        return str(found.get("content") or "").splitlines()

    def require_environment(self, content: Json, check: Check) -> str:
        """The id of the version that has this content; it is made where there is none."""
        path = f"{self._workspace}/environments/{self._name}/versions/{version_of(content)}"
        if self._find(path) is None:
            self._change("put", path, {"properties": content}, check)
        return path

    def put(self, body: Json, check: Check) -> None:
        """Ask for the endpoint, and wait until Azure shows it and is done."""
        self._send("put", body, check)

    def tag(self, tags: dict[str, str]) -> None:
        """Give the endpoint these tags, and wait until Azure shows them.

        Microsoft does not say whether a PATCH removes the others. An empty tag counts as none.
        """
        there = (self.endpoint() or {}).get("tags") or {}
        self._send("patch", {"tags": {**dict.fromkeys(there, ""), **tags}}, lambda: None)

    def _send(self, method: str, body: Json, check: Check) -> None:
        self._wait_until_idle()
        check()
        self._change(method, self._id, body, check)
        self._until(lambda: _shows(self.endpoint(), body), VISIBLE_SECONDS)
        self._wait_until_idle()

    def put_deployment(self, name: str, body: Json, check: Check) -> None:
        """Ask for a deployment; returns as soon as Azure shows it."""
        self._wait_until_idle()
        check()
        self._change("put", self._deployment(name), body, check)
        self._until(lambda: self.deployment(name) is not None, VISIBLE_SECONDS)

    def require_made(self, name: str, check: Check) -> None:
        """Wait until a deployment is made.

        Raises:
            EngineError: it could not be made.
        """

        def done() -> bool:
            check()
            return state_of(self.deployment(name)) in _FINAL

        self._until(done, IDLE_SECONDS)
        if (state := state_of(self.deployment(name))) != "Succeeded":
            raise EngineError(
                f"the deployment {name} of {self._name} is in state {state}",
                "read its log in the portal, and run this again",
            )

    def remove(self, name: str, check: Check) -> None:
        """Delete a deployment and wait until it is gone; it must have no traffic."""
        self._wait_until_idle()
        check()
        self._gone(self._deployment(name), lambda: self.deployment(name), f"deployment {name}")

    def delete(self) -> None:
        """Delete the endpoint with its deployments and wait until it is gone."""
        self._gone(self._id, self.endpoint, f"online endpoint {self._name}")

    def _gone(self, path: str, look: Callable[[], Json | None], what: str) -> None:
        self._az.change("rest", "--method", "delete", "--url", _url(path), patience=IDLE_SECONDS)
        if not self._until(lambda: look() is None, IDLE_SECONDS):
            raise EngineError(
                f"the {what} is still there {IDLE_SECONDS:.0f} s after its deletion was accepted",
                "delete it in the portal, for it may bill, and run this again",
            )

    def _wait_until_idle(self) -> None:
        if not self._until(lambda: settled(self.endpoint()), IDLE_SECONDS):
            raise EngineError(
                f"Azure has been changing the online endpoint {self._name} for more than "
                f"{IDLE_SECONDS:.0f} s",
                "look at it in the portal; once the change has ended, run this again",
            )

    def _change(self, method: str, path: str, body: Json, check: Check) -> None:
        request = ("rest", "--method", method, "--url", _url(path), "--body", "@-")
        content, patience = json.dumps(body), IDLE_SECONDS
        self._az.change(*request, stdin=content, before_retry=check, patience=patience)

    def _until(self, done: Callable[[], bool], seconds: float) -> bool:
        give_up = self._clock() + seconds
        while not done():
            if self._clock() >= give_up:
                return False
            self._sleep(POLL_SECONDS)
        return True

    def _deployment(self, name: str) -> str:
        return f"{self._id}/deployments/{name}"

    def _find(self, path: str) -> Json | None:
        found: Json | None = self._az.find("rest", "--method", "get", "--url", _url(path))
        return found


def state_of(resource: Json | None) -> str | None:
    """Azure's word for how far it is with a resource, in one spelling; None: it is not there."""
    if resource is None:
        return None
    state = str(resource["properties"].get("provisioningState"))
    return next((each for each in _FINAL if same(each, state)), state)


def settled(resource: Json | None) -> bool:
    """Whether Azure takes a further change: a state that is not known means to wait."""
    return resource is None or state_of(resource) in (*_FINAL, "None")


def traffic_of(endpoint: Json | None) -> dict[str, int]:
    """The deployments that clients reach, each with its share in percent."""
    shares = (endpoint or {}).get("properties", {}).get("traffic") or {}
    return {name: share for name, share in shares.items() if share}


def _shows(endpoint: Json | None, body: Json) -> bool:
    if endpoint is None:
        return False
    tags = {name: value for name, value in (endpoint.get("tags") or {}).items() if value}
    wanted = {name: value for name, value in body["tags"].items() if value}
    properties = body.get("properties")
    return tags == wanted and (properties is None or traffic_of(endpoint) == properties["traffic"])


def _url(path: str) -> str:
    return f"{path}?api-version={API_VERSION}"

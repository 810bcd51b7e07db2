"""One endpoint with the deployments blue and green; its traffic says which of them serves.

A release is two named objects, the deployment and the endpoint's traffic. Both deployments have the
endpoint's address; the candidate is asked by a header that names it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from engine.deploy.az import Az
from engine.deploy.config import names
from engine.deploy.config.environment import Environment
from engine.deploy.diagnosis.evidence import Group
from engine.deploy.finding import Finding
from engine.deploy.rollout import marks
from engine.deploy.targets.base import (
    Check,
    Document,
    Live,
    Places,
    Release,
    check_image,
    release_tags,
)
from engine.deploy.targets.compare import canonical_digest, differing_paths, same_secrets
from engine.errors import EngineError

HEADER = "x-deployment"
APPLIED = "applied"
"""A tag of the endpoint: the deployment that was asked for last."""
_VISIBLE_SECONDS, _PAUSE_SECONDS = 120.0, 3.0
Json = dict[str, Any]


class Endpoint:
    """See ``engine.deploy.targets.base.Target``."""

    serves_on = True
    busy_seconds = 60.0
    sleep: ClassVar[Any] = staticmethod(time.sleep)

    def __init__(self, az: Az, environment: Environment, places: Places) -> None:
        self.what = f"endpoint {environment.name}"
        self._az = az
        self._environment = environment
        self._places = places
        self._url = (
            f"/subscriptions/{places.subscription}/resourceGroups/{environment.resource_group}"
            f"/providers/Example.Endpoints/endpoints/{environment.name}"
        )

    def document(self, release: Release, tags: Mapping[str, str]) -> Document:
        """See ``Target``."""
        check_image(release.image, self._places.registry_server)
        own = {key: value for key, value in self._environment.model_dump().items() if key in _SHAPE}
        wanted = {
            "image": release.image,
            **own,
            "secrets": sorted(self._environment.secrets),
        }
        config = {names.TAG_CONFIG: canonical_digest(wanted)}
        return {
            **wanted,
            "tags": {**self._environment.tags, **release_tags(release), **config, **tags},
        }

    def secret_names(self, document: Document) -> tuple[str, ...]:
        """See ``Target``."""
        return tuple(document["secrets"])

    def tags(self, document: Document) -> dict[str, str]:
        """See ``Target``."""
        return dict(document["tags"])

    def with_tags(self, document: Document, tags: Mapping[str, str]) -> Document:
        """See ``Target``."""
        return {**document, "tags": dict(tags)}

    def findings(self, release: Release) -> list[Finding]:
        """See ``Target``."""
        return []

    def read(self) -> Live | None:
        """See ``Target``."""
        endpoint = self._get()
        if endpoint is None:
            return None
        tags = {key: value for key, value in endpoint["tags"].items() if key != APPLIED}
        made = self._get(endpoint["tags"][APPLIED])
        state = str(made["state"]) if made else "no deployment yet"
        return Live(
            document={**(made["document"] if made else {"secrets": []}), "tags": tags},
            tags=tags,
            address=endpoint["url"],
            state=state,
            settled=state != "Creating",
            running=state == "Running",
            failure="it crashes" if state == "Failed" else None,
        )

    def differences(self, live: Document, wanted: Document) -> tuple[str, ...]:
        """See ``Target``."""
        return tuple(differing_paths(_comparable(live), _comparable(wanted)))

    def blockers(self, live: Document, wanted: Document) -> tuple[str, ...]:
        """See ``Target``."""
        return ()

    def apply(self, document: Document, secrets: Mapping[str, str], check: Check) -> None:
        """See ``Target``."""
        endpoint = self._get()
        colour = _other(_serving(endpoint))
        tags = {**document["tags"], APPLIED: colour}
        if endpoint is None:
            self._write("put", "", {"traffic": {}, "tags": tags}, check)
        elif endpoint["tags"] != tags:
            self._write("patch", "", {"tags": tags}, check)
        self._make(colour, document, secrets, check)

    def candidate_addresses(self) -> tuple[str, ...]:
        """See ``Target``."""
        endpoint = self._get()
        return (endpoint["url"],) if endpoint else ()

    def candidate_headers(self) -> Mapping[str, str]:
        """See ``Target``."""
        return {HEADER: self._required()["tags"][APPLIED]}

    def candidate_authority(self) -> None:
        """A public one."""

    def client_headers(self) -> Mapping[str, str]:
        """See ``Target``."""
        return {}

    def keep(self, tags: Mapping[str, str]) -> None:
        """See ``Target``."""
        self._lead(self._required(), tags)

    def restore(self, previous: Document, secrets: Mapping[str, str], check: Check) -> None:
        """See ``Target``."""
        endpoint = self._required()
        serving = _serving(endpoint)
        made = self._get(serving) if serving else None
        if made is None or _shaped(made["document"]) != _shaped(previous):
            serving = _other(serving)
            self._make(serving, previous, secrets, check)
        body = {"tags": {**previous["tags"], APPLIED: serving}}
        self._write("patch", "", {**body, "traffic": {serving: 100}}, check)

    def mark(self, tags: Mapping[str, str]) -> None:
        """See ``Target``."""
        applied = self._required()["tags"][APPLIED]
        self._write("patch", "", {"tags": {**tags, APPLIED: applied}})

    def start(self) -> None:
        """See ``Target``: it cannot be stopped."""

    def stop(self) -> None:
        """See ``Target``: it cannot be stopped."""

    def retire(self) -> tuple[str, ...]:
        """See ``Target``."""
        endpoint = self._required()
        other = _other(_serving(endpoint))
        if marks.state(endpoint["tags"]) != marks.KEPT or self._get(other) is None:
            return ()
        self._az.change("rest", "--method", "delete", "--url", self._at(other))
        return (other,)

    def left_running(self) -> str | None:
        """See ``Target``."""
        return None

    def delete(self) -> None:
        """See ``Target``."""
        self._az.change("rest", "--method", "delete", "--url", self._at(""))

    def logs(self, *, follow: bool) -> Iterator[str]:
        """See ``Target``."""
        yield from ()

    def evidence(self) -> Group | None:
        """See ``Target``."""
        return None

    def billing(self) -> str:
        """See ``Target``."""
        return f"{self.what} bills by the hour"

    def _make(
        self, colour: str, document: Document, secrets: Mapping[str, str], check: Check
    ) -> None:
        made = self._get(colour)
        if made is not None and _same(made, document, secrets):
            return
        fingerprint = document["tags"].get(names.TAG_SECRETS)
        body = {"document": _shaped(document), "secrets": dict(secrets), "mark": fingerprint}
        self._write("put", colour, body, check)

    def _lead(self, endpoint: Json, tags: Mapping[str, str]) -> None:
        applied = endpoint["tags"][APPLIED]
        self._write("patch", "", {"traffic": {applied: 100}, "tags": {**tags, APPLIED: applied}})

    def _write(self, method: str, colour: str, body: Json, check: Check = lambda: None) -> None:
        """Send a change, and wait until Azure shows it."""
        request = ("rest", "--method", method, "--url", self._at(colour), "--body", "@-")
        self._az.change(*request, stdin=json.dumps(body), before_retry=check)
        waited = 0.0
        while not _shows(self._get(colour), body) and waited < _VISIBLE_SECONDS:
            self.sleep(_PAUSE_SECONDS)
            waited += _PAUSE_SECONDS

    def _get(self, colour: str = "") -> Json | None:
        found: Json | None = self._az.find("rest", "--method", "get", "--url", self._at(colour))
        return found

    def _at(self, colour: str) -> str:
        return f"{self._url}/slots/{colour}?v=1" if colour else f"{self._url}?v=1"

    def _required(self) -> Json:
        endpoint = self._get()
        if endpoint is None:
            raise EngineError(f"there is no {self.what}", "deploy it: `make up ENV=...`")
        return endpoint


_SHAPE = ("cpu", "memory_gb", "instances", "variables")


def _shaped(document: Document) -> Document:
    return {key: value for key, value in document.items() if key != "tags"}


def _comparable(document: Document) -> Document:
    kept = {k: v for k, v in document["tags"].items() if k not in names.ROLLOUT_TAGS}
    return {**document, "tags": kept}


def _same(made: Json, document: Document, secrets: Mapping[str, str]) -> bool:
    alike = made["document"] == _shaped(document) and made["state"] == "Running"
    return alike and same_secrets(secrets, made["mark"])


def _shows(shown: Json | None, body: Json) -> bool:
    return shown is not None and all(
        shown.get(key) == value for key, value in body.items() if key != "secrets"
    )


def _serving(endpoint: Json | None) -> str | None:
    return next(iter(endpoint["traffic"]), None) if endpoint else None


def _other(colour: str | None) -> str:
    return "green" if colour == "blue" else "blue"

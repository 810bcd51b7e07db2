"""A managed online endpoint: a release is a deployment, and a rollout moves the traffic.

The new deployment starts beside the one that serves, with no traffic; a header leads the
verification to it through the endpoint's own address. To keep it is one request that turns all
traffic and the tags together. The deployment before it bills until it is retired.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping

from engine.deploy.az import Az
from engine.deploy.config import names
from engine.deploy.diagnosis.evidence import Group
from engine.deploy.finding import Finding
from engine.deploy.rollout import marks
from engine.deploy.targets.azureml import document as documents
from engine.deploy.targets.azureml import shape
from engine.deploy.targets.azureml.client import (
    IDLE_SECONDS,
    STORAGE,
    EndpointClient,
    Json,
    state_of,
    traffic_of,
)
from engine.deploy.targets.azureml.environment import EndpointEnvironment
from engine.deploy.targets.azureml.evidence import read_endpoint
from engine.deploy.targets.azureml.live import address_of, applied_deployment, live_of
from engine.deploy.targets.azureml.preflight import findings
from engine.deploy.targets.azureml.shape import APPLIED_TAG, STOPPED_TAG
from engine.deploy.targets.base import Check, Document, Live, Places, Release
from engine.deploy.targets.compare import secrets_fingerprint
from engine.errors import EngineError

DEPLOYMENT_HEADER = "azureml-model-deployment"
FOLLOW_SECONDS = 5.0
_LETTERS = ("", *"bcdefghijklmnopqrstuvwxyz")
_ID_LENGTH = 20


class OnlineEndpoint:
    """The endpoint of one environment; see ``engine.deploy.targets.base.Target``."""

    serves_on = True
    busy_seconds = IDLE_SECONDS

    with_tags = staticmethod(documents.with_tags)
    differences = staticmethod(shape.differences)
    blockers = staticmethod(shape.blockers)

    def __init__(
        self,
        az: Az,
        environment: EndpointEnvironment,
        places: Places,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.what = f"online endpoint {environment.name}"
        self._environment = environment
        self._places = places
        self._sleep = sleep
        workspace = (
            f"/subscriptions/{places.subscription}/resourceGroups/{environment.resource_group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{environment.workspace_name}"
        )
        self._client = EndpointClient(az, workspace, environment.name, sleep=sleep, clock=clock)

    def document(self, release: Release, tags: Mapping[str, str]) -> Document:
        """See ``Target``; the document carries the digest of what was configured."""
        document = documents.render(self._environment, release, self._places, tags)
        digest = {names.TAG_CONFIG: shape.config_digest(document)}
        return self.with_tags(document, {**document["tags"], **digest})

    def secret_names(self, document: Document) -> tuple[str, ...]:
        """See ``Target``."""
        return tuple(document["secrets"])

    def tags(self, document: Document) -> dict[str, str]:
        """See ``Target``."""
        return dict(document["tags"])

    def findings(self, release: Release) -> list[Finding]:
        """See ``Target``."""
        return findings(self._client, self._environment)

    def read(self) -> Live | None:
        """See ``Target``."""
        shown = self._shown()
        return None if shown is None else live_of(*shown)

    def apply(self, document: Document, secrets: Mapping[str, str], check: Check) -> None:
        """See ``Target``; a deployment that is just like the document is taken."""
        endpoint = self._client.endpoint()
        serving = traffic_of(endpoint)
        there = self._client.deployments() if endpoint else []
        alike = [each for each in self._like(document, there) if shape.has_secrets(each, secrets)]
        name = alike[0]["name"] if alike else _free_name(document, there)
        # So a rollout needs quota for two deployments, and never for three.
        self._remove(there, {name, *serving} if alike else serving, check)
        self._lead(document, name, serving, check)
        if not alike:
            self._make(name, document, secrets, check)

    def candidate_addresses(self) -> tuple[str, ...]:
        """See ``Target``: all deployments have the endpoint's address."""
        endpoint = self._client.endpoint()
        found = address_of(endpoint) if endpoint else None
        return (found,) if found else ()

    def candidate_headers(self) -> Mapping[str, str]:
        """See ``Target``: the header that names a deployment, and the endpoint's key."""
        name = applied_deployment(self._required())
        return {**self.client_headers(), **({DEPLOYMENT_HEADER: name} if name else {})}

    def candidate_authority(self) -> None:
        """See ``Target``."""

    def client_headers(self) -> Mapping[str, str]:
        """See ``Target``: the endpoint's key."""
        return {"Authorization": f"Bearer {self._client.key()}"}

    def keep(self, tags: Mapping[str, str]) -> None:
        """See ``Target``: all traffic to the deployment that was applied last, and the tags."""
        endpoint = self._required()
        name = str(applied_deployment(endpoint))
        kept = {**shape.document_of(endpoint, None, None), "tags": dict(tags)}
        self._lead(kept, name, {name: 100}, lambda: None)

    def restore(self, previous: Document, secrets: Mapping[str, str], check: Check) -> None:
        """See ``Target``: the previous deployment was not touched and takes the traffic again."""
        endpoint = self._client.endpoint()
        if endpoint is not None and self._remade(endpoint, previous):
            self._client.delete()
            endpoint = None
        if previous["deployment"] is None:
            self._empty(previous, check)
            return
        there, serving = self._client.deployments() if endpoint else [], traffic_of(endpoint)
        alike = self._like(previous, sorted(there, key=lambda each: each["name"] not in serving))
        name = alike[0]["name"] if alike else _free_name(previous, there)
        if not alike:
            self._remove(there, serving, check)
            self._lead(previous, name, serving, check)
            self._make(name, previous, secrets, check)
        self._client.require_made(name, check)
        self._lead(previous, name, {name: 100}, check)
        self._remove(there, (name,), check)

    def mark(self, tags: Mapping[str, str]) -> None:
        """See ``Target``."""
        there: Mapping[str, str] = self._required().get("tags") or {}
        own = {name: there[name] for name in (APPLIED_TAG, STOPPED_TAG) if there.get(name)}
        self._client.tag({**tags, **own})

    def start(self) -> None:
        """See ``Target``: nothing is left that could start; a deploy makes it again."""

    def stop(self) -> None:
        """See ``Target``: only a deployment bills, so all are deleted; the address stays."""
        self._empty(shape.document_of(self._required(), None, None), lambda: None)

    def retire(self) -> tuple[str, ...]:
        """See ``Target``: every deployment but the one that serves, after the longest request."""
        endpoint = self._required()
        serving = traffic_of(endpoint)
        others = [each for each in self._client.deployments() if each["name"] not in serving]
        if marks.state(endpoint.get("tags") or {}) != marks.KEPT or not serving or not others:
            return ()
        self._sleep(self._environment.request_seconds)
        self._remove(others, (), lambda: None)
        return tuple(f"deployment {each['name']}" for each in others)

    def left_running(self) -> str | None:
        """See ``Target``: an endpoint has one form."""
        return None

    def delete(self) -> None:
        """See ``Target``; the versions of the environment stay, which bill nothing."""
        self._client.delete()

    def logs(self, *, follow: bool) -> Iterator[str]:
        """See ``Target``: of the deployment applied last.

        Raises:
            EngineError: there is none.
        """
        name = applied_deployment(self._required())
        if name is None:
            raise EngineError(
                f"{self.what} has no deployment, and so no log",
                "deploy it: `.venv/bin/python -m engine.deploy up ENV`",
            )
        seen = self._client.log(name) or self._client.log(name, STORAGE)
        yield from seen
        while follow:
            self._sleep(FOLLOW_SECONDS)
            now = self._client.log(name)
            yield from _new_lines(seen, now)
            seen = now

    def evidence(self) -> Group | None:
        """See ``Target``."""
        shown = self._shown()
        return None if shown is None else read_endpoint(*shown)

    def billing(self) -> str:
        """See ``Target``."""
        return (
            f"{self.what} bills {self._environment.instances} instance(s) day and night, twice as "
            "many while a rollout verifies; stopped, the endpoint bills nothing, and its workspace "
            "some cents for storage"
        )

    def _shown(self) -> tuple[Json, Json | None, Json | None] | None:
        """The endpoint, the deployment applied last, its environment; None: no endpoint."""
        endpoint = self._client.endpoint()
        if endpoint is None:
            return None
        name = applied_deployment(endpoint)
        deployment = self._client.deployment(name) if name else None
        return endpoint, deployment, self._client.environment(deployment)

    def _like(self, document: Document, deployments: list[Json]) -> list[Json]:
        """Those that are made from the document, its secrets' values aside, and did not fail."""
        return [
            each
            for each in deployments
            if state_of(each) not in ("Failed", "Canceled", "Deleting")
            and shape.same_release(shape.parts_of(each, self._client.environment(each)), document)
        ]

    def _lead(
        self, document: Document, name: str, traffic: Mapping[str, int], check: Check
    ) -> None:
        """Ask for the endpoint of a document, with the deployment applied last and the traffic."""
        tags = {**document["tags"], APPLIED_TAG: name}
        self._client.put(_endpoint(document, tags, traffic), check)

    def _make(
        self, name: str, document: Document, secrets: Mapping[str, str], check: Check
    ) -> None:
        missing = [each for each in document["secrets"] if not secrets.get(each)]
        if missing:
            raise EngineError(
                f"no value for the secret(s) {', '.join(missing)}",
                "set them as environment variables of this command; in GitHub, as secrets of the "
                "environment that the workflow passes on",
            )
        version = self._client.require_environment(document["environment"], check)
        values = {each: secrets[each] for each in document["secrets"]}
        properties = document["deployment"]["properties"]
        body = {
            "location": document["location"],
            "sku": document["deployment"]["sku"],
            "properties": {
                **properties,
                "environmentId": version,
                "environmentVariables": {**properties["environmentVariables"], **values},
                "properties": {
                    shape.SECRETS_PROPERTY: ",".join(sorted(values)),
                    shape.FINGERPRINT_PROPERTY: secrets_fingerprint(values),
                },
            },
        }
        self._client.put_deployment(name, body, check)

    def _empty(self, document: Document, check: Check) -> None:
        """No traffic, then no deployment: Azure deletes none that has traffic."""
        tags = {**document["tags"], STOPPED_TAG: "yes"}
        self._client.put(_endpoint(document, tags, {}), check)
        self._remove(self._client.deployments(), (), check)

    def _remove(self, there: list[Json], but: Collection[str], check: Check) -> None:
        for each in there:
            if each["name"] not in but:
                self._client.remove(each["name"], check)

    def _remade(self, endpoint: Json, previous: Document) -> bool:
        """The endpoint is another one, made where the previous could not be changed into it."""
        return bool(shape.blockers(shape.document_of(endpoint, None, None), previous))

    def _required(self) -> Json:
        endpoint = self._client.endpoint()
        if endpoint is None:
            raise EngineError(
                f"there is no {self.what}", "make it: `.venv/bin/python -m engine.deploy up ENV`"
            )
        return endpoint


def _endpoint(document: Document, tags: Mapping[str, str], traffic: Mapping[str, int]) -> Json:
    """The body of the PUT that makes or changes an endpoint."""
    return {
        "location": document["location"],
        "identity": document["identity"],
        "tags": dict(tags),
        "properties": {**document["properties"], "traffic": dict(traffic)},
    }


def _free_name(document: Document, there: list[Json]) -> str:
    """A name that follows from the rollout's id; a letter follows where it is taken."""
    plain = re.sub(r"[^a-z0-9]", "", document["tags"][names.TAG_ROLLOUT].lower())
    taken = {each["name"] for each in there}
    free = (f"r{plain[-_ID_LENGTH:]}{letter}" for letter in _LETTERS)
    return next(name for name in free if name not in taken)


def _new_lines(seen: list[str], now: list[str]) -> list[str]:
    """What was added to a log of which only the newest lines are shown."""
    for start in range(len(seen)):
        if seen[start:] == now[: len(seen) - start]:
            return now[len(seen) - start :]
    return now

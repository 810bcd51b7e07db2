"""The revisions of one app: start one beside the others, find an equal one, end those of no use."""

from __future__ import annotations

from collections.abc import Mapping

from engine.deploy.targets.base import Check, Document
from engine.deploy.targets.containerapps import document as documents
from engine.deploy.targets.containerapps import request as requests
from engine.deploy.targets.containerapps import shape
from engine.deploy.targets.containerapps.client import AppClient, Json


class Revisions:
    """An app as it was read, with its revisions; made anew for each step.

    Attributes:
        serving: the shares of traffic, each pinned to the name of an active revision.
    """

    def __init__(self, client: AppClient, app: Json) -> None:
        self._client = client
        self._app = app
        self._all = client.revisions()
        self.serving = requests.serving(app, [each["name"] for each in self.active()])

    def active(self) -> list[Json]:
        """Those that run."""
        return [each for each in self._all if each["properties"].get("active")]

    def everything(self) -> list[Json]:
        """All that Azure still knows: those with traffic first, then the newest."""
        newest = sorted(self._all, key=_created, reverse=True)
        return sorted(newest, key=lambda each: not each["properties"].get("trafficWeight"))

    def equal(self, candidates: list[Json], document: Document) -> Json | None:
        """The first of the candidates that is just like the document, its secrets aside."""
        for each in candidates:
            found = shape.document_of(self._app, each["name"], each["properties"]["template"])
            if shape.same_template(found, document):
                return each
        return None

    def has_secrets(self, revision: Json, document: Document, values: Mapping[str, str]) -> bool:
        """Whether a revision runs with these values of the document's secrets."""
        wanted = documents.secret_variables(document)
        if not wanted:
            return True
        suffix = shape.suffix_of(revision["name"])
        there = {each["name"]: each["value"] for each in self._client.secrets()}
        return all(
            there.get(f"{secret}-{suffix}") == values.get(name) for name, secret in wanted.items()
        )

    def start(
        self, document: Document, values: Mapping[str, str], check: Check, *, serves: bool
    ) -> str:
        """Start a revision, with all of the traffic or without any; its name.

        Of the others only those with traffic go on: so a rollout needs room, and quota for GPUs,
        for two revisions and never for three.
        """
        app_name = str(self._app["name"])
        name = requests.revision_for(
            app_name, document["tags"], {each["name"] for each in self._all}
        )
        going_on = {share["revisionName"] for share in self.serving}
        self.end([each for each in self._all if each["name"] not in going_on], check)
        traffic = requests.everything(name) if serves else self.serving
        kept = self._secrets_of(going_on)
        body = requests.new_revision(document, name, values, kept=kept, traffic=traffic)
        self.patch(body, check)
        return name

    def point_to(self, revision: Json, document: Document, check: Check) -> None:
        """Make an equal, running revision the one that was applied last; traffic stays."""
        self.patch(requests.same_revisions(document, revision["name"], self.serving), check)

    def return_to(self, revision: Json, document: Document, check: Check) -> None:
        """All traffic to an equal revision, the app's configuration too, and the others end."""
        name = revision["name"]
        if not revision["properties"].get("active"):
            self._client.activate(name, check)
        traffic = requests.everything(name)
        if self.serving != traffic:
            properties = {"configuration": {"ingress": {"traffic": traffic}}}
            self._client.patch({"properties": properties}, check)
        # Before the tags say that all is well: nobody would come back to end what bills.
        self.end([each for each in self._all if each["name"] != name], check)
        self.patch(requests.same_revisions(document, name, traffic), check)

    def end(self, revisions: list[Json], check: Check) -> None:
        """End the replicas of those that run."""
        for each in revisions:
            if each["properties"].get("active"):
                self._client.deactivate(each["name"], check)

    def patch(self, body: Json, check: Check | None) -> None:
        """Change the app, its tags to exactly those of the body."""
        self._client.patch({**body, "tags": requests.all_tags(self._app, body["tags"])}, check)

    def _secrets_of(self, revisions: set[str]) -> list[dict[str, str]]:
        templates = [
            each["properties"]["template"] for each in self._all if each["name"] in revisions
        ]
        if not any(shape.secret_references(template) for template in templates):
            return []
        return requests.used_secrets(self._client.secrets(), templates)


def _created(revision: Json) -> str:
    return str(revision["properties"].get("createdTime"))

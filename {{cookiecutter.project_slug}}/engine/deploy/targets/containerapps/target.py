"""Azure Container Apps: a release is a revision, and a rollout moves the traffic.

The new revision starts beside the one that serves, with no traffic, and is verified at an address
of its own. To keep it is one request that turns all traffic and the tags together. The revision
before it goes on running without traffic, so that going back is such a request too; with
``replicas.min: 0`` that costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from engine.deploy.az import Az
from engine.deploy.config import names
from engine.deploy.diagnosis.evidence import Group
from engine.deploy.finding import Finding
from engine.deploy.targets.base import STORAGE_KEY, Check, Document, Live, Places, Release
from engine.deploy.targets.containerapps import document as documents
from engine.deploy.targets.containerapps import request as requests
from engine.deploy.targets.containerapps import shape
from engine.deploy.targets.containerapps.client import IDLE_SECONDS, AppClient, AppLogs, Json
from engine.deploy.targets.containerapps.environment import AppEnvironment
from engine.deploy.targets.containerapps.evidence import read_app
from engine.deploy.targets.containerapps.live import live_of
from engine.deploy.targets.containerapps.preflight import findings
from engine.deploy.targets.containerapps.request import applied_revision
from engine.deploy.targets.containerapps.revisions import Revisions
from engine.deploy.targets.containerapps.rules import profile_of
from engine.errors import EngineError


class ContainerApps:
    """The app of one environment; see ``engine.deploy.targets.base.Target``."""

    serves_on = True
    busy_seconds = IDLE_SECONDS

    with_tags = staticmethod(documents.with_tags)
    differences = staticmethod(shape.differences)
    blockers = staticmethod(shape.blockers)

    def __init__(
        self, az: Az, environment: AppEnvironment, places: Places, client: AppClient | None = None
    ) -> None:
        self.what = f"container app {environment.name}"
        self._environment = environment
        self._places = places
        self._name = environment.name
        self._client = client or AppClient(
            az, places.subscription, environment.resource_group, environment.name
        )
        # Azure may go on showing the app as it was before this run's last change.
        self._last: str | None = None
        self._logs = AppLogs(az, environment.resource_group, environment.name)

    def document(self, release: Release, tags: Mapping[str, str]) -> Document:
        """See ``Target``; the document carries the digest of what was configured."""
        document = documents.render(self._environment, release, self._places, tags)
        digest = {names.TAG_CONFIG: shape.config_digest(document)}
        return self.with_tags(document, {**document["tags"], **digest})

    def secret_names(self, document: Document) -> tuple[str, ...]:
        """See ``Target``."""
        storage = (STORAGE_KEY,) if documents.shares(document) else ()
        return (*sorted(documents.secret_variables(document)), *storage)

    def tags(self, document: Document) -> dict[str, str]:
        """See ``Target``."""
        return dict(document["tags"])

    def findings(self, release: Release) -> list[Finding]:
        """See ``Target``."""
        return findings(self._client, self._environment, self._places)

    def read(self) -> Live | None:
        """See ``Target``."""
        shown = self._shown()
        return None if shown is None else live_of(*shown)

    def apply(self, document: Document, secrets: Mapping[str, str], check: Check) -> None:
        """See ``Target``; a revision that still runs and is just like the document is taken."""
        self._mount(document, secrets)
        app = self._client.app()
        if app is None:
            name = requests.revision_for(self._name, document["tags"])
            self._client.put(requests.new_app(document, name, secrets), check)
            self._last = name
            return
        revisions = Revisions(self._client, app)
        equal = revisions.equal(revisions.active(), document)
        if equal and revisions.has_secrets(equal, document, secrets):
            revisions.point_to(equal, document, check)
            self._last = equal["name"]
        else:
            serves = not revisions.serving
            self._last = revisions.start(document, secrets, check, serves=serves)

    def candidate_addresses(self) -> tuple[str, ...]:
        """See ``Target``: every active revision has an address of its own."""
        revision = self._client.revision(self._applied())
        fqdn = revision["properties"].get("fqdn") if revision else None
        return (f"https://{fqdn}",) if fqdn else ()

    def candidate_headers(self) -> Mapping[str, str]:
        """See ``Target``: a revision has an address of its own."""
        return {}

    def keep(self, tags: Mapping[str, str]) -> None:
        """See ``Target``: all traffic to the revision that was applied last, and the tags."""
        app = self._required()
        name = self._last or applied_revision(app)
        properties = {"configuration": {"ingress": {"traffic": requests.everything(name)}}}
        body = {"tags": requests.all_tags(app, tags, name), "properties": properties}
        self._client.patch(body)
        # Shown, too: the next rollout pins the traffic that it sees, and ends other revisions.
        self._client.wait_until_idle(tags)

    def restore(self, previous: Document, secrets: Mapping[str, str], check: Check) -> None:
        """See ``Target``: the previous revision was not touched and takes the traffic again."""
        self._client.wait_until_idle()
        app = self._client.app()
        if app is not None and self._remade(app, previous):
            self._client.delete()
            app = None
        if app is None:
            self.apply(previous, secrets, check)
            return
        self._mount(previous, secrets)
        revisions = Revisions(self._client, app)
        equal = revisions.equal(revisions.everything(), previous)
        if equal:
            revisions.return_to(equal, previous, check)
            self._last = equal["name"]
        else:
            self._last = revisions.start(previous, secrets, check, serves=True)

    def mark(self, tags: Mapping[str, str]) -> None:
        """See ``Target``."""
        self._client.patch({"tags": requests.all_tags(self._required(), tags, self._last)})

    def start(self) -> None:
        """See ``Target``."""
        self._client.start()

    def stop(self) -> None:
        """See ``Target``: the app keeps its revisions, its address and its secrets."""
        self._client.stop()

    def retire(self) -> tuple[str, ...]:
        """See ``Target``: the revision before stays, without traffic; the next rollout ends it."""
        return ()

    def left_running(self) -> str | None:
        """See ``Target``: an app has one form."""
        return None

    def delete(self) -> None:
        """See ``Target``."""
        self._client.delete()

    def logs(self, *, follow: bool) -> Iterator[str]:
        """See ``Target``: of every replica of the revision applied last; followed, of the newest.

        Raises:
            EngineError: nothing runs.
        """
        revision = self._applied()
        replicas = self._client.replicas(revision)
        replicas.sort(key=lambda each: str(each["properties"].get("createdTime")))
        if not replicas:
            raise EngineError(
                f"no replica of {self.what} runs, and Azure gives the log of running ones only",
                "send a request, which starts one, or look for older lines in Log Analytics",
            )
        for replica in replicas[-1:] if follow else replicas:
            yield from self._logs.console(revision, replica["name"], follow=follow)

    def evidence(self) -> Group | None:
        """See ``Target``: the app with the revision applied last, its replicas, Azure's events."""
        shown = self._shown()
        return None if shown is None else read_app(*shown, self._logs.system())

    def billing(self) -> str:
        """See ``Target``."""
        profile, replicas = profile_of(self._environment), self._environment.replicas
        when = (
            "while requests are answered, and some minutes after"
            if replicas.min == 0
            else f"day and night for {replicas.min} replica(s), under load for up to "
            f"{replicas.max}, and for {replicas.min} of the revision before, which goes on running "
            "so that a rollback is instant"
        )
        return (
            f"{self.what} (profile {profile.type}, {self._environment.cpu:g} vCPU, "
            f"{self._environment.memory_gb:g} GB each) bills {when}"
        )

    def _mount(self, document: Document, secrets: Mapping[str, str]) -> None:
        """Give the Container Apps environment the key of the shares that a document mounts."""
        place = document["properties"]["environmentId"]
        group = self._environment.resource_group
        account = names.storage_account(self._places.subscription, group)
        key = secrets.get(STORAGE_KEY)
        for share in documents.shares(document):
            if key:
                self._client.mount(place, share, account, key)
            elif not self._client.mounted(place, share):
                raise EngineError(
                    f"the key of the storage account {account} cannot be read",
                    "`.venv/bin/python -m engine.deploy bootstrap` gives the deploy its role",
                )

    def _shown(self) -> tuple[Json, Json | None, list[Json]] | None:
        """The app, the revision that was applied last, and its replicas; None: there is no app."""
        app = self._client.app()
        if app is None:
            return None
        name = applied_revision(app)
        revision = self._client.revision(name) if name else None
        return app, revision, self._client.replicas(name) if revision else []

    def _remade(self, app: Json, previous: Document) -> bool:
        """The app is another one, made where the previous could not be changed into it."""
        name = applied_revision(app)
        live = shape.document_of(app, name, app["properties"]["template"])
        return bool(shape.blockers(live, previous))

    def _applied(self) -> str:
        return self._last or applied_revision(self._required())

    def _required(self) -> Json:
        app = self._client.app()
        if app is None:
            raise EngineError(
                f"there is no {self.what}", "make it: `.venv/bin/python -m engine.deploy up ENV`"
            )
        return app

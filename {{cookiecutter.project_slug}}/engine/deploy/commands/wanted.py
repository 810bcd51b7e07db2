"""What a deploy of this checkout would be: release, document, and what prevents it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from engine.deploy.bootstrap.costs import running
from engine.deploy.commands.context import Context, given_secrets
from engine.deploy.commands.elsewhere import unfinished_elsewhere
from engine.deploy.config import names
from engine.deploy.config.advice import warnings
from engine.deploy.finding import Finding
from engine.deploy.preflight import (
    at_once,
    image_findings,
    refused_secrets,
    require,
    secret_findings,
)
from engine.deploy.push import Wish, checked_release, published, published_edge
from engine.deploy.rollout.site import Site
from engine.deploy.say import HIDDEN
from engine.deploy.targets.base import LOGS_KEY, STORAGE_KEY, Document, Live, Places, Release
from engine.deploy.targets.kind import kind_of
from engine.errors import EngineError
from engine.serving.errors import PackageError

_NOT_ASKED = "registry-not-asked"
"""Takes the place of the registry's address, as far as a document can be made with it."""

_NOT_PUSHED = "sha256:" + "0" * 64
"""Takes the place, in a plan, of the digest of an image that is not built yet."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A release for an environment that has been looked at. ``release.image`` is empty while the
    image is not in the registry. ``looked`` is false where Azure was not asked.
    """

    context: Context
    release: Release
    live: Live | None
    looked: bool = True

    def with_image(self, image: str) -> Wanted:
        """The same with the image that was pushed."""
        return replace(self, release=replace(self.release, image=image))

    @property
    def lacks_edge(self) -> bool:
        """Whether the image that ends HTTPS has to be pushed."""
        needed = kind_of(self.context.environment).needs_edge(self.context.environment)
        return needed and self.context.places.edge is None

    def with_edge(self, image: str) -> Wanted:
        """The same with the image that ends HTTPS."""
        return replace(self, context=_with_edge(self.context, image))

    def document(self) -> Document:
        """What is asked of Azure, the tags of the rollout aside."""
        return self.context.target.document(self.release, {})

    def site(self) -> Site:
        """Everything for the rollout."""
        return self.context.site(_secret_names(self.context, self.live, self.document()))

    def plan(self) -> str:
        """What `up` would do, with the document; secrets are hidden."""
        if self.lacks_edge:
            repository = f"{self.context.places.registry_server}/{self.context.project.name}-edge"
            return self.with_edge(f"{repository}@{_NOT_PUSHED}").plan()
        target, release = self.context.target, self.release
        pushed, serves = "not in the registry: it is pushed first", "nothing"
        if not self.looked:
            pushed = serves = "not asked"
        if not release.image:
            repository = f"{self.context.places.registry_server}/{self.context.project.name}"
            release = replace(release, image=f"{repository}@{_NOT_PUSHED}")
        document = target.document(release, {})
        lines = [
            f"environment: {self.context.environment.stage}, {target.what}",
            f"revision:    {release.revision}",
            f"image:       {self.release.image or pushed}",
            f"serves now:  {self.live.state if self.live else serves}",
            f"costs:       {running(self.context.environment)}",
            *self._names(),
            *self._steps(document),
            "document:",
            json.dumps(_shown(document), indent=2),
        ]
        return "\n".join(lines).replace(_NOT_ASKED, "<registry>")

    def _names(self) -> list[str]:
        own = self.context.own_names
        if own is None:
            return []
        if not self.looked:
            return [f"own names:   {', '.join(own.domains)}"] if own.domains else []
        address = self.live.address if self.live else None
        host = (address and urlsplit(address).hostname) or "<address>"
        lines = [f"  {line}" for line in own.plan(host)]
        return ["own names:", *lines] if lines else []

    def _steps(self, document: Document) -> list[str]:
        target, live = self.context.target, self.live
        if live is None:
            return [f"would:       create it{'' if self.looked else ', or change what is there'}"]
        changes = target.differences(live.document, document)
        blockers = target.blockers(live.document, document)
        if blockers:
            head = f"would:       delete and create it, for {', '.join(blockers)} cannot change"
        elif changes:
            head = "would:       change it in place"
        else:
            head = "would:       change nothing, unless a secret has changed"
        return [head, *(f"  changes    {path}" for path in changes)]


def look(
    context: Context,
    image: str | None,
    *,
    allow_dirty: bool = False,
    edge: str | None = None,
    release: Release | None = None,
) -> Wanted:
    """Find everything that prevents a deploy, before anything is changed; ``release`` is the one to
    deploy, with the digest of its image, by default this checkout's.

    Raises:
        EngineError: this checkout is no release, or there are findings; it lists them all.
    """
    wanted = release or _checkout(context, allow_dirty=allow_dirty)
    context, inputs = context.inspect()
    findings = [*inputs.findings, *unfinished_elsewhere(context)]
    live = None
    if inputs.places is not None:
        if release is not None:
            repository = names.image_repository(context.project)
            image = f"{inputs.places.registry_server}/{repository}@{release.image}"
        more, live, (reference, about_image), edge = at_once(
            lambda: context.target.findings(wanted),
            lambda: context.target.read(),
            lambda: _image(context, image, wanted.revision),
            lambda: edge or _edge(context, wanted.revision),
        )
        context = _with_edge(context, edge)
        if image is not None:
            findings += _no_edge(context, edge)
        findings += [*more, *about_image]
        wanted = replace(wanted, image=reference)
    secrets = _secret_names(context, live, None)
    known = context.secrets(secrets)
    findings += context.secret_findings(_own_secrets(context), secrets, known)
    findings += refused_secrets(context.environment, known)
    require(findings, context.say.warning)
    return Wanted(context, wanted, live)


def local(context: Context, image: str | None) -> Wanted:
    """What this checkout asks for, as far as its files say it; Azure is not asked.

    Raises:
        EngineError: this checkout is no release, or a secret that it names has an unusable value.
    """
    release = replace(_checkout(context, allow_dirty=True), image=image or "")
    own = context.environment.secrets
    known = given_secrets(context.say, own)
    require(refused_secrets(context.environment, known), context.say.warning)
    for missing in secret_findings(own, (), known):
        context.say.warning(f"{missing.cause}, which `up` needs; {missing.fix}")
    subscription = context.places.subscription
    places = Places(
        subscription=subscription,
        registry_server=image.partition("/")[0] if image else _NOT_ASKED,
        pull_identity=f"<identity {names.runtime_identity(context.project)}>",
        workspace="<workspace>",
    )
    places = kind_of(context.environment).places(context.project, context.environment, places)
    return Wanted(replace(context, places=places), release, None, looked=False)


def _checkout(context: Context, *, allow_dirty: bool) -> Release:
    """The release of this checkout, without an image; warns of what the configuration says."""
    for warning in warnings(context.project, context.environment):
        context.say.warning(warning)
    try:
        checkout = checked_release(Wish(allow_dirty=allow_dirty))
    except PackageError as error:
        raise EngineError(str(error), "restore the models of this checkout") from None
    return Release("", checkout.revision, checkout.model_digest)


def _image(context: Context, image: str | None, revision: str) -> tuple[str, list[Finding]]:
    """The image's name by digest, "" if it has to be pushed first, and what is wrong with it."""
    if image is not None:
        return image, image_findings(context.az, context.project, image)
    found = published(context.az, context.project, revision)
    return (found.reference if found else ""), []


def _edge(context: Context, revision: str) -> str | None:
    """The image that ends HTTPS, by its digest; None: not needed, or not in the registry."""
    if not kind_of(context.environment).needs_edge(context.environment):
        return None
    found = published_edge(context.az, context.project, revision)
    return found.reference if found else None


def _with_edge(context: Context, image: str | None) -> Context:
    return replace(context, places=replace(context.places, edge=image))


def _no_edge(context: Context, edge: str | None) -> list[Finding]:
    if edge is not None or not kind_of(context.environment).needs_edge(context.environment):
        return []
    return [
        Finding(
            "missing",
            f"{context.environment.stage} has https, and the registry has no image for it of this "
            "commit",
            "`.venv/bin/python -m engine.deploy push` builds and pushes it with the service's",
        )
    ]


def _secret_names(context: Context, live: Live | None, document: Document | None) -> set[str]:
    """All secrets that the release and the one before it may need."""
    found = set(_own_secrets(context))
    for each in (live.document if live else None, document):
        if each is not None:
            found |= set(context.target.secret_names(each))
    return found


def _own_secrets(context: Context) -> set[str]:
    """The secrets that the configuration asks for, in names of a document."""
    environment = context.environment
    kind = kind_of(environment)
    logs = {LOGS_KEY} if kind.sends_log(environment) else set()
    storage = {STORAGE_KEY} if kind.mounts(environment) else set()
    return {*environment.secret_settings, *logs, *storage}


def _shown(document: Any) -> Any:
    """The document for people: ``***`` in place of each secret's value."""
    if isinstance(document, dict):
        return {key: _shown(value) for key, value in document.items()}
    if isinstance(document, list):
        return [_shown(item) for item in document]
    return HIDDEN if document is None else document

"""Push the image of a commit to the registry, once, and name it by its digest.

The tag is the whole git revision, so that a commit's image can be found again; what is deployed is
always the digest. The login is a token of some hours from `az acr login`: no password is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.deploy import hooks, image
from engine.deploy.az import Az
from engine.deploy.az_error import AzError
from engine.deploy.config import names
from engine.deploy.config.project import Project
from engine.deploy.docker import (
    PLATFORM,
    BuildOptions,
    DockerError,
    build_command,
    check,
    check_edge,
    client,
    docker_run,
    edge_build_command,
    pushed_digest,
)
from engine.deploy.outcome import write_output
from engine.deploy.say import Say
from engine.deploy.targets.base import Release as Candidate
from engine.errors import EngineError
from engine.serving.release import Release


@dataclass(frozen=True, slots=True)
class Pushed:
    """An image in the registry. ``repository`` is ``<registry's address>/<name>``."""

    registry: str
    repository: str
    digest: str

    @property
    def reference(self) -> str:
        """The image by its digest: what is deployed."""
        return f"{self.repository}@{self.digest}"


@dataclass(frozen=True, slots=True)
class Wish:
    """How to push. ``built`` is an image that is here already, ``expected_id`` what it must be;
    ``built_edge`` likewise the image that ends HTTPS.
    """

    allow_dirty: bool = False
    built: str | None = None
    expected_id: str | None = None
    built_edge: str | None = None


def published(az: Az, project: Project, revision: str) -> Pushed | None:
    """The image of a commit, if it is in the registry.

    Raises:
        EngineError: the registry cannot be asked.
    """
    return _tagged(az, project, names.image_repository(project), revision, _server(az, project))


def published_edge(az: Az, project: Project, revision: str) -> Pushed | None:
    """The image that ends HTTPS, of a commit, if it is in the registry.

    Raises:
        EngineError: the registry cannot be asked.
    """
    return _tagged(az, project, names.edge_repository(project), revision, _server(az, project))


def push_edge(az: Az, say: Say, project: Project, wish: Wish) -> Pushed | None:
    """Build the image that ends HTTPS, or take the one that was built, and push it; see ``push``.

    Raises:
        EngineError: building, logging in or pushing failed.
    """
    revision, server = checked_release(wish).revision, _server(az, project)
    repository = names.edge_repository(project)
    if wish.built_edge is None and not revision.endswith("-dirty"):
        there = _tagged(az, project, repository, revision, server)
        if there is not None:
            return there
    tag = f"{server}/{repository}:{revision}"
    try:
        if wish.built_edge is not None:
            check_edge(wish.built_edge, revision)
            docker_run(say, [client(), "tag", wish.built_edge, tag], dry_run=az.dry_run)
        elif az.dry_run:
            say.planned(edge_build_command(client(), revision, tag), stdin=False)
        else:
            say.step(f"building {tag}")
            image.build_edge(tag, revision)
        return _sent(az, say, project, tag, server)
    except DockerError as error:
        raise EngineError(str(error), "correct that, and run the same command again") from error


def push(az: Az, say: Say, project: Project, wish: Wish) -> Pushed | None:
    """Build the image of this commit, or take the one that was built, and push it.

    What is in the registry already is not built again: one commit, one image. A dry run shows the
    commands and gives None.

    Raises:
        EngineError: files differ from the commit, or building, logging in or pushing failed.
    """
    release = checked_release(wish)
    server = _server(az, project)
    if wish.built is None and not release.revision.endswith("-dirty"):
        there = _tagged(az, project, names.image_repository(project), release.revision, server)
        if there is not None:
            say.step(f"in the registry already: {there.reference}")
            return there
    tag = f"{server}/{names.image_repository(project)}:{release.revision}"
    try:
        _prepare(say, project, release, wish, tag, dry_run=az.dry_run)
        if not az.dry_run:
            # Before the login, which leaves a token in Docker's configuration.
            known = hooks.facts(Candidate(tag, release.revision, release.model_digest))
            hooks.before(hooks.BEFORE_PUSH, image.ROOT, say, known)
        return _sent(az, say, project, tag, server)
    except DockerError as error:
        raise EngineError(str(error), "correct that, and run the same command again") from error


def _sent(az: Az, say: Say, project: Project, tag: str, server: str) -> Pushed | None:
    """An image that is here, pushed under its tag; None in a dry run."""
    log_in(az, say, project)
    docker_run(say, [client(), "push", tag], dry_run=az.dry_run)
    if az.dry_run:
        return None
    repository, _, revision = tag.rpartition(":")
    pushed = Pushed(project.registry, repository, pushed_digest(tag))
    _confirm(az, project, revision, pushed, server)
    say.step(f"pushed {pushed.reference}")
    return pushed


def checked_release(wish: Wish) -> Release:
    """The release of this checkout.

    Raises:
        EngineError: it is no commit, so that nobody could say later what ran.
    """
    release = image.current_release()
    if release.revision == "unknown":
        raise EngineError(
            "this folder is no git repository, so the image would have no revision",
            "git init, and commit what is here",
        )
    if release.revision.endswith("-dirty") and not wish.allow_dirty:
        raise EngineError(
            f"files differ from commit {release.revision[:12]}, or are not committed",
            "commit them (git status lists them), or push a trial with --allow-dirty",
        )
    return release


def _prepare(
    say: Say, project: Project, release: Release, wish: Wish, tag: str, *, dry_run: bool
) -> None:
    """Have the image of the release here under its tag."""
    if wish.built is not None:
        check(wish.built, release, wish.expected_id)
        docker_run(say, [client(), "tag", wish.built, tag], dry_run=dry_run)
        return
    options = BuildOptions(project.accelerator, tag, platform=PLATFORM)
    if dry_run:
        say.planned(build_command(client(), release, options), stdin=False)
        return
    say.step(f"building {tag}")
    image.build(options)


def log_in(az: Az, say: Say, project: Project) -> None:
    """Let Docker use the registry, with a token of some hours.

    Raises:
        EngineError: the registry refuses, or Docker does not run.
    """
    arguments = ["acr", "login", "--name", project.registry]
    if az.dry_run:
        say.planned(["az", *arguments], stdin=False)
        return
    try:
        az.text(*arguments)
    except AzError as error:
        raise EngineError(
            error.cause,
            "is Docker running (docker version)? Has your login the role AcrPush or Owner on the "
            "registry, or to read AcrPull? It may take minutes to work after it was given",
        ) from error


def _server(az: Az, project: Project) -> str:
    """The registry's address; not put together by hand, for its form may differ."""
    place = ("--name", project.registry, "--resource-group", project.shared_resource_group)
    shown = az.find("acr", "show", *place)
    if shown is None:
        raise EngineError(
            f"there is no registry {project.registry} in {project.shared_resource_group}",
            "make it: .venv/bin/python -m engine.deploy bootstrap",
        )
    return str(shown["loginServer"])


def _tagged(az: Az, project: Project, repository: str, tag: str, server: str) -> Pushed | None:
    try:
        shown = az.json(
            *("acr", "repository", "show", "--name", project.registry),
            *("--image", f"{repository}:{tag}"),
        )
    except AzError as error:
        if error.not_in_registry:
            return None
        raise
    return Pushed(project.registry, f"{server}/{repository}", shown["digest"])


def _confirm(az: Az, project: Project, revision: str, pushed: Pushed, server: str) -> None:
    repository = pushed.repository.partition("/")[2]
    there = _tagged(az, project, repository, revision, server)
    if there != pushed:
        raise EngineError(
            f"the registry has {there.digest if there else 'nothing'} under {revision}, and "
            f"{pushed.digest} was pushed",
            "somebody else pushed the same commit at the same time: run the same command again",
        )


def hand_over(pushed: Pushed) -> None:
    """Give the image to the later steps of a workflow."""
    write_output(
        image=pushed.reference,
        registry=pushed.registry,
        repository=pushed.repository,
        digest=pushed.digest,
    )

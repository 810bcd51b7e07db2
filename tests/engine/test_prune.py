"""Old images go with what belongs to them; nothing that a kept image needs ever does."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from engine.deploy.az import Az, AzError
from engine.deploy.az_error import Problem
from engine.deploy.commands import prune
from engine.deploy.commands.prune import needed
from engine.deploy.config import names
from engine.deploy.manifests import Manifest, removable
from engine.deploy.say import Say
from engine.errors import EngineError

from . import bootstrap_world
from .rollout_world import MemoryTarget, wanted

OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker"
IMAGE_CONFIG = {"mediaType": f"{OCI}.config.v1+json", "digest": "sha256:c", "size": 2}
EMPTY_CONFIG = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": "sha256:e", "size": 2}
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"


class Repository:
    """Manifests as they are pushed, the oldest first; the content decides about the digest."""

    def __init__(self) -> None:
        self.pushed: dict[str, tuple[dict[str, Any], list[str]]] = {}

    def push(self, content: dict[str, Any], *tags: str) -> str:
        digest = f"sha256:{hashlib.sha256(json.dumps(content).encode()).hexdigest()}"
        self.pushed[digest] = (content, list(tags))
        return digest

    def image(self, name: str, media_type: str = f"{OCI}.manifest.v1+json") -> str:
        content = {"mediaType": media_type, "config": IMAGE_CONFIG, "layers": [name]}
        if media_type.startswith(DOCKER):
            content["config"] = {"mediaType": f"{DOCKER}.container.image.v1+json", "digest": "c"}
        return self.push(content, name)

    def index(self, *parts: str, media_type: str = f"{OCI}.index.v1+json") -> str:
        return self.push({"mediaType": media_type, "manifests": [{"digest": p} for p in parts]})

    def about(self, subject: str, kind: str = BUNDLE, config: Any = EMPTY_CONFIG) -> str:
        media_type = f"{OCI}.manifest.v1+json"
        content = {"mediaType": media_type, "artifactType": kind, "config": config}
        return self.push({**content, "layers": [], "subject": {"digest": subject}})

    def tagged(self, subject: str, ending: str) -> str:
        """As cosign 2 does it: an image by its content, an attachment by its tag."""
        content = {"mediaType": f"{OCI}.manifest.v1+json", "config": IMAGE_CONFIG}
        return self.push(
            {**content, "layers": [ending, subject]}, subject.replace(":", "-") + ending
        )

    def manifests(self) -> list[Manifest]:
        """The newest first."""
        return [
            Manifest({"digest": digest, "tags": tags}, content)
            for digest, (content, tags) in reversed(self.pushed.items())
        ]

    def prune(self, *needed: str, keep: int = 0) -> list[str]:
        """The digests that go, in their order; checks that no step breaks what is left."""
        gone = [each.digest for each in removable(self.manifests(), needed, keep)]
        assert len(gone) == len(set(gone))
        before = {each.digest: {*each.parts, *each.subjects} for each in self.manifests()}
        for position, digest in enumerate(gone):
            left = before.keys() - set(gone[: position + 1])
            assert not any(digest in before[each] for each in left), "a reference to what is gone"
        return gone


@pytest.fixture
def repository() -> Repository:
    return Repository()


def test_the_newest_images_are_kept_whether_needed_or_not(repository: Repository) -> None:
    e, d, c, b, a = (repository.image(name) for name in "edcba")
    assert repository.prune(d, keep=2) == [c, e]
    assert repository.prune(a, b, c, d, e) == []
    assert repository.prune(keep=-1) == [a, b, c, d, e]


def test_signatures_are_not_counted_and_go_with_their_image(repository: Repository) -> None:
    images, about = [], {}
    for name in ("oldest", "older", "newer", "newest"):
        image = repository.image(name)
        images.append(image)
        about[image] = {repository.about(image, kind) for kind in (BUNDLE, "sbom", "provenance")}
    gone = repository.prune(keep=2)
    assert set(gone) == {images[0], images[1], *about[images[0]], *about[images[1]]}
    assert set(repository.prune(images[0], keep=2)) == {images[1], *about[images[1]]}


@pytest.mark.parametrize("ending", [".sig", ".att", ".sbom", ""])
def test_what_cosign_attaches_by_a_tag_belongs_to_its_image(
    repository: Repository, ending: str
) -> None:
    old, new = repository.image("old"), repository.image("new")
    of_old, of_new = repository.tagged(old, ending), repository.tagged(new, ending)
    assert repository.prune(keep=1) == [of_old, old]
    assert repository.prune(old, new) == []
    assert of_new not in repository.prune(new)


def test_a_referrer_index_by_tag_goes_before_what_it_lists(repository: Repository) -> None:
    image = repository.image("one")
    signature = repository.about(image)
    index = repository.index(signature)
    repository.pushed[index][1].append(image.replace(":", "-"))
    assert repository.prune() == [index, signature, image]
    assert repository.prune(image) == []


@pytest.mark.parametrize(
    "media_type", [f"{OCI}.index.v1+json", f"{DOCKER}.distribution.manifest.list.v2+json"]
)
def test_an_index_is_one_image_with_its_parts(repository: Repository, media_type: str) -> None:
    def platforms(name: str) -> tuple[str, list[str]]:
        parts = [repository.image(f"{name} {each}") for each in ("amd64", "arm64", "provenance")]
        return repository.index(*parts, media_type=media_type), parts

    (old, old_parts), (new, new_parts) = platforms("old"), platforms("new")
    signature, of_part = repository.about(old), repository.about(old_parts[0])
    assert set(repository.prune(keep=1)) == {old, *old_parts, signature, of_part}
    assert set(repository.prune(old)) == {new, *new_parts}
    # Azure runs one platform, and may name that one.
    assert set(repository.prune(old_parts[1])) == {new, *new_parts}


def test_a_part_of_two_indexes_stays_with_either(repository: Repository) -> None:
    shared, own = repository.image("shared"), repository.image("own")
    old, new = repository.index(shared, own), repository.index(shared)
    assert repository.prune(keep=1) == [old, own]
    assert repository.prune(new) == [old, own]


def test_a_signature_of_a_signature_goes_first(repository: Repository) -> None:
    image = repository.image("one")
    first = repository.about(image)
    second = repository.about(first)
    assert repository.prune() == [second, first, image]
    assert repository.prune(image) == []


def test_an_image_that_was_tagged_again_goes_after_what_is_about_it(
    repository: Repository,
) -> None:
    part = repository.image("part")
    index = repository.index(part)
    signature, of_part = repository.about(index), repository.about(part)
    for again in (index, part):  # a registry sorts by the last change
        repository.pushed[again] = repository.pushed.pop(again)
    gone = repository.prune()
    assert set(gone) == {part, index, signature, of_part}


def test_what_is_no_image_stays(repository: Repository) -> None:
    chart = {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": "sha256:h"}
    repository.push({"mediaType": f"{OCI}.manifest.v1+json", "config": chart, "layers": []})
    repository.push({"mediaType": f"{OCI}.index.v1+json", "artifactType": "x", "manifests": []})
    repository.push({"schemaVersion": 1, "name": "old", "fsLayers": []})
    repository.push({"mediaType": "application/vnd.new+json"})
    repository.about("sha256:somewhere-else")
    repository.about("sha256:elsewhere", config=IMAGE_CONFIG)
    repository.push({})
    assert repository.prune() == []
    image = repository.image("one", f"{DOCKER}.distribution.manifest.v2+json")
    assert repository.prune() == [image]


def test_a_tag_that_names_its_own_image_attaches_nothing(repository: Repository) -> None:
    image = repository.image("one")
    repository.pushed[image][1].append(image.replace(":", "-"))
    assert repository.prune() == [image]


class Registry:
    """What `az acr` shows of a repository; ``unreadable`` manifests are refused."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self.unreadable: dict[str, Any] = {}
        self.gone: set[str] = set()
        self.deleted: list[str] = []

    def json(self, *arguments: str) -> Any:
        if arguments[:3] == ("acr", "manifest", "list-metadata"):
            return [dict(each.listed) for each in self._repository.manifests()]
        digest = arguments[arguments.index("--name") + 1].partition("@")[2]
        if digest in self.unreadable:
            if isinstance(self.unreadable[digest], Exception):
                raise self.unreadable[digest]
            return self.unreadable[digest]
        return self._repository.pushed[digest][0]

    def change(self, *arguments: str) -> None:
        digest = arguments[arguments.index("--image") + 1].partition("@")[2]
        if digest in self.gone:
            raise AzError(Problem("Exit1", None, "manifest unknown"), "az acr repository delete")
        self.deleted.append(digest)


def pruned(registry: Registry, keep: int = 0) -> Sequence[str]:
    az = cast("Az", registry)
    for each in removable(prune._manifests(az, "registry", "iris") or [], (), keep):
        prune._remove(az, Say(), "registry", f"iris@{each.digest}", each)
    return registry.deleted


@pytest.mark.parametrize(
    "shown", [AzError(Problem("Exit1", None, "DENIED"), "az acr manifest show"), None, "text", []]
)
def test_nothing_goes_while_one_manifest_cannot_be_read(
    repository: Repository, shown: object
) -> None:
    image = repository.image("one")
    registry = Registry(repository)
    registry.unreadable[repository.about(image)] = shown
    with pytest.raises(EngineError):
        pruned(registry)
    assert registry.deleted == []


def test_what_the_registry_removed_by_itself_is_no_failure(repository: Repository) -> None:
    image = repository.image("one")
    signature = repository.about(image)
    registry = Registry(repository)
    registry.gone.add(signature)
    assert pruned(registry) == [image]


def test_an_image_without_its_tag_is_needed_by_what_runs_it() -> None:
    target = MemoryTarget.__new__(MemoryTarget)
    document = wanted("registry.azurecr.io/iris@sha256:0123")
    del document["tags"][names.TAG_IMAGE]
    live = type("Live", (), {"document": document, "tags": {}})()
    assert needed(target, live, []) == {"sha256:0123"}


def test_images_that_end_https_are_pruned_like_the_services_and_kept_where_they_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    repositories = {"iris-service": Repository(), "iris-service-edge": Repository()}
    service, edges = repositories.values()
    old, runs = service.image("old"), service.image("runs")
    old_edge, edge = edges.image("old edge"), edges.image("edge")
    signature, kept = edges.about(old_edge), edges.about(edge)
    target = MemoryTarget.__new__(MemoryTarget)
    document = wanted(f"registry.azurecr.io/iris-service@{runs}")
    beside = {"name": "edge", "properties": {"image": f"r.azurecr.io/iris-service-edge@{edge}"}}
    document["properties"] = {"containers": [beside]}
    live = type("Live", (), {"document": document, "tags": {}})()
    monkeypatch.setattr(prune, "_needed_by", lambda context: needed(target, live, []))
    monkeypatch.setattr(prune, "environment_names", lambda root: ())
    monkeypatch.setattr(prune, "open_contexts", lambda *given, **more: {"staging": None})
    monkeypatch.setattr(prune, "read_project", lambda root: bootstrap_world.inputs().project)
    registries = {name: Registry(each) for name, each in repositories.items()}

    class Both:
        def __init__(self, *given: object, **more: object) -> None:
            pass

        def json(self, *arguments: str) -> Any:
            name = arguments[arguments.index("--name") + 1].partition("@")[0]
            return registries[name].json(*arguments)

        def change(self, *arguments: str) -> None:
            name = arguments[arguments.index("--image") + 1].partition("@")[0]
            registries[name].change(*arguments)

    monkeypatch.setattr(prune, "Az", Both)
    assert prune.run(argparse.Namespace(keep=0, dry_run=False), Path(), Say()) == 0
    assert registries["iris-service"].deleted == [old]
    assert registries["iris-service-edge"].deleted == [signature, old_edge]
    assert kept not in capsys.readouterr().out

    # Nothing goes, of either, while one cannot be read.
    service.image("older")
    registries["iris-service-edge"].unreadable[edge] = None
    with pytest.raises(EngineError, match="nothing was removed"):
        prune.run(argparse.Namespace(keep=0, dry_run=False), Path(), Say())
    assert registries["iris-service"].deleted == [old]

"""`python -m engine.deploy prune`: remove old images with their signatures, never a needed one.

So it does with those of the service, and with those that end HTTPS.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from engine.deploy.az import Az, AzError
from engine.deploy.commands.context import Context, add_dry_run, open_contexts
from engine.deploy.commands.elsewhere import elsewhere
from engine.deploy.commands.rollback import predecessor
from engine.deploy.config import names
from engine.deploy.config.read import environment_names, read_project
from engine.deploy.journal import KEPT, Record
from engine.deploy.manifests import Manifest, removable
from engine.deploy.preflight import at_once
from engine.deploy.say import Say
from engine.deploy.targets.base import Live, Target, images
from engine.errors import EngineError

KEEP = 5
_RELEASES = 2
"""Of each environment: the two that were kept last, whichever of them serves."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument(
        "--keep", type=int, default=KEEP, help="newest images to keep, needed or not (%(default)s)"
    )
    add_dry_run(parser)


def run(options: argparse.Namespace, root: Path, say: Say) -> int:
    """Remove, and print the digests that were removed; 0. All is read before anything is removed.

    Raises:
        EngineError: an environment or the registry cannot be read, so nothing was removed.
    """
    project = read_project(root)
    contexts = open_contexts(environment_names(root), root, say, dry_run=options.dry_run)
    in_need = set[str]().union(*at_once(*(partial(_needed_by, each) for each in contexts.values())))
    az = Az(say, dry_run=options.dry_run)
    found = {
        repository: manifests
        for repository in (names.image_repository(project), names.edge_repository(project))
        if (manifests := _manifests(az, project.registry, repository)) is not None
    }
    if not found:
        say.step(f"nothing to remove: {project.registry} has no images of {project.name} yet")
        return 0
    for repository, manifests in found.items():
        for manifest in removable(manifests, in_need, options.keep):
            _remove(az, say, project.registry, f"{repository}@{manifest.digest}", manifest)
    say.step(
        f"kept: the {options.keep} newest images, and {len(in_need)} that environments need, each "
        "with its signatures and attestations"
    )
    return 0


def _remove(az: Az, say: Say, registry: str, image: str, manifest: Manifest) -> None:
    say.step(f"removing {image} ({_told(manifest)})")
    try:
        az.change("acr", "repository", "delete", "--name", registry, "--image", image, "--yes")
    except AzError as error:
        # A registry may remove by itself what is about an image.
        if not error.not_in_registry:
            raise
    print(manifest.digest)


def needed(target: Target, live: Live | None, records: Sequence[Record]) -> set[str]:
    """The digests of an environment's images, those that end HTTPS too: what serves, what was kept
    before it, what `rollback` goes back to, and what is under way. Records are given newest first.
    """
    before = predecessor(target, records, live)
    wanted = [] if before is None else [before.next]
    kept = 0
    for record in records:
        if record.open:
            wanted += [each for each in (record.previous, record.next) if each is not None]
        elif record.phase == KEPT and kept < _RELEASES:
            kept += 1
            wanted.append(record.next)
    if live is not None:
        wanted.append(live.document)
    digests = {target.tags(each).get(names.TAG_IMAGE) for each in wanted}
    # Somebody may have removed the tag.
    digests |= {image.partition("@")[2] for each in wanted for image in images(each, edge=True)}
    return {digest for digest in digests if digest}


def _manifests(az: Az, registry: str, repository: str) -> list[Manifest] | None:
    """All manifests, the newest first; None before the first push, which makes the repository."""
    place = ("acr", "manifest", "list-metadata", "--registry", registry, "--name", repository)
    try:
        listed = az.json(*place, "--orderby", "time_desc") or []
    except AzError as error:
        if error.not_in_registry:
            return None
        raise
    contents = at_once(*(partial(_content, az, registry, repository, each) for each in listed))
    return [Manifest(*each) for each in zip(listed, contents, strict=True)]


def _content(az: Az, registry: str, repository: str, listed: Mapping[str, Any]) -> Any:
    """What a manifest says itself: a list does not tell a signature from an image.

    Raises:
        EngineError: it cannot be read; without it nothing may be removed.
    """
    name = f"{repository}@{listed['digest']}"
    content = az.json("acr", "manifest", "show", "--registry", registry, "--name", name)
    if not isinstance(content, dict):
        raise EngineError(
            f"the manifest {name} cannot be read, so nothing was removed",
            f"az acr manifest show --registry {registry} --name {name} shows it",
        )
    return content


def _needed_by(context: Context) -> set[str]:
    here = needed(context.target, context.target.read(), context.journal.all_records())
    for each in elsewhere(context):
        there = each.context
        here |= needed(there.target, each.live, there.journal.all_records())
    return here


def _told(manifest: Manifest) -> str:
    listed = manifest.listed
    tags = ", ".join(str(tag)[:12] for tag in listed.get("tags") or []) or "no tag"
    megabytes = int(listed.get("imageSize") or 0) / 1_000_000
    return f"{tags}, {megabytes:.0f} MB, {str(listed.get('createdTime'))[:10]}"

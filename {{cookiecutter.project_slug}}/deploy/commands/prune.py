"""`python -m deploy prune`: remove old images, never one that an environment may still need."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from deploy.az import Az, AzError
from deploy.commands.context import Context, open_contexts
from deploy.commands.rollback import predecessor
from deploy.config import names
from deploy.config.read import environment_names, read_project
from deploy.journal import KEPT, Record
from deploy.preflight import at_once
from deploy.say import Say
from deploy.targets.base import Live, Target

KEEP = 5
_RELEASES = 2
"""Of each environment: the two that were kept last, whichever of them serves."""
_Manifest = Mapping[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument(
        "--keep", type=int, default=KEEP, help="newest images to keep, needed or not (%(default)s)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the commands, and change nothing"
    )


def run(options: argparse.Namespace, root: Path, say: Say) -> int:
    """Remove, and print the digests that were removed; 0.

    Raises:
        DeployError: an environment or the registry cannot be read, so nothing was removed.
    """
    project = read_project(root)
    contexts = open_contexts(environment_names(root), root, say, dry_run=options.dry_run)
    in_need = set[str]().union(*at_once(*(partial(_needed_by, each) for each in contexts.values())))
    az = Az(say, dry_run=options.dry_run)
    repository = names.image_repository(project)
    found = _manifests(az, project.registry, repository)
    if found is None:
        say.step(f"nothing to remove: {project.registry} has no images of {repository} yet")
        return 0
    for manifest in removable(found, in_need, options.keep):
        image = f"{repository}@{manifest['digest']}"
        say.step(f"removing {image} ({_told(manifest)})")
        place = ("--name", project.registry, "--image", image)
        az.change("acr", "repository", "delete", *place, "--yes")
        print(manifest["digest"])
    say.step(f"kept: the {options.keep} newest, and {len(in_need)} that environments need")
    return 0


def removable(manifests: Sequence[_Manifest], needed: Iterable[str], keep: int) -> list[_Manifest]:
    """Those, of the newest first, that are neither needed nor among the ``keep`` newest."""
    keeping = set(needed)
    return [each for each in manifests[max(keep, 0) :] if each["digest"] not in keeping]


def needed(target: Target, live: Live | None, records: Sequence[Record]) -> set[str]:
    """The digests of an environment's images: what serves, what was kept before it, what `rollback`
    goes back to, and what is under way. Records are given newest first.
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
    return {digest for digest in digests if digest}


def _manifests(az: Az, registry: str, repository: str) -> list[_Manifest] | None:
    """All images, the newest first; None before the first push, which makes the repository."""
    place = ("--registry", registry, "--name", repository)
    try:
        return az.json("acr", "manifest", "list-metadata", *place, "--orderby", "time_desc") or []
    except AzError as error:
        if error.not_in_registry:
            return None
        raise


def _needed_by(context: Context) -> set[str]:
    return needed(context.target, context.target.read(), context.journal.all_records())


def _told(manifest: _Manifest) -> str:
    tags = ", ".join(str(tag)[:12] for tag in manifest.get("tags") or []) or "no tag"
    megabytes = int(manifest.get("imageSize") or 0) / 1_000_000
    return f"{tags}, {megabytes:.0f} MB, {str(manifest.get('createdTime'))[:10]}"

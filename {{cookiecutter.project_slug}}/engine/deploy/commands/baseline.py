"""`python -m engine.deploy baseline ENV --out DIR`: fetch the image that an environment serves.

Models are compared with it. Nothing is fetched where load/slo.yaml asks for no comparison.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.deploy.az_error import AzError
from engine.deploy.baseline import ARCHIVE, IMAGE, Baseline
from engine.deploy.commands.context import Context, add_stage, open_context
from engine.deploy.config import names
from engine.deploy.docker import DockerError, client, docker_run
from engine.deploy.journal import KEPT
from engine.deploy.push import log_in
from engine.deploy.say import Say
from engine.deploy.targets.base import images
from engine.errors import EngineError
from engine.load.slo import Quality, read_slo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    add_stage(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", required=True, help="write the image and its name there"
    )


def run(options: argparse.Namespace, root: Path, say: Say) -> int:
    """Fetch, and print what is compared with, or why nothing is; 0.

    Raises:
        EngineError: the environment or the registry cannot be asked.
    """
    folder: Path = options.out
    folder.mkdir(parents=True, exist_ok=True)
    quality = read_slo(root / "load" / "slo.yaml").quality
    why = _no_comparison(quality, root)
    baseline = Baseline(why=why) if why else _fetched(options.environment, root, folder, say)
    baseline.write(folder)
    if why and quality is not None:
        # A file that is not committed, or a misspelt name, must not switch it off unseen.
        say.warning(f"no comparison: {why}")
    print(baseline.image or f"no comparison: {baseline.why}")
    return 0


def _no_comparison(quality: Quality | None, root: Path) -> str:
    """Why this checkout asks for no comparison; empty: it does."""
    if quality is None:
        return "load/slo.yaml has no `quality:`, which names a metric, a margin and labelled data"
    if not quality.data:
        return "load/slo.yaml: quality.data is missing, and names a file of labelled rows"
    if not (root / quality.data).is_file():
        return (
            f"load/slo.yaml: quality.data is {quality.data!r}, and there is no such file in the "
            "repository; commit it, or correct the name"
        )
    return ""


def served(context: Context) -> Baseline:
    """What an environment serves: the release that was kept last, whatever is under way.

    Raises:
        EngineError: Azure cannot be asked.
    """
    stage = context.environment.stage
    try:
        live = context.target.read()
        records = context.journal.records() if live is not None else []
    except AzError as error:
        if error.status != 403:
            raise
        raise EngineError(
            f"this login may not look at what {stage} serves: {error.cause}",
            "`.venv/bin/python -m engine.deploy bootstrap` lets the build look at production; it "
            "may be run again at any time",
        ) from error
    kept = next((each.next for each in records if each.phase == KEPT), None)
    document = kept or (live.document if live is not None else {})
    image = next(images(document), "")
    if not image:
        return Baseline(why=f"{stage} serves nothing yet: this is its first release")
    tags = context.target.tags(document)
    return Baseline(image=image, revision=tags.get(names.TAG_REVISION, ""))


def _fetched(stage: str, root: Path, folder: Path, say: Say) -> Baseline:
    context = open_context(stage, root, say)
    found = served(context)
    if not found.image:
        return found
    log_in(context.az, say, context.project)
    try:
        docker = client()
        docker_run(say, [docker, "pull", found.image], dry_run=False)
        docker_run(say, [docker, "tag", found.image, IMAGE], dry_run=False)
        command = [docker, "save", "--output", str(folder / ARCHIVE), IMAGE]
        docker_run(say, command, dry_run=False)
    except DockerError as error:
        raise EngineError(str(error), "correct that, and run the same command again") from error
    return found

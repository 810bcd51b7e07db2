"""`python -m engine.deploy verify ENV` or `--url URL`: is this release served, rightly and fast?

What fails without proof is asked again a few times. Exit code 3 means that the service is proved
wrong, and 4 that it could not be found out: no reason to put another release in its place.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from engine.client.failures import Replaced, Report, VerifyError, WrongRelease
from engine.client.identity import Expected, ModelsOnly
from engine.client.service import Limits, address, front_door
from engine.deploy.azure_ids import same
from engine.deploy.commands.context import Context, open_context
from engine.deploy.config import names
from engine.deploy.image import current_release
from engine.deploy.outcome import RIGHT, UNPROVED, WRONG, write_output
from engine.deploy.say import Say
from engine.deploy.targets.base import Live, images
from engine.deploy.verify import ask_again, limits_of, verify
from engine.errors import ConfigError, EngineError
from engine.serving.errors import PackageError

URL_READY_SECONDS = 60.0
PATIENCE_SECONDS = 600.0
PROVED_WRONG, COULD_NOT_ASK = 3, 4
"""Exit codes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("environment", nargs="?", metavar="ENV", help="an environment")
    which.add_argument("--url", type=address, help="any running service, without asking Azure")
    parser.add_argument(
        "--image", metavar="REF", help="REGISTRY/NAME@sha256:DIGEST that must be the one that runs"
    )
    parser.add_argument(
        "--any-revision", action="store_true", help="only the models must be those of this checkout"
    )


def run(options: argparse.Namespace, root: Path, say: Say) -> int:
    """Verify, and print a table; 0.

    Raises:
        EngineError: it is not what it should be, or could not be asked; the message says what was
            found, ``exit_code`` which of the two.
    """
    write_output(verdict=UNPROVED)
    # After a change, Azure and the network may show the release of before for a while.
    also = () if options.url else (WrongRelease,)
    try:
        report = ask_again(
            lambda: _verified(options, root, say), PATIENCE_SECONDS, say.step, also=also
        )
    except ConfigError:
        raise
    except EngineError as error:
        wrong = isinstance(error, VerifyError) and error.proof
        error.exit_code = PROVED_WRONG if wrong else COULD_NOT_ASK
        write_output(verdict=WRONG if wrong else UNPROVED)
        if isinstance(error, VerifyError) and error.report:
            print(error.report.text())
            say.summary(f"{error.report.markdown()}\n\n**Fix**: {error.fix}")
        raise
    write_output(verdict=RIGHT)
    print(report.text())
    say.summary(report.markdown())
    return 0


def _verified(options: argparse.Namespace, root: Path, say: Say) -> Report:
    expected = _expected(root, any_revision=options.any_revision)
    if options.url:
        url, limits = options.url, Limits(ready_seconds=URL_READY_SECONDS)
        headers: Mapping[str, str] = {}
    else:
        context, url = _deployed(options, root, say)
        if (checks := context.inside_checks) is not None:
            return checks.report(url, expected.revision, expected.model_digest)
        limits = limits_of(context.environment.rollout)
        given = context.target.client_headers()
        headers = {**front_door(context.environment.variables), **given}
    say.step(f"verifying {url}")
    return verify(url, expected, limits, say.detail, models=root / "models", headers=headers)


def _expected(root: Path, *, any_revision: bool) -> Expected:
    try:
        release = current_release(root)
    except PackageError as error:
        raise EngineError(str(error), "restore the models of this checkout") from None
    return ModelsOnly(release.model_digest) if any_revision else release


def _deployed(options: argparse.Namespace, root: Path, say: Say) -> tuple[Context, str]:
    context = open_context(options.environment, root, say)
    live, url = deployed(context)
    require_image(live, options.image, options.environment)
    return context, url


def deployed(context: Context) -> tuple[Live, str]:
    """What an environment runs, and its address.

    Raises:
        EngineError: nothing is deployed, it has no address, or Azure cannot be asked.
    """
    live, stage = context.target.read(), context.environment.stage
    if live is None or live.address is None:
        what = "nothing is deployed" if live is None else "what is deployed has no address"
        raise EngineError(
            f"{stage}: {what}",
            f"`.venv/bin/python -m engine.deploy up {stage}`, or `doctor {stage}`",
        )
    return live, live.address


def require_image(live: Live, wanted: str | None, stage: str) -> None:
    """Compare the image: a service cannot know it, so it is what Azure's document names.

    Raises:
        WrongRelease: it names another image than its own tag.
        Replaced: it names another image than was asked for.
    """
    tag = live.tags.get(names.TAG_IMAGE)
    for image in images(live.document):
        if tag is not None and not same(image.partition("@")[2], tag):
            raise WrongRelease(
                f"{stage} runs {image}, and its tag {names.TAG_IMAGE} says {tag}",
                "something else than this repository changed it: deploy again",
            )
        if wanted is not None and not same(image, wanted):
            raise Replaced(f"{stage} runs {image}, not {wanted}", "deploy the one that is meant")

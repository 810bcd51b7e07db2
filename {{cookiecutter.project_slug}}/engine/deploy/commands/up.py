"""`python -m engine.deploy up ENV`: this commit's image serves, or all is as it was."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from urllib.parse import urlsplit

from engine.deploy import hooks, summary
from engine.deploy.commands import bootstrap
from engine.deploy.commands.context import Context, add_stage, open_context
from engine.deploy.commands.elsewhere import tell
from engine.deploy.commands.retire import retire
from engine.deploy.commands.wanted import Wanted, look
from engine.deploy.outcome import AS_BEFORE, NEW, write_output
from engine.deploy.push import Wish, push, push_edge
from engine.deploy.rollout.run import roll_out
from engine.deploy.rollout.site import RolloutFailed
from engine.deploy.say import Say
from engine.errors import EngineError

CERTIFICATE_SECONDS = 300.0
"""How long a deploy waits for a certificate of an own name; the next one goes on waiting."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    add_stage(parser)
    parser.add_argument(
        "--image",
        metavar="REF",
        help="REGISTRY/NAME@sha256:DIGEST, as `push` prints it; default: the image of this commit, "
        "pushed first if the registry does not have it",
    )
    parser.add_argument(
        "--edge",
        metavar="REF",
        type=lambda text: text or None,
        help="likewise the image that ends HTTPS, where the environment has https",
    )
    parser.add_argument(
        "--allow-dirty", action="store_true", help="deploy although files differ from the commit"
    )
    parser.add_argument(
        "--bootstrap",
        action="store_true",
        help="first make what this environment needs on Azure, without GitHub",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be done, and change nothing"
    )


def run(options: argparse.Namespace, root: Path, say: Say) -> int:
    """Deploy, and print the address as the last line of stdout; 0.

    Raises:
        EngineError: it was not deployed; the message says why, and what serves now.
    """
    began = time.monotonic()
    wanted: Wanted | None = None
    try:
        if options.bootstrap and not options.dry_run:
            bootstrap.for_one(options.environment, root, say)
        context = open_context(options.environment, root, say, dry_run=options.dry_run)
        dirty = options.allow_dirty
        wanted = look(context, options.image, allow_dirty=dirty, edge=options.edge)
        if options.dry_run:
            print(wanted.plan())
            return 0
        wanted = pushed(wanted, allow_dirty=dirty)
        deploy(wanted, began)
    except EngineError as error:
        release = wanted.release if wanted else None
        seconds = time.monotonic() - began
        say.summary(summary.failure(options.environment, release, error, seconds))
        raise
    return 0


def pushed(wanted: Wanted, *, allow_dirty: bool) -> Wanted:
    """With an image in the registry: this commit's is pushed if it is not there."""
    context = wanted.context
    wish = Wish(allow_dirty=allow_dirty)
    if wanted.lacks_edge:
        edge = push_edge(context.az, context.say, context.project, wish)
        assert edge is not None  # noqa: S101 - only a dry run pushes nothing
        wanted = wanted.with_edge(edge.reference)
    if wanted.release.image:
        return wanted
    context.say.step(f"the registry has no image of {wanted.release.revision[:12]} yet")
    image = push(context.az, context.say, context.project, wish)
    assert image is not None  # noqa: S101 - only a dry run pushes nothing
    return wanted.with_image(image.reference)


def _lead_again(context: Context) -> None:
    """What was restored may have been made anew, and then lost its own names."""
    if context.own_names is None:
        return
    try:
        live = context.target.read()
    except EngineError as error:
        context.say.warning(f"own names could not be looked at: {error.cause}; {error.fix}")
        return
    if live is not None and live.address is not None:
        lead(context, live.address)


def deploy(wanted: Wanted, began: float) -> None:
    """Roll it out and tell the owner's hooks; ``began`` is of ``time.monotonic``.

    Raises:
        EngineError: it was not deployed; the message says why, and what serves now.
    """
    context, release = wanted.context, wanted.release
    context.say.step(f"deploying {release.image} to {context.environment.stage}")
    stage, root = context.environment.stage, context.root
    hooks.before(hooks.BEFORE_DEPLOY, root, context.say, hooks.facts(release, environment=stage))
    site = wanted.site()
    try:
        with site.guard.watching(), summary.serving(NEW, undone=AS_BEFORE):
            outcome = roll_out(site, wanted.document())
    except RolloutFailed as error:
        if error.restored:
            _lead_again(context)
            known = hooks.facts(release, environment=stage, outcome="undone", cause=error.cause)
            hooks.after(hooks.AFTER_ROLLBACK, root, context.say, known)
        tell(context)
        raise
    seconds = time.monotonic() - began
    context.say.step(f"{stage}: {summary.words(outcome.kind)}, after {seconds:.0f} s")
    context.say.summary(summary.success(stage, release, outcome, seconds))
    announce(context, outcome.address, CERTIFICATE_SECONDS)
    known = hooks.facts(release, environment=stage, outcome=outcome.kind, url=outcome.address)
    hooks.after(hooks.AFTER_DEPLOY, root, context.say, known)
    retire(context)
    tell(context)


def lead(context: Context, address: str, patience: float = 0.0) -> None:
    """Let own names lead to an address; what is left to do is a warning."""
    names = context.own_names
    for found in names.make(urlsplit(address).hostname or "", patience) if names else ():
        context.say.warning(f"{found.cause}; {found.fix}")


def announce(context: Context, address: str | None, patience: float = 0.0) -> None:
    """The address, for people and for the next steps of a workflow; own names lead to it then.

    ``patience`` is how many seconds a certificate for an own name may take.
    """
    if address is None:
        return
    write_output(url=address, **({"private": "true"} if context.inside is not None else {}))
    lead(context, address, patience)
    context.say.step(f"{context.environment.stage} answers at")
    print(address)

"""`python -m engine.deploy up`, from where it begins to change things: for tests that deploy often.

Run in a rendered service, by an interpreter with its requirements: STAGE, IMAGE, and PLACES in the
environment, which is what preflight would have found. An image with the digest RECOVER finishes an
interrupted rollout as `recover --undo` does. After COMMAND come the arguments of a whole command,
which runs as it is but for the times of a shared name.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta
from pathlib import Path

from engine.deploy.__main__ import main as whole_command
from engine.deploy.az import Az
from engine.deploy.commands.context import Context, azure_secrets
from engine.deploy.commands.wanted import Wanted
from engine.deploy.config.read import read_environment
from engine.deploy.image import current_release
from engine.deploy.rollout import site as rollout_site
from engine.deploy.rollout import waiting
from engine.deploy.rollout.interrupted import finish_interrupted
from engine.deploy.rollout.run import roll_out
from engine.deploy.say import Say
from engine.deploy.targets.aci.fleet import profile
from engine.deploy.targets.base import Places, Release
from engine.errors import EngineError

# How long a fault of Azure's is waited for is tested in memory; here it is waited out.
FAULT_SECONDS = 20.0
RECOVER = "@sha256:" + "0" * 64
COMMAND = "--command"
TTL_SECONDS, GRACE = 1, timedelta(seconds=8)
"""Of a shared name; the real ones let every test wait for two minutes."""


def main(stage: str, image: str) -> int:
    """Roll out; the address on stdout, or cause and fix on stderr and exit code 1."""
    rollout_site.FAULT_SECONDS = waiting.FAULT_SECONDS = FAULT_SECONDS
    root, say = Path.cwd(), Say()
    found = current_release(root)
    project, environment = read_environment(stage, root)
    places = Places(**json.loads(os.environ["PLACES"]))
    az = Az(say, without=environment.secrets)
    read = azure_secrets(az, project, environment, places.subscription)
    context = Context(root, project, environment, az, say, places, read)
    try:
        wanted = Wanted(context, Release(image, found.revision, found.model_digest), None)
        site = wanted.site()
        with site.guard.watching():
            if image.endswith(RECOVER):
                finish_interrupted(site, undo_unverified=True)
                print(f"removed: {' '.join(site.target.retire())}")
                return 0
            outcome = roll_out(site, wanted.document())
    except EngineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(outcome.address)
    return 0


if __name__ == "__main__":
    profile.TTL_SECONDS, profile.GRACE = TTL_SECONDS, GRACE
    if sys.argv[1] == COMMAND:
        raise SystemExit(whole_command(sys.argv[2:]))
    raise SystemExit(main(*sys.argv[1:]))

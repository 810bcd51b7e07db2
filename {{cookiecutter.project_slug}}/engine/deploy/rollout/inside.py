"""Checks of a service that only its own network reaches: a container in there asks it.

The same requests with the same expected answers as from outside; see ``engine.client.inside``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from engine.client.failures import Report
from engine.client.inside import COMMAND, Task, verdict
from engine.client.service import Limits, front_door_setting
from engine.deploy.config.environment import Environment
from engine.deploy.diagnosis.words import GAVE_UP, complaints
from engine.deploy.rollout.site import NotUp
from engine.deploy.say import Say
from engine.deploy.targets.base import Inside, Release, Target
from engine.deploy.verify import ask_again, key_from, limits_of
from engine.errors import EngineError

BEGIN_SECONDS = 900.0
"""How long Azure may take to begin and to remove a container in a subnet."""
_LISTEN_SECONDS = 10.0
_KEY = "LOAD_API_KEY"

Explain = Callable[[EngineError], EngineError]


def seconds(environment: Environment) -> int:
    """The longest that a verification may take, the container's own start included."""
    limits = environment.rollout
    return int(limits.start_seconds + limits.verify_seconds + BEGIN_SECONDS)


class InsideChecks:
    """See ``engine.deploy.rollout.site.Checks``."""

    def __init__(
        self, inside: Inside, target: Target, environment: Environment, say: Say, explain: Explain
    ) -> None:
        self._inside = inside
        self._target = target
        self._environment = environment
        self._say = say
        self._explain = explain

    def ready(
        self, address: str, headers: Mapping[str, str], authority: str | None = None
    ) -> str | None:
        """See ``Checks``: what verifies it waits until it is ready."""
        return None

    def verify(
        self,
        address: str,
        headers: Mapping[str, str],
        release: Release | None,
        authority: str | None = None,
    ) -> str:
        """See ``Checks``."""
        revision, digest = (release.revision, release.model_digest) if release else (None, None)
        return self.report(address, revision, digest).markdown()

    def explain(self, error: EngineError) -> EngineError:
        """See ``Checks``."""
        return self._explain(error)

    def report(self, address: str, revision: str | None, model_digest: str | None) -> Report:
        """Verify what is live, again where nothing is proved; None: any.

        Raises:
            EngineError: it must not be kept.
        """
        limits = limits_of(self._environment.rollout)
        waits = replace(limits, ready_seconds=float(self._environment.rollout.start_seconds))
        task = Task(address, waits, revision, model_digest)
        return ask_again(lambda: self._once(task, waits), limits.ready_seconds, self._say.step)

    def _once(self, task: Task, limits: Limits) -> Report:
        self._say.step(f"a container in the network of {self._environment.stage} asks {task.url}")
        key = key_from(os.environ)
        most = limits.ready_seconds + self._environment.rollout.verify_seconds + BEGIN_SECONDS / 2
        secrets = {
            **({_KEY: key} if key else {}),
            **front_door_setting(self._environment.variables),
        }
        ended = self._inside.run(
            (*COMMAND, task.argument()), secrets, most, _Watch(self._target, self._say).look
        )
        for line in ended.lines[:-1]:
            self._say.detail(line)
        return verdict(ended.exit_code, ended.lines)


class _Watch:
    """Looks at the service while it is verified: nobody waits for what gave up."""

    def __init__(self, target: Target, say: Say) -> None:
        self._target = target
        self._say = say
        self._next = time.monotonic() + _LISTEN_SECONDS
        self._hopeless = 0

    def look(self, state: str) -> None:
        """Tell how the verification is, and look at the service if that is some time ago.

        Raises:
            NotUp: it cannot come up, or says that it gave up.
        """
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _LISTEN_SECONDS
        self._say.detail(f"what verifies is {state}")
        live = self._target.read()
        self._hopeless = self._hopeless + 1 if live is not None and live.failure else 0
        if live is not None and self._hopeless > 1:
            raise NotUp(
                f"{self._target.what}: {live.failure}",
                "its log says why; `make run-image` starts the same image here",
            )
        try:
            said = complaints(list(self._target.logs(follow=False)))
        except EngineError:
            return
        if final := next((text for text in said if text.startswith(GAVE_UP)), None):
            raise NotUp(
                f"{self._target.what} gave up: {final}",
                "correct what it says, build and deploy again; `make check` looks at the models",
            )

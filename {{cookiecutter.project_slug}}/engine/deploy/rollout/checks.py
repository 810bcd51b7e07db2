"""Asks the service itself, over the network, as its clients do."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from engine.client.failures import NotReady, Unreachable
from engine.client.identity import check_release
from engine.client.readiness import require_ready, wait_until_ready
from engine.client.service import Service, front_door
from engine.deploy.config.environment import Environment
from engine.deploy.say import Say
from engine.deploy.targets.base import Release
from engine.deploy.targets.kind import kind_of
from engine.deploy.verify import ask_again, key_from, limits_of, verify
from engine.errors import EngineError
from engine.serving.package.digest import models_digest

Explain = Callable[[EngineError], EngineError]

_LOOK_SECONDS = 5.0


class ServiceChecks:
    """See ``engine.deploy.rollout.site.Checks``."""

    def __init__(self, environment: Environment, root: Path, say: Say, explain: Explain) -> None:
        self._limits = limits_of(environment.rollout)
        self._models = root / "models"
        self._say = say
        self._explain = explain
        kind = kind_of(environment)
        self._host = kind.shared_host(environment)
        self._front_door = front_door(environment.variables)
        self._probed = partial(kind.probe_address, environment)

    def ready(self, address: str, headers: Mapping[str, str]) -> str | None:
        """See ``Checks``."""
        given = self._headers(headers)
        with Service(self._probed(address), None, _LOOK_SECONDS, given) as service:
            try:
                require_ready(service)
            except NotReady as error:
                if error.final:
                    raise
                return f"not ready: {error.reason or error.cause}"
            except Unreachable:
                # While the probe fails, Azure lets nobody through: the service's own words are
                # in its log only.
                return "its address does not answer yet"
        return None

    def verify(self, address: str, headers: Mapping[str, str], release: Release | None) -> str:
        """See ``Checks``: a release with other models than the checkout's is asked who it is.

        Its golden records are not here. It checked them itself before it became ready.
        """
        if release is not None and release.model_digest == models_digest(self._models):
            check = partial(self._whole, address, self._headers(headers), release)
        else:
            check = partial(self._identity, address, self._headers(headers), release)
        return ask_again(check, self._limits.ready_seconds, self._say.step)

    def _headers(self, given: Mapping[str, str]) -> dict[str, str]:
        """With the name by which clients reach all copies, and the Front Door that they come by."""
        return {**({"Host": self._host} if self._host else {}), **self._front_door, **given}

    def _whole(self, address: str, headers: Mapping[str, str], release: Release) -> str:
        told, models = self._say.detail, self._models
        report = verify(address, release, self._limits, told, models=models, headers=headers)
        return report.markdown()

    def _identity(self, address: str, headers: Mapping[str, str], release: Release | None) -> str:
        key, seconds = key_from(os.environ), self._limits.request_seconds
        with Service(address, key, seconds, headers) as service:
            wait_until_ready(service, self._limits.ready_seconds, self._say.detail)
            found = check_release(service, release)
        self._say.detail(f"release: {found}")
        return f"Verified: {address} serves {found}"

    def explain(self, error: EngineError) -> EngineError:
        """See ``Checks``."""
        return self._explain(error)

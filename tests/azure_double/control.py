"""The control API: what tests ask of the double itself, on a port of its own."""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .arm.access import Principal
from .arm.admission import REGISTERED
from .arm.azure import Azure, ControlHandler
from .arm.tokens import LIFETIME_SECONDS as ACCESS_SECONDS
from .faults import Fault
from .github.api import GitHub
from .github.oidc import LIFETIME_SECONDS as JOB_SECONDS
from .github.oidc import Issuer
from .habits import HABITS
from .providers.authorization import Authorization
from .wire import Request, Response, json_response, text_response

OWNER = "owner"


class Control:
    """The handler: ``POST /NAME`` with a JSON document."""

    def __init__(self, azure: Azure, github: GitHub, issuer: Issuer) -> None:
        self._azure = azure
        self._github = github
        self._issuer = issuer
        self._owner = Principal(
            OWNER,
            str(uuid.uuid4()),
            str(uuid.uuid4()),
            secrets.token_urlsafe(24),
            reads_directory=True,
        )
        self._handlers: dict[str, ControlHandler] = dict(self._own())
        for provider in azure.providers:
            self._handlers.update(provider.control())

    async def __call__(self, request: Request) -> Response:
        """404 for a question that nobody answers, 400 for one that is put wrongly."""
        name = request.path.strip("/")
        handler = self._handlers.get(name)
        if handler is None:
            return text_response(404, f"no such question: {name}; {sorted(self._handlers)}")
        given = json.loads(await request.read() or b"{}")
        try:
            return json_response(200, {"answer": await handler(given)})
        except (KeyError, TypeError, ValueError) as error:
            return text_response(400, f"{name}: {error!r}")

    async def begin(self) -> None:
        """The state in which every test finds the double: a subscription and its owner."""
        for provider in self._azure.providers:
            await provider.start()
        self._azure.principals.add(self._owner)
        self._authorization().assign(self._owner, "Owner", self._azure.settings.subscription_id)

    async def reset(self, _given: dict[str, Any]) -> None:
        """Back to the beginning; what runs is ended first."""
        azure = self._azure
        await azure.operations.clear()
        for provider in reversed(azure.providers):
            await provider.reset()
        azure.store.clear()
        azure.principals.clear()
        azure.faults.clear()
        azure.habits.clear()
        azure.elsewhere.clear()
        azure.log.clear()
        self._github.state.clear()
        await self._lifetimes({"access": ACCESS_SECONDS, "job": JOB_SECONDS})
        await self.begin()

    def _own(self) -> Mapping[str, ControlHandler]:
        return {
            "reset": self.reset,
            "requests": self._requests,
            "inject": self._inject,
            "pending-faults": self._pending,
            "clear-faults": self._clear,
            "habits": self._habits,
            "held": self._held,
            "release": self._release,
            "remove": self._remove,
            "resource": self._resource,
            "resources": self._resources,
            "principal": self._principal,
            "register": self._register,
            "github-repository": self._repository,
            "github-user": self._user,
            "github-state": self._github_state,
            "oidc-token": self._oidc_token,
            "oidc-request": self._oidc_request,
            "lifetimes": self._lifetimes,
        }

    def _authorization(self) -> Authorization:
        return next(each for each in self._azure.providers if isinstance(each, Authorization))

    async def _requests(self, _given: dict[str, Any]) -> list[dict[str, Any]]:
        return [entry.shown() for entry in self._azure.log.entries]

    async def _inject(self, given: dict[str, Any]) -> None:
        self._azure.faults.inject(Fault(**given))

    async def _clear(self, given: dict[str, Any]) -> None:
        if where := given.get("where"):
            self._azure.faults.forget(where)
        else:
            self._azure.faults.clear()

    async def _habits(self, given: dict[str, Any]) -> None:
        if unknown := set(given["names"]) - HABITS.keys():
            raise ValueError(f"unknown habits {unknown}; there are {sorted(HABITS)}")
        self._azure.habits = list(given["names"])

    async def _pending(self, _given: dict[str, Any]) -> list[dict[str, Any]]:
        return [asdict(fault) for fault in self._azure.faults.pending()]

    async def _held(self, _given: dict[str, Any]) -> list[dict[str, Any]]:
        entries = self._azure.log.entries
        return [entries[number - 1].shown() for number in self._azure.faults.held.numbers]

    async def _release(self, given: dict[str, Any]) -> None:
        self._azure.faults.held.release(given["number"])

    async def _remove(self, given: dict[str, Any]) -> None:
        await self._azure.remove(given["id"])

    async def _resource(self, given: dict[str, Any]) -> dict[str, Any] | None:
        found = self._azure.store.get(given["id"])
        if found is None:
            return None
        plain = json.loads(json.dumps(found.hidden, default=str))
        return {"id": found.id, "body": found.shown(), "hidden": plain}

    async def _resources(self, given: dict[str, Any]) -> list[str]:
        return [each.id for each in self._azure.store.below(given.get("scope", "/"))]

    async def _principal(self, given: dict[str, Any]) -> dict[str, str]:
        """An existing principal by name, or a new application with roles [[name, scope], …]."""
        for each in self._azure.principals:
            if each.name == given["name"]:
                found = each
                break
        else:
            found = self._azure.principals.add(
                Principal(
                    given["name"],
                    str(uuid.uuid4()),
                    str(uuid.uuid4()),
                    secrets.token_urlsafe(24),
                )
            )
        for role, scope in given.get("roles", []):
            self._authorization().assign(found, role, scope)
        return {
            "name": found.name,
            "client_id": found.client_id,
            "object_id": found.object_id,
            "secret": found.secret,
        }

    async def _register(self, given: dict[str, Any]) -> None:
        subscription = self._azure.store.require(self._azure.settings.subscription_id)
        names = {each.namespace.lower() for each in self._azure.providers}
        wanted = {each.lower() for each in given.get("namespaces") or names}
        if wanted - names:
            raise ValueError(f"unknown namespaces {wanted - names}")
        subscription.hidden[REGISTERED] |= dict.fromkeys(wanted, 0.0)

    async def _repository(self, given: dict[str, Any]) -> dict[str, Any]:
        made = self._github.state.add_repository(given["name"], given["subjects"])
        return {"id": made.id, "owner_id": made.owner_id, "subject_prefix": made.subject_prefix}

    async def _user(self, given: dict[str, Any]) -> int:
        return self._github.state.user(given["login"])

    async def _github_state(self, given: dict[str, Any]) -> dict[str, Any]:
        found = self._github.state.repositories[given["name"].lower()]
        return asdict(found) | {"subject_prefix": found.subject_prefix}

    async def _oidc_token(self, given: dict[str, Any]) -> str:
        return self._issuer.mint(**given)

    async def _lifetimes(self, given: dict[str, Any]) -> None:
        self._azure.tokens.lifetime = given["access"]
        self._issuer.lifetime = given["job"]

    async def _oidc_request(self, given: dict[str, Any]) -> dict[str, str]:
        return {
            "ACTIONS_ID_TOKEN_REQUEST_URL": self._issuer.url(given["subject"]),
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": self._issuer.request_token,
        }

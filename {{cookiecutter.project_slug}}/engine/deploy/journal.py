"""The record of all rollouts, kept in Azure beside what they deploy.

A record is an ARM deployment with an empty template whose outputs hold JSON. It costs nothing,
survives the process and the machine that wrote it, needs no storage account, and is shown in the
portal under "Deployments" of the resource group. Documents in it name secrets and hold none.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Protocol

from engine.deploy.az import Az
from engine.deploy.azure_ids import one_of, same
from engine.deploy.config.environment import Environment
from engine.deploy.targets.base import Document
from engine.errors import EngineError

API_VERSION = "2025-04-01"
SCHEMA = 2
"""Of the records that this version writes. A version that needs more than a further key counts it
up; older checkouts, which rollbacks and branches are, then refuse instead of overlooking a record.
"""
# 2: signs of life are written here, and on a container group the record alone says what was kept.
STARTED, KEPT, RESTORED, FAILED = "started", "kept", "restored", "failed"

_OUTPUT, _SIGN = "record", "sign"
_ALIVE = "alive"
"""How the name of the deployment with the signs of life ends, where a record has its id."""
_TEMPLATE = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
_LONGEST_NAME = 64
_ROLLOUT = re.compile(r"-(\d{14}-[0-9a-f]{6})$")
"""How the name of a record ends: the id of its rollout."""
_WRITE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Record:
    """One rollout. ``id`` begins with the time, so ids sort by age.

    ``owner`` is the run that works on it now, ``process`` says where that run is (see
    ``engine.deploy.rollout.signs``), ``by`` says it for people. ``answered`` and ``stopped`` are
    about the previous release: it was ready before the rollout began, or stopped on purpose.
    ``reason`` says why the rollout ended as it did. ``target`` and ``environment`` are the kind of
    place it was on and the content of its environment file; without them it was written before
    environments could move, and belongs to the kind that asks.
    """

    id: str
    service: str
    started: str
    by: str
    owner: str
    process: str | None
    phase: str
    previous: Document | None
    next: Document
    answered: bool = True
    stopped: bool = False
    reason: str = ""
    ended: str = ""
    target: str = field(default="", compare=False)
    environment: Mapping[str, Any] = field(default_factory=dict, compare=False)
    more: Mapping[str, Any] = field(default_factory=dict)
    """Keys that this version does not know; they are written back as they were read."""

    @property
    def open(self) -> bool:
        """The rollout has not come to its end, or died before it."""
        return self.phase == STARTED

    def closed(self, phase: str, reason: str, when: str) -> Record:
        """The same record at its end."""
        return replace(self, phase=phase, reason=" ".join(reason.split()), ended=when)

    def taken_by(self, owner: str, process: str | None, by: str) -> Record:
        """The same record in the hands of another run, and open."""
        return replace(self, owner=owner, process=process, by=by, phase=STARTED)


class Journal(Protocol):
    """Where records are kept."""

    def write(self, record: Record) -> None:
        """Write a record, over what stood there under its id; returns when it can be read."""

    def read(self, rollout: str) -> Record | None:
        """One record."""

    def records(self) -> list[Record]:
        """All records of the service that can be read, the newest first.

        Raises:
            NewerRecord: one was written by a newer version.
        """

    def sign(self, rollout: str, when: str) -> None:
        """Write a sign of life of a rollout."""

    def last_sign(self, rollout: str) -> str:
        """The time of a rollout's last sign of life; empty where there is none that can be read."""


class NewerRecord(EngineError):
    """A newer version of this program wrote a record; nothing may be concluded without it."""

    def __init__(self, rollout: str, schema: object) -> None:
        super().__init__(
            f"the record of the rollout {rollout} has schema {schema}, and this checkout reads "
            f"schemas up to {SCHEMA}: a newer version of deploy/ wrote it",
            "run the command in a newer checkout of this repository (git pull)",
        )


class ArmJournal:
    """The journal in a resource group of Azure, of the kind of place that an environment is on."""

    def __init__(self, az: Az, subscription: str, environment: Environment) -> None:
        self._az = az
        self._environment = environment
        self._service = environment.name
        self._root = (
            f"/subscriptions/{subscription}/resourcegroups/{environment.resource_group}"
            "/providers/Microsoft.Resources/deployments"
        )

    def write(self, record: Record) -> None:
        """See ``Journal``.

        Raises:
            EngineError: Azure refused, or was not done in time.
        """
        place = self._environment
        known = asdict(
            replace(record, target=place.target, environment=place.model_dump(mode="json"))
        )
        content = {**known.pop("more"), **known, "schema": SCHEMA}
        request = self._put(self._name(record.id), _OUTPUT, content)
        give_up = time.monotonic() + _WRITE_SECONDS
        while True:
            state = self._az.json(*request, "get")["properties"]["provisioningState"]
            if same(state, "Succeeded"):
                return
            if one_of(state, ("Failed", "Canceled")) or time.monotonic() > give_up:
                raise EngineError(
                    f"the record of the rollout could not be written: {state}",
                    "look at the resource group's Deployments in the portal, then run it again",
                )
            time.sleep(1)

    def sign(self, rollout: str, when: str) -> None:
        """See ``Journal``; a deployment of its own, so that no sign can damage a record."""
        self._put(self._name(_ALIVE), _SIGN, {"rollout": rollout, "when": when})

    def last_sign(self, rollout: str) -> str:
        """See ``Journal``."""
        content = _content(self._get(self._name(_ALIVE)), _SIGN)
        return str(content.get("when", "")) if content.get("rollout") == rollout else ""

    def read(self, rollout: str) -> Record | None:
        """See ``Journal``."""
        return _record(self._get(self._name(rollout)), rollout)

    def records(self) -> list[Record]:
        """See ``Journal``."""
        return [each for each in self._read_all()[0] if self._here(each)]

    def elsewhere(self) -> list[Record]:
        """Those of rollouts on other kinds of places, the newest first."""
        return [each for each in self._read_all()[0] if not self._here(each)]

    def all_records(self) -> list[Record]:
        """The same, where overlooking a record would do harm.

        Raises:
            EngineError: a record cannot be read.
        """
        records, unreadable = self._read_all()
        if unreadable:
            raise EngineError(
                f"the record {unreadable[0]} cannot be read: it is being written, or damaged",
                "if no deploy is running, look at it under Deployments of the resource group in "
                "the portal, and delete it if nothing needs its release any more",
            )
        return [each for each in records if self._here(each)]

    def _here(self, record: Record) -> bool:
        return record.target in ("", self._environment.target)

    def _read_all(self) -> tuple[list[Record], list[str]]:
        """The records of the service, the newest first, and the names of those that are unreadable.

        Names are shortened, so the record itself says whose it is.
        """
        found: list[Any] = []
        page: str | None = f"{self._root}?api-version={API_VERSION}"
        while page:
            answer = self._az.find("rest", "--method", "get", "--url", page) or {}
            found += answer.get("value") or []
            page = answer.get("nextLink")
        records, unreadable = [], []
        for item in found:
            name = str(item.get("name", "")).lower()
            ending = _ROLLOUT.search(name)
            if ending is None or name != self._name(ending[1]).lower():
                continue
            if _service(item) not in (None, self._service):
                continue
            # A list may leave outputs out; the deployment itself has them once it is done.
            record = _record(item, ending[1]) or (self.read(ending[1]) if _done(item) else None)
            if record is None:
                unreadable.append(name)
            elif record.service == self._service:
                records.append(record)
        return sorted(records, key=lambda record: record.id, reverse=True), unreadable

    def _name(self, rollout: str) -> str:
        # A container group's name may have 63 characters, and a deployment's 64.
        return f"{self._service[: _LONGEST_NAME - 1 - len(rollout)].rstrip('-')}-{rollout}"

    def _put(self, name: str, output: str, content: Mapping[str, Any]) -> list[str]:
        """Ask for a deployment with one output; the beginning of further requests about it."""
        # Text, for ARM reads expressions in the texts of an object that begin with "[".
        value = {"type": "string", "value": json.dumps(content, sort_keys=True)}
        template = {
            "$schema": _TEMPLATE,
            "contentVersion": "1.0.0.0",
            "resources": [],
            "outputs": {output: value},
        }
        body = json.dumps({"properties": {"mode": "Incremental", "template": template}})
        request = ["rest", "--url", self._url(name), "--method"]
        self._az.change(*request, "put", "--body", "@-", stdin=body)
        return request

    def _get(self, name: str) -> Any:
        return self._az.find("rest", "--method", "get", "--url", self._url(name))

    def _url(self, name: str) -> str:
        return f"{self._root}/{name}?api-version={API_VERSION}"


def _record(deployment: Any, rollout: str) -> Record | None:
    """The record in a deployment; None where there is none, or none that is complete.

    Raises:
        NewerRecord: a newer version wrote it.
    """
    content = _content(deployment)
    schema = content.pop("schema", SCHEMA)
    if not isinstance(schema, int) or schema > SCHEMA:
        raise NewerRecord(rollout, schema)
    known = {each.name: content.pop(each.name) for each in fields(Record) if each.name in content}
    try:
        return Record(**{**known, "more": content})
    except TypeError:
        return None


def _service(deployment: Any) -> Any:
    return _content(deployment).get("service")


def _done(deployment: Any) -> bool:
    state = (deployment.get("properties") or {}).get("provisioningState")
    return same(state, "Succeeded")


def _content(deployment: Any, output: str = _OUTPUT) -> dict[str, Any]:
    """What a deployment of this journal holds; empty where it is none."""
    outputs = ((deployment or {}).get("properties") or {}).get("outputs") or {}
    try:
        content = json.loads(outputs[output]["value"])
    except (KeyError, TypeError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}

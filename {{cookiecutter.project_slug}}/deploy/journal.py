"""The record of all rollouts, kept in Azure beside what they deploy.

A record is an ARM deployment with an empty template whose outputs hold JSON. It costs nothing,
survives the process and the machine that wrote it, needs no storage account, and stands in the
portal under "Deployments" of the resource group. Documents in it name secrets and hold none.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from deploy.az import Az
from deploy.errors import DeployError
from deploy.targets.base import Document

API_VERSION = "2025-04-01"
STARTED, KEPT, RESTORED, FAILED = "started", "kept", "restored", "failed"

_OUTPUT = "record"
_TEMPLATE = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
_LONGEST_NAME = 64
_WRITE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Record:
    """One rollout. ``id`` begins with the time, so ids sort by age.

    ``owner`` is the run that works on it now, ``process`` says where that run is (see
    ``deploy.alive``), ``by`` says it for people. ``answered`` and ``stopped`` are about the
    previous release: it was ready before the rollout began, or stopped on purpose. ``reason`` says
    why the rollout ended as it did.
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
        """All records of the service, the newest first."""


class ArmJournal:
    """The journal in a resource group of Azure."""

    def __init__(self, az: Az, subscription: str, resource_group: str, service: str) -> None:
        self._az = az
        self._service = service
        self._root = (
            f"/subscriptions/{subscription}/resourcegroups/{resource_group}"
            "/providers/Microsoft.Resources/deployments"
        )

    def write(self, record: Record) -> None:
        """See ``Journal``.

        Raises:
            DeployError: Azure refused, or was not done in time.
        """
        body = json.dumps({"properties": _deployment(record)})
        request = ["rest", "--url", self._url(record.id), "--method"]
        self._az.change(*request, "put", "--body", "@-", stdin=body)
        give_up = time.monotonic() + _WRITE_SECONDS
        while True:
            state = self._az.json(*request, "get")["properties"]["provisioningState"]
            if state == "Succeeded":
                return
            if state in ("Failed", "Canceled") or time.monotonic() > give_up:
                raise DeployError(
                    f"the record of the rollout could not be written: {state}",
                    "look at the resource group's Deployments in the portal, then run it again",
                )
            time.sleep(1)

    def read(self, rollout: str) -> Record | None:
        """See ``Journal``."""
        found = self._az.find("rest", "--method", "get", "--url", self._url(rollout))
        return _record(found)

    def records(self) -> list[Record]:
        """See ``Journal``."""
        found: list[Any] = []
        page: str | None = f"{self._root}?api-version={API_VERSION}"
        while page:
            answer = self._az.find("rest", "--method", "get", "--url", page) or {}
            found += answer.get("value") or []
            page = answer.get("nextLink")
        records = [record for item in found if (record := _record(item)) is not None]
        mine = [record for record in records if record.service == self._service]
        return sorted(mine, key=lambda record: record.id, reverse=True)

    def delete(self, rollout: str) -> None:
        """Remove one record."""
        self._az.change("rest", "--method", "delete", "--url", self._url(rollout))

    def _url(self, rollout: str) -> str:
        # A container group's name may have 63 characters, and a deployment's 64.
        name = f"{self._service[: _LONGEST_NAME - 1 - len(rollout)].rstrip('-')}-{rollout}"
        return f"{self._root}/{name}?api-version={API_VERSION}"


def _deployment(record: Record) -> dict[str, Any]:
    # Text, for ARM reads expressions in the texts of an object that begin with "[".
    output = {"type": "string", "value": json.dumps(asdict(record), sort_keys=True)}
    template = {
        "$schema": _TEMPLATE,
        "contentVersion": "1.0.0.0",
        "resources": [],
        "outputs": {_OUTPUT: output},
    }
    return {"mode": "Incremental", "template": template}


def _record(deployment: Any) -> Record | None:
    """The record in a deployment; None where it is another's, or not complete yet."""
    outputs = ((deployment or {}).get("properties") or {}).get("outputs") or {}
    try:
        return Record(**json.loads(outputs[_OUTPUT]["value"]))
    except (KeyError, TypeError, ValueError):
        return None

"""One container app and its revisions, through `az rest`, and its logs, as Azure streams them.

Every call names the same API version, and needs rights on the app alone. Bodies travel through
standard input: they hold secrets.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from engine.deploy.az import Az, AzError
from engine.deploy.config import names
from engine.deploy.targets.base import Check
from engine.deploy.targets.containerapps.document import API_VERSION
from engine.errors import EngineError

LINES = "300"
"""The most of the past that Azure gives."""

# What the stream says of itself before the first line of the log.
_OWN_WORDS = re.compile(r"^(Connecting to the container|Successfully Connected to container) ?")


class AppLogs:
    """The logs of the app ``name``; only what runs has one."""

    def __init__(self, az: Az, group: str, name: str) -> None:
        self._az = az
        self._place = ("--name", name, "--resource-group", group)

    def console(self, revision: str, replica: str, *, follow: bool) -> Iterator[str]:
        """What the service in one replica writes, oldest first, as it wrote it."""
        where = ("--revision", revision, "--replica", replica, "--container", names.CONTAINER)
        more = ("--follow", "true") if follow else ()
        command = ("containerapp", "logs", "show", *self._place, *where)
        yield from readable(self._az.lines(*command, "--format", "json", "--tail", LINES, *more))

    def system(self) -> list[str]:
        """What Azure did with the app, a JSON object in each line; empty if it cannot be read."""
        command = ("containerapp", "logs", "show", *self._place, "--type", "system")
        try:
            return list(self._az.lines(*command, "--tail", LINES))
        except AzError:
            return []


def readable(lines: Iterable[str]) -> Iterator[str]:
    """The log without Azure's wrapping, and without what the stream says of itself."""
    for line in lines:
        text = _text(line)
        if not _OWN_WORDS.match(text):
            yield text


def _text(line: str) -> str:
    try:
        shown = json.loads(line)
    except ValueError:
        return line
    text = shown.get("Log") if isinstance(shown, dict) else None
    # "F " and "P " mark full and partial lines in the log files of a node.
    return re.sub(r"^[FP] ", "", str(text)) if text is not None else line


Json = dict[str, Any]

BUSY = "ContainerAppOperationInProgress"
POLL_SECONDS = 2.0
IDLE_SECONDS = 900.0
VISIBLE_SECONDS = 120.0
"""How long Azure may show what was there before a change; see ``engine.deploy.rollout.waiting``."""


class AppClient:
    """The app ``name`` in a resource group; ``sleep`` and ``clock`` are there for tests."""

    def __init__(
        self,
        az: Az,
        subscription: str,
        group: str,
        name: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._az = az
        self._name = name
        self._sleep = sleep
        self._clock = clock
        self._id = (
            f"/subscriptions/{subscription}/resourceGroups/{group}"
            f"/providers/Microsoft.App/containerApps/{name}"
        )

    def app(self) -> Json | None:
        """The app; None where there is none."""
        return self._find(self._id)

    def revisions(self) -> list[Json]:
        """All revisions, inactive ones too."""
        return self._list(f"{self._id}/revisions")

    def revision(self, name: str) -> Json | None:
        """One revision; None where there is none."""
        return self._find(f"{self._id}/revisions/{name}")

    def replicas(self, revision: str) -> list[Json]:
        """The running copies of a revision."""
        return self._list(f"{self._id}/revisions/{revision}/replicas")

    def secrets(self) -> list[dict[str, str]]:
        """All secrets of the app with their values, which from then on are never shown."""
        url = _url(f"{self._id}/listSecrets")
        answer = self._az.json("rest", "--method", "post", "--url", url) or {}
        found = [
            {"name": each["name"], "value": each["value"]}
            for each in answer.get("value") or []
            if each.get("value")
        ]
        self._az.say.hide(each["value"] for each in found)
        return found

    def environment(self, environment_id: str) -> Json | None:
        """The Container Apps environment; None where there is none."""
        return self._find(environment_id)

    def mount(self, environment_id: str, share: str, account: str, key: str) -> None:
        """Let apps of a Container Apps environment mount a share, read-only."""
        place = {"accountName": account, "accountKey": key}
        file = {**place, "shareName": share, "accessMode": "ReadOnly"}
        url = _url(f"{environment_id}/storages/{share}")
        request = ("rest", "--method", "put", "--url", url, "--body", "@-")
        self._az.change(*request, stdin=json.dumps({"properties": {"azureFile": file}}))

    def mounted(self, environment_id: str, share: str) -> bool:
        """Whether apps of a Container Apps environment may mount a share already."""
        return self._find(f"{environment_id}/storages/{share}") is not None

    def analysis(self, hostname: str) -> Json:
        """What Azure sees of an own name: its records, and whether the app may have it."""
        path = _url(f"{self._id}/listCustomHostNameAnalysis")
        url = f"{path}&customHostname={hostname}"
        found: Json = self._az.json("rest", "--method", "post", "--url", url)
        return found

    def certificates(self, environment_id: str) -> list[Json]:
        """The certificates that Azure manages in a Container Apps environment."""
        return self._list(f"{environment_id}/managedCertificates")

    def order(self, certificate_id: str, location: str, hostname: str, proof: str) -> None:
        """Ask for a certificate; ``proof`` is how the name is checked: CNAME or HTTP."""
        body = {
            "location": location,
            "properties": {"subjectName": hostname, "domainControlValidation": proof},
        }
        url = _url(certificate_id)
        request = ("rest", "--method", "put", "--url", url, "--body", "@-")
        self._az.change(*request, stdin=json.dumps(body))

    def forget(self, certificate_id: str) -> None:
        """Delete a certificate."""
        self._az.change("rest", "--method", "delete", "--url", _url(certificate_id))

    def put(self, body: Json, check: Check) -> None:
        """Ask for the app as the body describes it."""
        self._send("put", "", body, check)

    def patch(self, body: Json, check: Check | None = None) -> None:
        """Ask for a change in part; lists are replaced, all else is merged."""
        self._send("patch", "", body, check)

    def activate(self, revision: str, check: Check | None = None) -> None:
        """Start a revision's replicas."""
        self._send("post", f"/revisions/{revision}/activate", None, check)

    def deactivate(self, revision: str, check: Check | None = None) -> None:
        """End a revision's replicas; it bills nothing and can be activated again."""
        self._send("post", f"/revisions/{revision}/deactivate", None, check)

    def start(self) -> None:
        """Start the app after ``stop`` and wait until Azure is done."""
        self._send("post", "/start", None, None)
        self.wait_until_idle()

    def stop(self) -> None:
        """End all replicas of all revisions and wait until Azure is done."""
        self._send("post", "/stop", None, None)
        self.wait_until_idle()

    def delete(self) -> None:
        """Remove the app and wait until it is gone."""
        self._send("delete", "", None, None)
        if self._poll(lambda: self.app() is None) is False:
            raise EngineError(
                f"the container app {self._name} is still there {IDLE_SECONDS:.0f} s after its "
                "deletion was accepted",
                "delete it in the portal, for it may bill, and run this again",
            )

    def wait_until_idle(self, tags: Mapping[str, str] | None = None) -> None:
        """Wait while Azure works on an earlier change, or does not show these tags yet.

        Raises:
            EngineError: it did not end in time.
        """
        visible = self._clock() + VISIBLE_SECONDS
        if not self._poll(lambda: self._idle(tags if self._clock() < visible else None)):
            raise EngineError(
                f"Azure has been changing the container app {self._name} for more than "
                f"{IDLE_SECONDS:.0f} s",
                "look at it in the portal; once the change has ended, run this again",
            )

    def _idle(self, tags: Mapping[str, str] | None) -> bool:
        app = self.app()
        if app is None:
            return True
        shown = tags is None or tags.items() <= (app.get("tags") or {}).items()
        return shown and settled(app)

    def _send(self, method: str, path: str, body: Json | None, check: Check | None) -> None:
        command = ["rest", "--method", method, "--url", _url(self._id + path)]
        stdin = None
        if body is not None:
            command += ["--body", "@-"]
            stdin = json.dumps(body)
        give_up = self._clock() + IDLE_SECONDS
        while True:
            try:
                self._az.change(*command, stdin=stdin, before_retry=check)
                return
            except AzError as error:
                if error.code != BUSY or self._clock() >= give_up:
                    raise
            self._az.say.detail("Azure is still working on an earlier change of the app")
            self._sleep(POLL_SECONDS)
            self.wait_until_idle()
            if check is not None:
                check()

    def _poll(self, done: Callable[[], bool]) -> bool:
        give_up = self._clock() + IDLE_SECONDS
        while not done():
            if self._clock() >= give_up:
                return False
            self._sleep(POLL_SECONDS)
        return True

    def _find(self, path: str) -> Json | None:
        found: Json | None = self._az.find("rest", "--method", "get", "--url", _url(path))
        return found

    def _list(self, path: str) -> list[Json]:
        found: list[Json] = []
        url: str | None = _url(path)
        while url:
            page = self._az.find("rest", "--method", "get", "--url", url) or {}
            found += page.get("value") or []
            url = page.get("nextLink")
        return found


_FINAL = frozenset({"Succeeded", "Failed", "Canceled", None})


def settled(app: Json) -> bool:
    """Whether Azure takes a further change of the app: a state that is not known means to wait."""
    return app["properties"].get("provisioningState") in _FINAL


def _url(path: str) -> str:
    return f"{path}?api-version={API_VERSION}"

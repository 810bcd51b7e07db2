"""What tests use: starts the double, gives environments for `az` and `gh`, asks and injects."""

from __future__ import annotations

import fnmatch
import json
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from .az import WarmAz
from .environments import REPOSITORY, Environments, Person, azure_bin

__all__ = ["REPOSITORY", "AzureDouble", "Person", "azure_bin"]

START_SECONDS = 30.0
STOP_SECONDS = 30.0
ANSWER_SECONDS = 120.0


class AzureDouble:
    """The double in a process of its own; use it as a context manager.

    Attributes:
        folder: everything of the run lies below it; the caller removes it.
        tenant, subscription: GUIDs.
        run_id: in the label of every container that the double starts.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tenant = self.subscription = self.run_id = ""
        self._facts: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._az: WarmAz | None = None
        self._made: Environments | None = None

    def __enter__(self) -> AzureDouble:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def subscription_id(self) -> str:
        """The subscription's resource identifier."""
        return f"/subscriptions/{self.subscription}"

    @property
    def owner(self) -> Person:
        """Who stands in for the person that sets everything up: Owner of the subscription."""
        return self.principal("owner")

    def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            RuntimeError: it ended or did not answer in time; with its last words.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / "double.log"
        python = str(azure_bin() / "python")
        command = [python, "-m", "tests.azure_double", "--dir", str(self.folder)]
        with log.open("wb") as output:
            # Its standard input is how it notices our end, even when we are killed.
            self._process = subprocess.Popen(
                command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=output, stderr=output
            )
        ready, deadline = self.folder / "ready.json", time.monotonic() + START_SECONDS
        while not ready.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"the Azure double does not start:\n{self.words()}")
            time.sleep(0.02)
        self._facts = json.loads(ready.read_text(encoding="utf-8"))
        self.tenant, self.subscription = self._facts["tenant"], self._facts["subscription"]
        self.run_id = self._facts["run_id"]
        self._az = WarmAz(self.folder / "bin")
        self._made = Environments(self.folder, self._facts)

    def stop(self) -> None:
        """End it, and what it started. Does nothing when it does not run."""
        if self._az is not None:
            self._az.stop()
            self._az = None
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def words(self) -> str:
        """What the process wrote: warnings, and tracebacks of faults of the double itself."""
        return (self.folder / "double.log").read_text(encoding="utf-8", errors="replace")

    def ask(self, question: str, document: dict[str, Any] | None = None) -> Any:
        """Put a question to the control API, also one of a provider.

        Raises:
            RuntimeError: the question is unknown or was put wrongly.
        """
        request = urllib.request.Request(
            f"{self._facts['control']}/{question}", json.dumps(document or {}).encode()
        )
        # Proxies of the environment must not stand in between.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=ANSWER_SECONDS) as response:
                return json.load(response)["answer"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode()) from error

    def reset(self) -> None:
        """Back to an empty subscription with its owner; nothing runs, nothing is planned."""
        self.ask("reset")

    def requests(
        self, method: str = "*", path: str = "*", principal: str = "*"
    ) -> list[dict[str, Any]]:
        """What reached the double, oldest first; shell patterns, case ignored in the path.

        Each has the attributes of `requestlog.Entry`.
        """
        return [
            each
            for each in self.ask("requests")
            if fnmatch.fnmatchcase(each["method"], method)
            and fnmatch.fnmatchcase(each["path"].lower(), path.lower())
            and fnmatch.fnmatchcase(each["principal"], principal)
        ]

    def inject(self, **fault: Any) -> None:
        """Plan a failure; the arguments are the attributes of `faults.Fault`."""
        self.ask("inject", fault)

    def habits(self, *names: str) -> None:
        """Let answers be spelled so from now on; see `azure_double.habits`."""
        self.ask("habits", {"names": names})

    def pending_faults(self) -> list[dict[str, Any]]:
        """Planned failures that have not struck as often as planned."""
        answer: list[dict[str, Any]] = self.ask("pending-faults")
        return answer

    def clear_faults(self, where: str = "") -> None:
        """Forget what is planned and has not struck yet: all of it, or what has this pattern."""
        self.ask("clear-faults", {"where": where})

    def held(self) -> list[dict[str, Any]]:
        """The requests that wait because of a fault with ``hold``, as in `requests`."""
        answer: list[dict[str, Any]] = self.ask("held")
        return answer

    def release(self, number: int) -> None:
        """Let a held request go on, by its number."""
        self.ask("release", {"number": number})

    def remove(self, identifier: str) -> None:
        """Delete a resource and all below it, as somebody does in the portal."""
        self.ask("remove", {"id": identifier})

    def resource(self, identifier: str) -> dict[str, Any] | None:
        """``{"id", "body", "hidden"}`` as stored, secrets included; None: there is none."""
        answer: dict[str, Any] | None = self.ask("resource", {"id": identifier})
        return answer

    def resources(self, scope: str = "/") -> list[str]:
        """The identifiers of all resources in a scope."""
        answer: list[str] = self.ask("resources", {"scope": scope})
        return answer

    def register(self, *namespaces: str) -> None:
        """Register resource providers, all where none is named, as `az provider register` does."""
        self.ask("register", {"namespaces": list(namespaces)})

    def principal(self, name: str, *roles: tuple[str, str]) -> Person:
        """An existing principal, also that of an identity, or a new one; with (role, scope)s."""
        found = self.ask("principal", {"name": name, "roles": [list(each) for each in roles]})
        return Person(**found)

    def github_repository(self, name: str, subjects: str = "immutable") -> dict[str, Any]:
        """Create OWNER/NAME; gives ``id``, ``owner_id`` and ``subject_prefix``.

        The subjects of its jobs are "immutable", "classic", or "unsaid": classic, of which the
        API says nothing, as it did before 2026.
        """
        answer: dict[str, Any] = self.ask("github-repository", {"name": name, "subjects": subjects})
        return answer

    def github_user(self, login: str) -> int:
        """Create a user; gives the number."""
        return int(self.ask("github-user", {"login": login}))

    def github_state(self, name: str) -> dict[str, Any]:
        """Environments and variables of a repository, as stored."""
        answer: dict[str, Any] = self.ask("github-state", {"name": name})
        return answer

    def oidc_token(self, subject: str, **claims: str) -> str:
        """A token as a job with this subject gets; ``audience`` and ``issuer`` may be given."""
        return str(self.ask("oidc-token", {"subject": subject, **claims}))

    def oidc_environment(self, subject: str) -> dict[str, str]:
        """ACTIONS_ID_TOKEN_REQUEST_URL and …_TOKEN of a job with this subject."""
        answer: dict[str, str] = self.ask("oidc-request", {"subject": subject})
        return answer

    def tokens_live(self, *, access: int, job: int) -> None:
        """How many seconds the access tokens and the jobs' tokens are valid that are made from
        now on, until the next reset.
        """
        self.ask("lifetimes", {"access": access, "job": job})

    def network(self) -> dict[str, str]:
        """The variables that lead any program to the double."""
        return self._environments().network()

    def env(self, person: Person | None = None) -> dict[str, str]:
        """A whole environment for a process: our `az`, `gh` with a token, new folders for all
        settings. With a person, `az` is logged in as that person.
        """
        return self._environments().make(person)

    def _environments(self) -> Environments:
        assert self._made is not None, "it was never started"
        return self._made

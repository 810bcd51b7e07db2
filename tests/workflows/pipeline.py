"""Runs the generated deploy.yml with act: real jobs, real az and Docker, the Azure double.

Actions cannot be fetched here, so each is a stand-in (`stand_ins/`); act takes it for the pinned
one. What act ignores (environments, concurrency, permissions) is read from the YAML elsewhere.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.azure_double.client import AzureDouble
from tests.once import BUILD

STAND_INS = Path(__file__).resolve().parent / "stand_ins"
USES = re.compile(r"uses: ([\w.-]+/([\w.-]+)(?:/[\w.-]+)*@[0-9a-f]{40})")
MINUTES = 40
JOBS = ("test", "build", "scan", "publish", "staging", "load", "quality", "production", "outcome")


@dataclass(frozen=True)
class Run:
    """What a run of the workflow did.

    Attributes:
        log: everything that act printed.
        passed: jobs that succeeded.
        failed: jobs that failed.
        signatures: what was signed, one line for each.
        attestations: what was attested, one line for each.
    """

    log: str
    passed: set[str]
    failed: set[str]
    signatures: list[str]
    attestations: list[str]

    def page(self) -> str:
        """The summary page of the run, as far as act shows it: what the outcome wrote."""
        lines = [
            line.partition("| ")[2]
            for line in self.log.splitlines()
            if line.startswith("[Deploy/Outcome") and "| " in line
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class Part:
    """Some jobs of the workflow, run as after the others have passed.

    Attributes:
        jobs: those that are run.
        outputs: what the others gave them, by the expression that asks for it.
        signatures: see ``Run``.
    """

    jobs: tuple[str, ...]
    outputs: Mapping[str, str] = field(default_factory=dict)
    signatures: tuple[str, ...] = ()

    def of(self, workflow: str) -> str:
        """The text of the workflow with these jobs only."""
        head, begin, body = workflow.partition("\njobs:\n")
        blocks = re.split(r"^(?=  \w+:$)", body, flags=re.MULTILINE)
        text = "".join(each for each in blocks if each.partition(":")[0].strip() in self.jobs)
        text = re.sub(r"^    needs: (.+)\n", self._needs, text, flags=re.MULTILINE)
        for asked, given in self.outputs.items():
            text = text.replace(f"${{{{ {asked} }}}}", given)
        return head + begin + text

    def _needs(self, line: re.Match[str]) -> str:
        needed = [each for each in re.findall(r"\w+", line[1]) if each in self.jobs]
        return f"    needs: [{', '.join(needed)}]\n" if needed else ""


class Pipeline:
    """A generated repository with an origin on GitHub, and what runs its workflows.

    Args:
        act: the program.
        repository: a checkout; `bootstrap` has set the variables of its workflows.
        name: OWNER/NAME on the double's GitHub.
        double: Azure and GitHub.
        folder: for this run's files.
        part: the jobs that are run instead of all of them.
    """

    def __init__(
        self,
        act: Path,
        repository: Path,
        name: str,
        double: AzureDouble,
        folder: Path,
        part: Part | None = None,
    ) -> None:
        self._act = act
        self._repository = repository
        self._name = name
        self._double = double
        self._folder = folder
        self._part = part

    def run(self, venv: Path) -> Run:
        """Push to main, and wait for the end of the run; see ``start``."""
        return self.ended(self.start(venv))

    def start(self, venv: Path) -> subprocess.Popen[bytes]:
        """Push to main; gives the running act, which a SIGINT cancels as a person on GitHub does.

        Args:
            venv: an environment with everything that the repository's Makefile would install.
        """
        for name in ("artifacts", "settings", "home"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        environment = self._environment(venv)
        if self._part is not None:
            signed = "".join(f"{line}\n" for line in self._part.signatures)
            (self._folder / "signatures").write_text(signed, encoding="utf-8")
        command = [str(self._act), "push", "-W", str(self._workflow())]
        command += ["-P", "ubuntu-24.04=-self-hosted", "--action-offline-mode", "--pull=false"]
        command += ["--eventpath", str(self._event()), "--artifact-server-path", ""]
        command += ["--artifact-server-addr", "127.0.0.1", "--cache-server-addr", "127.0.0.1"]
        command += ["--no-cache-server", "-s", "GITHUB_TOKEN=not-a-real-token"]
        command += ["-s", "API_KEYS=planted-key-of-the-service"]
        for action, stand_in in self._actions().items():
            command += ["--local-repository", f"{action}={stand_in}"]
        for name, value in self._variables().items():
            command += ["--var", f"{name}={value}"]
        for name, value in environment.items():
            command += ["--env", f"{name}={value}"]
        with (self._folder / "log").open("wb") as log:
            return subprocess.Popen(
                command,
                cwd=self._repository,
                env={**environment, "HOME": str(self._folder / "home")},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def ended(self, running: subprocess.Popen[bytes]) -> Run:
        """Wait for the end of a run; what it did."""
        try:
            running.wait(MINUTES * 60)
        finally:
            running.kill()
        return self._read(self.log())

    def log(self) -> str:
        """What act has printed so far."""
        return (self._folder / "log").read_text(encoding="utf-8", errors="replace")

    def _read(self, log: str) -> Run:
        titles = {"publish": "Publish", "load": "Load test", "build": "Build once"}
        names = {titles.get(job, job.capitalize()): job for job in JOBS}
        ended = re.findall(
            r"^\[Deploy/([^\]]+?)\s*\].*🏁 +Job (succeeded|failed)", log, re.MULTILINE
        )
        result = {names[title.strip()]: word for title, word in ended}
        return Run(
            log,
            {job for job, word in result.items() if word == "succeeded"},
            {job for job, word in result.items() if word == "failed"},
            self._lines("signatures"),
            self._lines("attestations"),
        )

    def _lines(self, name: str) -> list[str]:
        path = self._folder / name
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def _workflow(self) -> Path:
        """The workflow without the one key that act's schema does not know yet."""
        text = (self._repository / ".github" / "workflows" / "deploy.yml").read_text()
        text = text.replace("      deployment: false\n", "")
        path = self._folder / "deploy.yml"
        path.write_text(text if self._part is None else self._part.of(text))
        return path

    def _event(self) -> Path:
        path = self._folder / "event.json"
        repository = {"visibility": "public", "default_branch": "main"}
        path.write_text(json.dumps({"ref": "refs/heads/main", "repository": repository}))
        return path

    def _actions(self) -> dict[str, Path]:
        files = (".github/workflows/deploy.yml", "engine/actions/prepare/action.yml")
        text = "".join((self._repository / name).read_text() for name in files)
        return {action: STAND_INS / name for action, name in USES.findall(text)}

    def _variables(self) -> dict[str, str]:
        state = self._double.github_state(self._name)
        return dict(state["variables"])

    def _environment(self, venv: Path) -> dict[str, str]:
        state = self._double.github_state(self._name)
        prefix = state["subject_prefix"]
        subjects = {
            "publish": f"{prefix}:environment:registry",
            "staging": f"{prefix}:environment:staging",
            "production": f"{prefix}:environment:production",
        }
        requests = {job: self._double.oidc_environment(each) for job, each in subjects.items()}
        table = {
            "clients": {
                name: state["environments"][name]["variables"]["AZURE_CLIENT_ID"]
                for name in ("staging", "production")
            },
            "tokens": {job: each["ACTIONS_ID_TOKEN_REQUEST_URL"] for job, each in requests.items()},
        }
        made = self._double.env()
        made["PATH"] = f"{made['PATH']}:{os.environ['PATH']}"
        return made | {
            "DOCKER": shutil.which("docker", path="/usr/bin") or "docker",
            "ACTIONS_ID_TOKEN_REQUEST_URL": requests["publish"]["ACTIONS_ID_TOKEN_REQUEST_URL"],
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": requests["publish"]["ACTIONS_ID_TOKEN_REQUEST_TOKEN"],
            "MYPY_CACHE_DIR": str(BUILD / "mypy-service"),
            "STAND_IN_PYTHON": str(venv / "bin" / "python"),
            "STAND_IN_VENV": str(venv),
            "STAND_IN_TOOLS": str(STAND_INS / "tools"),
            "STAND_IN_IDENTITIES": json.dumps(table),
            "STAND_IN_SETTINGS": str(self._folder / "settings"),
            "STAND_IN_ARTIFACTS": str(self._folder / "artifacts"),
            "STAND_IN_SIGNATURES": str(self._folder / "signatures"),
            "STAND_IN_ATTESTATIONS": str(self._folder / "attestations"),
        }

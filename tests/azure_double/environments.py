"""Environments of processes under test: where they find the double, `az`, and their settings."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LOGIN_SECONDS = 120.0
AZ_SETTINGS = """\
[cloud]
name = AzureCloud
[core]
collect_telemetry = false
only_show_errors = true
no_color = true
login_experience_v2 = off
[extension]
use_dynamic_install = no
"""


def azure_bin() -> Path:
    """The programs of the environment of requirements/azure.txt: ACI_ML_AZURE or build/azure."""
    chosen = os.environ.get("ACI_ML_AZURE")
    return (Path(chosen) if chosen else REPOSITORY / "build" / "azure") / "bin"


@dataclass(frozen=True)
class Person:
    """Somebody, or something, that can log in with a secret."""

    name: str
    client_id: str
    object_id: str
    secret: str


class Environments:
    """Makes environments below one folder.

    Args:
        folder: of the double's run; `az` is in its folder "bin".
        facts: the double's ready file.
    """

    def __init__(self, folder: Path, facts: Mapping[str, str]) -> None:
        self._folder = folder
        self._facts = facts
        self._count = 0

    def network(self) -> dict[str, str]:
        """The variables that lead any program to the double."""
        proxy, bundle = self._facts["proxy"], self._facts["bundle"]
        names = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")
        return {
            **dict.fromkeys(names, proxy),
            **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
            **dict.fromkeys(("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE"), bundle),
        }

    def make(self, person: Person | None) -> dict[str, str]:
        """A new environment with folders of its own; with a person, `az` is logged in."""
        self._count += 1
        home = self._folder / f"home-{self._count}"
        made = {
            **{name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ},
            **self.network(),
            "PATH": f"{self._folder / 'bin'}:{os.environ['PATH']}",
            "HOME": str(home),
            "AZURE_CONFIG_DIR": str(home / "azure"),
            "GH_CONFIG_DIR": str(home / "gh"),
            "GH_TOKEN": self._facts["github_token"],
            "GH_PROMPT_DISABLED": "1",
            "GH_NO_UPDATE_NOTIFIER": "1",
            "DOCKER_CONFIG": str(home / "docker"),
        }
        (home / "docker").mkdir(parents=True)
        if person is None:
            _write_settings(home / "azure")
        else:
            shutil.copytree(self._logged_in(person, made), home / "azure")
        return made

    def _logged_in(self, person: Person, env: dict[str, str]) -> Path:
        """A folder in which this person is logged in; kept and copied."""
        folder = self._folder / f"login-{person.client_id}"
        if not folder.exists():
            _write_settings(folder)
            login = ["login", "--service-principal", "--username", person.client_id]
            login += [f"--password={person.secret}", "--tenant", self._facts["tenant"]]
            done = subprocess.run(
                [self._folder / "bin" / "az", *login, "--output", "none"],
                env={**env, "AZURE_CONFIG_DIR": str(folder)},
                capture_output=True,
                text=True,
                timeout=LOGIN_SECONDS,
                check=False,
            )
            if done.returncode:
                shutil.rmtree(folder)
                raise RuntimeError(f"az login of {person.name} failed:\n{done.stderr}")
        return folder


def _write_settings(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "config").write_text(AZ_SETTINGS, encoding="utf-8")

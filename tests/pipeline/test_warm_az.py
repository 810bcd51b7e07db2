"""The `az` of the tests, forked from a process that has imported it, does what a cold one does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.azure_double.client import AzureDouble, azure_bin

from .commands import Azure
from .double_world import eventually

pytestmark = pytest.mark.slow

COLD = str(azure_bin() / "az")
DOCUMENT = {
    "name": "one",
    "type": "Microsoft.ContainerInstance/containerGroups",
    "apiVersion": "2023-05-01",
    "location": "westeurope",
    "properties": {"osType": "Linux", "containers": [], "notAzures": True},
}
CLOUD = "[Here]\nendpoint_management = https://here.invalid\n"
COMMANDS = {
    "no command": (("nonsense",), "", 2),
    "not there": (("group", "show", "--name", "nowhere"), "", 3),
    "settings of a folder": (("cloud", "list", "--query", "[].name"), "", 0),
    "where settings are": (("config", "get"), "", 0),
    "a table": (("account", "list", "--output", "table"), "", 0),
    "a document": (
        ("container", "create", "--resource-group", "rg", "--file", "/dev/stdin"),
        json.dumps(DOCUMENT),
        1,
    ),
    "help": (("acr", "login", "--help"), "", 0),
}


@pytest.fixture(scope="module")
def env(running_double: AzureDouble) -> dict[str, str]:
    """An environment with a setting of its own, beside another one without it."""
    running_double.reset()
    running_double.register()
    Azure(running_double, running_double.env(running_double.owner)).group("rg")
    env = running_double.env(running_double.owner)
    (Path(env["AZURE_CONFIG_DIR"]) / "clouds.config").write_text(CLOUD, encoding="utf-8")
    return env


@pytest.mark.parametrize("name", COMMANDS)
def test_it_prints_and_returns_the_same(env: dict[str, str], name: str) -> None:
    arguments, given, code = COMMANDS[name]
    warm, cold = (
        subprocess.run(
            [program, *arguments],
            env=env,
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        for program in ("az", COLD)
    )
    assert (warm.returncode, warm.stdout, warm.stderr) == (code, cold.stdout, cold.stderr)
    assert cold.returncode == code
    assert warm.stdout + warm.stderr


def test_settings_of_one_folder_are_not_those_of_another(
    running_double: AzureDouble, env: dict[str, str]
) -> None:
    other = Azure(running_double, running_double.env(running_double.owner))
    assert "Here" in Azure(running_double, env)("cloud", "list", "--query", "[].name")
    assert "Here" not in other("cloud", "list", "--query", "[].name")


def interrupted(double: AzureDouble, env: dict[str, str], program: str, number: int) -> int:
    """The exit code of an `az` that gets a signal while Azure works on its request."""
    where = "PUT */resourcegroups/interrupted"
    double.inject(where=where, hold=True)
    arguments = ("group", "create", "--name", "interrupted", "--location", "westeurope")
    process = subprocess.Popen(
        [program, *arguments],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    (held,) = eventually(double.held, 60)
    os.kill(process.pid, number)
    try:
        # The end of its output is the end of whatever held the other end open.
        process.communicate(timeout=30)
    finally:
        double.release(held["number"])
        double.clear_faults(where)
    return process.returncode


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_it_alike(
    running_double: AzureDouble, env: dict[str, str], number: int
) -> None:
    warm, cold = (interrupted(running_double, env, each, number) for each in ("az", COLD))
    assert warm == cold

"""Fixtures of all tests: rendered services, and an environment in which their code runs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cookiecutter.main import cookiecutter

from tests import signals
from tests.durations import (
    pytest_runtest_makereport,
    pytest_runtest_protocol,
    pytest_terminal_summary,
)
from tests.once import installed
from tests.tiers import pytest_collection_modifyitems as sample
from tests.tiers import pytest_ignore_collect

__all__ = [
    "pytest_ignore_collect",
    "pytest_runtest_makereport",
    "pytest_runtest_protocol",
    "pytest_terminal_summary",
]

REPOSITORY = Path(__file__).resolve().parents[1]

Rendered = Callable[..., Path]

# They run in the environment of the service: python -m scripts.test_engine.
collect_ignore = ["engine"]


# These take minutes: begun first, they leave the short ones to fill the gaps.
LONG = (
    "workflows/test_deploy_run.py",
    "pipeline/test_rollout_fleet.py",
    "pipeline/test_rollout_killed.py",
    "pipeline/test_rollout.py",
    "pipeline/test_containerapps_rollout.py",
    "pipeline/test_containerapps.py",
    "readme/test_readmes.py",
    "monitoring/test_prometheus.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files of ``LONG`` come first; of what is `sampled` the first case is fast."""
    sample(items)
    places = {REPOSITORY / "tests" / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_configure() -> None:
    """Child processes import onnxruntime; its telemetry is off before they do."""
    signals.restore()
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    # What the tests start here is asked without the proxy that the rest of the network needs.
    listed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if listed != "*":
        direct = ",".join(filter(None, [listed, "127.0.0.1,localhost"]))
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = direct


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rendered]:
    """A function that gives the service rendered for two answers; nobody may change it.

    A change would be seen by other files of tests alone, and only in some orders.
    """
    done: dict[tuple[str, str], Path] = {}

    def render(model_format: str, runs_on: str = "aci-cpu") -> Path:
        if (model_format, runs_on) not in done:
            output = tmp_path_factory.mktemp(f"service-{model_format}")
            answers = {"model_format": model_format, "runs_on": runs_on}
            project = cookiecutter(
                str(REPOSITORY), no_input=True, output_dir=str(output), extra_context=answers
            )
            done[model_format, runs_on] = Path(project)
        return done[model_format, runs_on]

    yield render
    for project in done.values():
        command = ["git", "-C", str(project), "status", "--porcelain", "--ignored"]
        status = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        changed = "\n".join(
            line for line in status.splitlines() if not line.endswith(("__pycache__/", "_cache/"))
        )
        assert not changed, f"a test changed a rendered service that all share:\n{changed}"


@pytest.fixture(scope="session")
def rendered_service(rendered: Rendered) -> Path:
    """The service rendered with the default answers: ONNX on CPU."""
    return rendered("onnx")


@pytest.fixture(scope="session")
def service_python(rendered_service: Path) -> Path:
    """An interpreter with the service's development lock installed, kept in build/ by its hash."""
    return installed("service-venv", rendered_service / "requirements" / "dev.txt") / "python"


@pytest.fixture(scope="session")
def deploy_python(rendered_service: Path) -> Path:
    """An interpreter with what deploys have in the workflows and no package more, kept likewise."""
    return installed("deploy-venv", rendered_service / "requirements" / "deploy.txt") / "python"

"""Every answer gives a deploy configuration without a fault, but for the retired GPU.

The jobs of its workflows may take as long as its deploys.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cookiecutter.main import cookiecutter

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

READ = """
import json
from pathlib import Path
from engine.deploy.config.read import environment_names, read_environment
from engine.errors import ConfigError
from engine.upkeep.workflow_limits import overruns

found = {"overruns": overruns(Path())}
for stage in environment_names(Path()):
    try:
        project, environment = read_environment(stage, Path())
    except ConfigError as error:
        found[stage] = [str(fault) for fault in error.faults]
    else:
        found[stage] = [project.accelerator, environment.target, environment.gpu]
print(json.dumps(found))
"""
LONGEST = "a" * 19 + "-" + "b" * 20


def read(service_python: Path, folder: Path, **answers: str) -> Any:
    """Render with these answers and read both environments in the service's own environment."""
    project = cookiecutter(
        str(REPOSITORY), no_input=True, output_dir=str(folder), extra_context=answers
    )
    done = subprocess.run(
        [str(service_python), "-c", READ],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("runs_on", "model_format", "content"),
    [
        ("aci-cpu", "onnx", ["cpu", "aci", "none"]),
        ("aci-cpu", "joblib", ["cpu", "aci", "none"]),
        ("containerapps-t4", "onnx", ["gpu", "containerapps", "t4"]),
        ("containerapps-a100", "onnx", ["gpu", "containerapps", "a100"]),
    ],
)
def test_the_written_files_have_no_fault(
    runs_on: str, model_format: str, content: list[str], service_python: Path, tmp_path: Path
) -> None:
    answers = {"runs_on": runs_on, "model_format": model_format, "project_slug": LONGEST}
    found = read(service_python, tmp_path, **answers)
    assert found == {"overruns": [], "staging": content, "production": content}


def test_a_gpu_on_container_instances_is_the_only_fault(
    service_python: Path, tmp_path: Path
) -> None:
    found = read(service_python, tmp_path, runs_on="aci-gpu")
    assert list(found) == ["overruns", "staging", "production"]
    for stage in ("staging", "production"):
        (fault,) = found[stage]
        assert f"deploy/environments/{stage}.yaml:13: gpu is v100" in fault
        assert "retired them on 2025-07-14" in fault
        assert "target: containerapps" in fault

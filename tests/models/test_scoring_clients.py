"""MLflow's own client asks the service, unchanged, and gets what the model answers in Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.models.conftest import Packaged, Served

pytestmark = pytest.mark.slow


def test_mlflow_s_client_gets_what_the_model_answers(
    program: Callable[..., str], packaged: Packaged, served: Served, tmp_path: Path
) -> None:
    program("scoring_models.py", "fit", tmp_path)
    models = tmp_path / "models"
    done = packaged(tmp_path / "m.joblib", "--samples", tmp_path / "s.json", "--models-dir", models)
    assert done.returncode == 0, done.stdout + done.stderr
    with served(models) as url:
        said = json.loads(program("scoring_models.py", "ask", tmp_path, url.rpartition(":")[2]))
    assert said["answers"] == said["wanted"]
    assert {label for each in said["wanted"] for label in each} == {"lived", "died"}
    assert said["version"]

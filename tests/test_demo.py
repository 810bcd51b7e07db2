"""`make demo SERVE=0`: the whole way, for each model format, on this machine's Python."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.conftest import REPOSITORY

from .service.running import free_port

SECONDS = 300


@pytest.mark.slow
@pytest.mark.parametrize("model_format", ["onnx", "joblib"])
def test_the_demo_prints_a_prediction_and_ends(model_format: str) -> None:
    command = ["make", "demo", "SERVE=0", f"FORMAT={model_format}", f"PORT={free_port()}"]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "MAKEFLAGS": ""},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"predictions":[2],"labels":["virginica"]' in done.stdout

"""A model whose library needs a Debian package that the image of Python lacks: LightGBM.

Its image is built as an engineer builds it, and answers as the library did in training.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Rendered
from tests.service.conftest import docker_engine
from tests.service.containers import HARDENED, build_image, built_image, running, unused_image_name

__all__ = ["docker_engine"]

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]

PROGRAM = """
import json, sys
import joblib
import numpy as np
from lightgbm import LGBMClassifier

x = np.random.default_rng(3).uniform(0, 9, (80, 2))
model = LGBMClassifier(n_estimators=4, verbose=-1).fit(x, x[:, 0] + x[:, 1] > 9)
joblib.dump(model, "trees.joblib")
np.savez("trees.npz", X=x[:8])
print(json.dumps([x[8:20].tolist(), model.predict(x[8:20]).tolist()]))
"""
LOCKED = re.compile(r"^lightgbm==\S+ .*?(?=^\S)", re.MULTILINE | re.DOTALL)


def test_the_image_has_what_lightgbm_needs_and_says_so_where_it_has_not(
    docker_engine: None, rendered: Rendered, models_python: Path, tmp_path: Path
) -> None:
    ignored = shutil.ignore_patterns(".git", "__pycache__")
    service = Path(shutil.copytree(rendered("joblib"), tmp_path / "service", ignore=ignored))
    variables = {**os.environ, "PYTHONPATH": str(service)}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [models_python, "-W", "ignore", *arguments],
            cwd=service, env=variables, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    rows, expected = json.loads(run("-c", PROGRAM))
    with (service / "requirements" / "serve-cpu.txt").open("a") as lock:
        found = LOCKED.search((REPOSITORY / "requirements" / "models.txt").read_text())
        assert found is not None
        lock.write(found[0])
    told = run("-m", "engine.packaging", "trees.joblib", "--samples", "trees.npz")
    assert "the image gets the Debian packages libgomp1" in told
    with built_image(service, "cpu") as tag, running(tag, *HARDENED) as container:
        container.seconds_until_ready(90)
        answer = container.post("/predict/trees", {"data": rows})[1]
        assert answer["predictions"] == expected
    manifest = service / "models" / "trees" / "model.yaml"
    text = manifest.read_text()
    listed = re.search(r"^system:\n- libgomp1\n", text, re.MULTILINE)
    assert listed is not None
    manifest.write_text(text.replace(listed[0], ""))
    with unused_image_name() as tag:
        done = build_image(service, tag, "cpu")
        assert done.returncode == 1
        assert "it needs the system library libgomp.so.1, which is not installed" in done.stdout
        assert "add it to requirements/system.txt" in done.stdout

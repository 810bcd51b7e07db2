"""A tokenizer of Hugging Face in front of ONNX, with the code of docs/models.md as it is there.

The tokens, and so the answers that are expected, come from the library that trained the tokenizer,
in a process of its own. It is laid beside the service, as a lock with it would install it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.conftest import REPOSITORY
from tests.once import BUILD, install, locked, once
from tests.service.running import running

pytestmark = pytest.mark.slow
TEXTS = ["a good day", "playing badly", "Bad, playful day!", "an unseen tune", "good good good"]
LABELS = ("calm", "lively")
LOCK = REPOSITORY / "requirements" / "text.txt"


@pytest.fixture(scope="module")
def library() -> Path:
    """A folder with tokenizers."""
    folder = BUILD / f"text-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"
    with once(folder) as missing:
        if missing:
            target = ("--python", sys.executable, "--target", str(folder))
            install("--no-deps", *target, *locked(LOCK))
    return folder


def run(python: Path, service: Path, library: Path, *arguments: str | Path) -> Any:
    """A command in the service, with the library and the networks of the tests."""
    paths = (library, service, REPOSITORY)
    return subprocess.run(
        [str(each) for each in (python, "-W", "ignore", *arguments)],
        cwd=service,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        timeout=180,
    )


@pytest.mark.parametrize(
    "network",
    ["classifier", pytest.param("sentence", marks=pytest.mark.exhaustive)],
)
def test_text_in_and_out_what_training_s_library_says(
    service_python: Path, rendered_service: Path, library: Path, tmp_path: Path, network: str
) -> None:
    service = tmp_path / "service"
    shutil.copytree(rendered_service, service, symlinks=True)
    trained = run(
        service_python, service, library, Path(__file__).with_name("text_models.py"),
        tmp_path, network, json.dumps(TEXTS),
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    expected = json.loads(trained.stdout)
    code, mean = (
        block
        for block in re.findall(
            r"```python\n(.*?)```", (service / "docs/models.md").read_text(), re.S
        )
        if "package_file" in block or "last_hidden_state" in block
    )
    if network == "sentence":
        code = code.partition("def postprocess")[0] + mean
    (tmp_path / "model_code.py").write_text(code)
    (tmp_path / "texts.csv").write_text("text\n" + "".join(f'"{text}"\n' for text in TEXTS))
    package: list[str | Path] = [
        "-m",
        "engine.packaging",
        tmp_path / "model.onnx",
        "--name",
        "text",
    ]
    package += ["--samples", tmp_path / "texts.csv", "--code", tmp_path / "model_code.py"]
    package += ["--file", tmp_path / "tokenizer.json", "--models-dir", tmp_path / "models"]
    package += ["--batching", "declared"]
    if network == "classifier":
        package += ["--labels", ",".join(LABELS)]
    refused = run(service_python, service, library, *package)
    assert refused.returncode == 1
    assert "needs the module 'tokenizers'" in refused.stderr
    assert "requirements/serve-cpu.in" in refused.stderr
    pin = re.search(r"^tokenizers==\S+", LOCK.read_text(), re.M)
    assert pin is not None
    with (service / "requirements" / "serve-cpu.txt").open("a") as lock:
        lock.write(f"{pin.group()}\n")
    done = run(service_python, service, library, *package)
    assert done.returncode == 0, done.stdout + done.stderr
    settings = {"MODELS_DIR": str(tmp_path / "models"), "PYTHONPATH": str(library)}
    with running(service_python, service, **settings) as url:
        answers = [
            httpx.post(f"{url}/predict", json={"data": data}).json()
            for data in (TEXTS, [{"text": text} for text in TEXTS])
        ]
    for answer in answers:
        if network == "sentence":
            np.testing.assert_allclose(answer["predictions"], expected["mean"], rtol=1e-5)
            continue
        assert answer["predictions"] == expected["label"]
        assert answer["labels"] == [LABELS[each] for each in expected["label"]]
        found = answer["outputs"]["probabilities"]
        np.testing.assert_allclose(found, expected["probabilities"], rtol=1e-5)

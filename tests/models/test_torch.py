"""The recipe for PyTorch in docs/models.md, as it is written there.

PyTorch is installed for `make test-all` only.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.models.conftest import environment

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]

MODEL = """
import torch
torch.manual_seed(1)
model = torch.nn.Sequential(
    torch.nn.Conv2d(3, 4, 3, stride=4), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
    torch.nn.Flatten(), torch.nn.Linear(4, 5),
)
"""


def test_the_recipe_gives_a_package_that_answers_as_pytorch(
    rendered_service: Path, torch_python: Path, tmp_path: Path
) -> None:
    text = (rendered_service / "docs" / "models.md").read_text(encoding="utf-8")
    recipe = re.search(r"## PyTorch.*?```python\n(.*?)```", text, re.DOTALL)
    assert recipe is not None
    program = tmp_path / "recipe.py"
    program.write_text(MODEL + recipe[1])
    variables = environment(rendered_service)
    subprocess.run([torch_python, program], cwd=tmp_path, env=variables, check=True)
    arguments: list[str | Path] = [
        "--samples",
        tmp_path / "samples.npz",
        "--models-dir",
        tmp_path / "models",
    ]
    done = subprocess.run(
        [torch_python, "-m", "engine.packaging", tmp_path / "network.onnx", *arguments],
        cwd=rendered_service,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "takes   image FP32[-1, 3, 224, 224]" in done.stdout
    assert "golden  given with the samples, answered alike" in done.stdout

"""A copy of the sample whose package has the reference of its training data."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

# The table of scikit-learn that the sample was trained on, as a file.
WRITE = """
from sklearn.datasets import load_iris
data = load_iris()
with open("{path}", "w") as file:
    print(*data.feature_names, sep=",", file=file)
    for row in data.data.tolist():
        print(*row, sep=",", file=file)
"""


def with_reference(python: Path, service: Path, folder: Path) -> Path:
    """The folder of models with their reference."""
    models, rows = folder / "models", folder / "train.csv"
    shutil.copytree(service / "models", models)
    subprocess.run([python, "-c", WRITE.format(path=rows)], check=True)
    subprocess.run(
        [python, "-m", "engine.drift", "record", rows],
        cwd=service,
        env=os.environ | {"MODELS_DIR": str(models)},
        check=True,
    )
    return models

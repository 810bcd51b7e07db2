"""Labelled rows of the sample, and a model that is worse on them: programs of the service's Python.

`python worse_model.py rows FILE` writes Fisher's data with its species; `python worse_model.py
model FOLDER`, run in a generated repository, packages what was trained on half-wrong species.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_iris


def rows(path: Path) -> None:
    """Write the measurements and the name of the species."""
    iris = load_iris()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*iris.feature_names, "label"])
        for features, species in zip(iris.data, iris.target, strict=True):
            writer.writerow([*features, iris.target_names[species]])


def model(folder: Path) -> None:
    """Run the repository's own training on data with random species in it."""
    sys.path.insert(0, str(Path.cwd()))
    from training import train  # type: ignore[import-not-found,unused-ignore]

    def garbled() -> Any:
        iris, random = load_iris(), np.random.default_rng(1)
        wrong = random.random(len(iris.target)) < 0.6
        iris.target[wrong] = random.integers(3, size=wrong.sum())
        return iris

    train.load_iris = garbled
    sys.argv = ["train", "--models-dir", str(folder)]
    train.main()


if __name__ == "__main__":
    {"rows": rows, "model": model}[sys.argv[1]](Path(sys.argv[2]))

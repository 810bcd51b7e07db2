"""Package models of other kinds than the sample, as an owner does.

A program, run in the folder of a rendered service: `python other_models.py FOLDER` keeps its
sources in FOLDER, and writes into FOLDER/models:

- `churn`: scikit-learn, fitted on a DataFrame with text and missing values, its labels are text;
- `scores`: a network whose only output are three floats, with no label beside them;
- `percent`: the same with code that adds an output;
- `pair`: two inputs, one of them text, and one golden sample.
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pandas as pd
from engine.packaging.options import Options
from engine.packaging.package import package
from onnx import TensorProto, helper
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

CODE = """
def postprocess(outputs):
    return {**outputs, "percent": outputs["scores"] * 100}
"""


def main() -> None:
    """Package them all."""
    folder = Path(sys.argv[1])
    models = folder / "models"
    package(str(_churn(folder)), Options(samples=folder / "churn.csv"), models)
    _locked("scikit-learn", "pandas")
    scores = str(_scores(folder))
    package(scores, Options(samples=folder / "scores.npz"), models)
    (folder / "code.py").write_text(CODE)
    percent = Options(name="percent", samples=folder / "scores.npz", code=folder / "code.py")
    package(scores, percent, models)
    package(str(_pair(folder)), Options(samples=folder / "pair.npz"), models)


def _locked(*names: str) -> None:
    """Put into the lock of what is served what `make model` asks for, as `make lock` does."""
    with Path("requirements/serve-cpu.txt").open("a") as lock:
        lock.writelines(f"{name}=={metadata.version(name)}\n" for name in names)


def _churn(folder: Path) -> Path:
    rows = [[20.5, "monthly"], [30.0, "yearly"], [None, "monthly"], [75.25, "yearly"]]
    table = pd.DataFrame(rows * 5, columns=["age", "plan"])
    columns = make_column_transformer((SimpleImputer(), ["age"]), (OneHotEncoder(), ["plan"]))
    estimator = make_pipeline(columns, LogisticRegression())
    estimator.fit(table, ["leaves", "stays", "leaves", "stays"] * 5)
    joblib.dump(estimator, folder / "churn.joblib")
    table[:4].to_csv(folder / "churn.csv", index=False)
    return folder / "churn.joblib"


def _scores(folder: Path) -> Path:
    samples = np.random.default_rng(2).normal(size=(6, 5)).astype(np.float32)
    _samples(folder / "scores.npz", pixels=samples)
    weights = np.random.default_rng(3).normal(size=(5, 3)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["pixels", "weights"], ["sums"]),
        helper.make_node("Softmax", ["sums"], ["scores"], axis=1),
    ]
    inputs = [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["rows", 5])]
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["rows", 3])]
    constants = [onnx.numpy_helper.from_array(weights, "weights")]
    return _saved(folder, helper.make_graph(nodes, "scores", inputs, outputs, constants))


def _pair(folder: Path) -> Path:
    _samples(folder / "pair.npz", words=np.array(["one"]), times=np.array([3]))
    nodes = [
        helper.make_node("Identity", ["words"], ["same"]),
        helper.make_node("Neg", ["times"], ["less"]),
    ]
    inputs = [
        helper.make_tensor_value_info("words", TensorProto.STRING, ["rows"]),
        helper.make_tensor_value_info("times", TensorProto.INT64, ["rows"]),
    ]
    outputs = [
        helper.make_tensor_value_info("same", TensorProto.STRING, ["rows"]),
        helper.make_tensor_value_info("less", TensorProto.INT64, ["rows"]),
    ]
    return _saved(folder, helper.make_graph(nodes, "pair", inputs, outputs))


def _samples(path: Path, **inputs: Any) -> None:
    arrays: dict[str, Any] = {f"input/{name}": value for name, value in inputs.items()}
    np.savez(path, **arrays)


def _saved(folder: Path, graph: onnx.GraphProto) -> Path:
    path = folder / f"{graph.name}.onnx"
    imports = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=10), path)
    return path


if __name__ == "__main__":
    main()

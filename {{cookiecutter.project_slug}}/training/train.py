"""Train the sample model and package it: `python -m training.train`.

Logistic regression on Fisher's iris data. Trained and exported in float32, because ONNX Runtime's
operators for classical models compute in float32 and a model trained on float64 may answer
differently near its decision boundaries.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from engine.drift.columns import Values
from engine.drift.record import put_reference
from engine.packaging.package import Format, Source, add_package
from engine.serving.errors import StartupError
from engine.serving.package.digest import MANIFEST
from engine.serving.package.manifest import read_manifest

NAME = "iris"
VERSION = "1.0.0"
# The golden samples are distributed like the rest: a load test with them is no drift.
SEED = 70
GOLDEN_SAMPLES = 30
TARGET_OPSET = 21
TOLERANCE = {"absolute": 1e-5, "relative": 1e-5}


def main() -> None:
    """Train, print the accuracy on held-out samples, write models/iris."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    parser.add_argument("--models-dir", type=Path, default=Path("models"))
    parser.add_argument("--format", choices=("onnx", "joblib"), help="default: as it was, or onnx")
    options = parser.parse_args()
    form: Format = options.format or _present_format(options.models_dir)

    iris = load_iris()
    inputs = iris.data.astype(np.float32)
    train_x, test_x, train_y, test_y = train_test_split(
        inputs, iris.target, test_size=GOLDEN_SAMPLES, stratify=iris.target, random_state=SEED
    )
    estimator = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    estimator.fit(train_x, train_y)
    print(f"accuracy on {len(test_y)} held-out samples: {estimator.score(test_x, test_y):.3f}")

    source = _source(estimator, form, test_x, list(iris.feature_names), list(iris.target_names))
    folder, remarks = add_package(options.models_dir, source)
    print(f"wrote {folder} ({form}), golden check passed")
    for remark in remarks:
        print(f"  note    {remark}")
    values = Values(read_manifest(folder))
    values.add({"features": train_x}, _answers(estimator, train_x))
    print(put_reference(values, folder, "the training data"))


def _answers(estimator: Any, inputs: Any) -> dict[str, Any]:
    return {
        "label": estimator.predict(inputs).astype(np.int64),
        "probabilities": estimator.predict_proba(inputs).astype(np.float32),
    }


def _source(
    estimator: Any, form: Format, samples: Any, features: list[str], labels: list[str]
) -> Source:
    outputs: list[dict[str, Any]] = [
        {
            "name": "label",
            "datatype": "INT64",
            "shape": [-1],
            "labels": [str(label) for label in labels],
        },
        {
            "name": "probabilities",
            "datatype": "FP32",
            "shape": [-1, len(labels)],
            "labels": [str(label) for label in labels],
            "exclusive": True,
            "tolerance": dict(TOLERANCE),
        },
    ]
    libraries: tuple[str, ...] = ("scikit-learn", "numpy", "joblib")
    if form == "joblib":
        for output, method in zip(outputs, ("predict", "predict_proba"), strict=True):
            output["method"] = method
        model = _pickled(estimator)
    else:
        libraries = (*libraries, "skl2onnx", "onnx")
        model = _exported(estimator, len(features), len(labels))
    return Source(
        name=NAME,
        version=VERSION,
        description="Species of an iris flower from four measurements in centimetres.",
        format=form,
        model=model,
        inputs=[
            {
                "name": "features",
                "datatype": "FP32",
                "shape": [-1, len(features)],
                "features": features,
            }
        ],
        outputs=outputs,
        golden_inputs={"features": samples},
        golden_outputs=_answers(estimator, samples),
        training={
            "estimator": "StandardScaler, LogisticRegression",
            "data": "Iris (R. A. Fisher, 1936), the copy in scikit-learn",
            "licence": "the data is in the public domain",
            "source": "training/train.py",
        },
        libraries=libraries,
    )


def _pickled(estimator: Any) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(estimator, buffer)
    return buffer.getvalue()


def _exported(estimator: Any, features: int, classes: int) -> bytes:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType

    model: Any = to_onnx(
        estimator,
        # The default is a random name, and the file would differ every time.
        name=NAME,
        initial_types=[("features", FloatTensorType([None, features]))],
        final_types=[
            ("label", Int64TensorType([None])),
            ("probabilities", FloatTensorType([None, classes])),
        ],
        # A matrix of probabilities, not a list of dictionaries.
        options={"zipmap": False},
        target_opset=TARGET_OPSET,
    )
    # The converter lists them in the order of a set; sorted, the bytes are always the same.
    imports = sorted(model.opset_import, key=lambda each: str(each.domain))
    del model.opset_import[:]
    model.opset_import.extend(imports)
    content: bytes = model.SerializeToString()
    return content


def _present_format(models_dir: Path) -> Format:
    if not (models_dir / NAME / MANIFEST).exists():
        return "onnx"
    try:
        return read_manifest(models_dir / NAME).format
    except StartupError:
        return "onnx"


if __name__ == "__main__":
    main()

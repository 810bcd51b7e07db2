"""Log models with real MLflow: scikit-learn, ONNX and Keras, as folders, runs and registered.

A program: `python mlflow_models.py OUTPUT` writes folders, a tracking store in `OUTPUT/store`, and
`OUTPUT/answers.npz` with samples and what each framework answers; it prints the run's id.
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import keras
import mlflow
import mlflow.keras
import mlflow.onnx
import mlflow.sklearn
import numpy as np
from engine.packaging.record import record
from mlflow.models import infer_signature
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

REGISTERED = "flowers"
# MLflow finds requirements out by itself, which takes it half a minute; two of these show it.
PINS = [f"{name}=={metadata.version(name)}" for name in ("scikit-learn", "mlflow-skinny")]


def main() -> None:
    """Log all of them."""
    output = Path(sys.argv[1])
    keras.utils.set_random_seed(7)
    frame, target = load_iris(return_X_y=True, as_frame=True)
    samples = frame.values[::10].astype(np.float32)
    estimator = LogisticRegression(max_iter=500).fit(frame, target)
    signature = infer_signature(frame, estimator.predict(frame))
    example = frame[::10]
    mlflow.sklearn.save_model(
        estimator, output / "sklearn", signature=signature, input_example=example
    )
    mlflow.sklearn.save_model(
        estimator,
        output / "pickled",
        serialization_format="pickle",
        input_example=example,
        pip_requirements=PINS,
    )
    exported = to_onnx(estimator, samples[:1], options={"zipmap": False})
    mlflow.onnx.save_model(exported, output / "onnx", input_example=samples, pip_requirements=PINS)
    network: Any = keras.Sequential(
        [
            keras.layers.Input((4,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dense(3, activation="softmax", name="species"),
        ]
    )
    network.compile("adam", "sparse_categorical_crossentropy")
    network.fit(frame.values, target, epochs=3, verbose=0)
    expected = network.predict(samples, verbose=0)
    mlflow.keras.save_model(
        network, str(output / "keras"), signature=infer_signature(samples, expected)
    )
    record(network, samples, output / "keras.json")
    mlflow.set_tracking_uri((output / "store").as_uri())
    with mlflow.start_run() as run:
        mlflow.sklearn.log_model(
            estimator,
            name="model",
            input_example=example,
            registered_model_name=REGISTERED,
            pip_requirements=PINS,
        )
    np.savez(
        output / "answers.npz",
        samples=samples,
        labels=estimator.predict(frame[::10]),
        probabilities=estimator.predict_proba(frame[::10]),
        keras=expected,
    )
    print(run.info.run_id)


if __name__ == "__main__":
    main()

"""The tutorial's way: a FastAPI route with a typed body in front of onnxruntime."""

import os

import numpy as np
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(os.environ["INTRA_OP_THREADS"])
session = onnxruntime.InferenceSession(
    os.environ["MODEL_FILE"], options, providers=["CPUExecutionProvider"]
)
app = FastAPI()


class Rows(BaseModel):
    """A table of numbers."""

    data: list[list[float]]


class Images(BaseModel):
    """Images as channels of rows of pixels."""

    data: list[list[list[list[float]]]]


class Predictions(BaseModel):
    """Probabilities, one list a row or image."""

    predictions: list[list[float]]


Body = Images if os.environ["MODEL_NAME"] == "conv" else Rows


def run(data: list) -> Predictions:
    """Run the model."""
    (probabilities,) = session.run(
        ["probabilities"], {"features": np.array(data, dtype=np.float32)}
    )
    return Predictions(predictions=probabilities.tolist())


@app.post("/predict")
def predict(body: Body) -> Predictions:
    """Predict in the framework's thread pool."""
    return run(body.data)


@app.post("/predict-async")
async def predict_async(body: Body) -> Predictions:
    """Predict on the event loop."""
    return run(body.data)

"""The tutorial's way with Flask: JSON in, lists out."""

import os

import numpy as np
import onnxruntime
from flask import Flask, jsonify, request

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(os.environ["INTRA_OP_THREADS"])
session = onnxruntime.InferenceSession(
    os.environ["MODEL_FILE"], options, providers=["CPUExecutionProvider"]
)
app = Flask(__name__)


@app.post("/predict")
def predict():
    """Predict the rows or images of the body."""
    data = np.array(request.get_json()["data"], dtype=np.float32)
    (probabilities,) = session.run(["probabilities"], {"features": data})
    return jsonify(predictions=probabilities.tolist())

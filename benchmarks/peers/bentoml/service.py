"""A BentoML service; adaptive batching and workers are set as its guides show."""

import os
from typing import Annotated

import bentoml
import numpy as np
import onnxruntime
from bentoml.validators import DType

Array = Annotated[np.ndarray, DType("float32")]


@bentoml.service(workers=int(os.environ["WORKERS"]), traffic={"timeout": 60})
class Net:
    """Holds one session per worker."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["INTRA_OP_THREADS"])
        self.session = onnxruntime.InferenceSession(
            os.environ["MODEL_FILE"], options, providers=["CPUExecutionProvider"]
        )

    @bentoml.api(
        batchable=os.environ["BATCHING"] == "on",
        batch_dim=0,
        max_batch_size=512,
        max_latency_ms=1000,
    )
    def predict(self, data: Array) -> Array:
        """Probabilities, one list a row or image."""
        (probabilities,) = self.session.run(["probabilities"], {"features": data})
        return probabilities

"""A custom MLServer runtime; workers and batching come from its settings."""

import os

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Net(MLModel):
    """One session per worker."""

    async def load(self) -> bool:
        """Load the model."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["INTRA_OP_THREADS"])
        self.session = onnxruntime.InferenceSession(
            os.environ["MODEL_FILE"], options, providers=["CPUExecutionProvider"]
        )
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Probabilities, one row a row or image."""
        features: np.ndarray = self.decode(payload.inputs[0], default_codec=NumpyCodec)
        (probabilities,) = self.session.run(["probabilities"], {"features": features})
        return InferenceResponse(
            model_name=self.name,
            outputs=[NumpyCodec.encode_output("probabilities", probabilities)],
        )

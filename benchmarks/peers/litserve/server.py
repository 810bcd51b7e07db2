"""A LitServe API; batching and workers are set as its guides show."""

import os

import litserve
import numpy as np
import onnxruntime


class Net(litserve.LitAPI):
    """One session per worker."""

    def setup(self, device):
        """Load the model."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["INTRA_OP_THREADS"])
        self.session = onnxruntime.InferenceSession(
            os.environ["MODEL_FILE"], options, providers=["CPUExecutionProvider"]
        )
        self.shape = tuple(self.session.get_inputs()[0].shape[1:])

    def decode_request(self, request):
        """JSON lists to an array."""
        return np.array(request["data"], dtype=np.float32)

    def predict(self, x):
        """Run one request, or several that were stacked."""
        rows = x.reshape(-1, *self.shape)
        (probabilities,) = self.session.run(["probabilities"], {"features": rows})
        return probabilities.reshape(*x.shape[: -len(self.shape)], -1)

    def encode_response(self, output):
        """An array to JSON lists."""
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(
        Net(
            max_batch_size=int(os.environ["MAX_BATCH_SIZE"]),
            batch_timeout=float(os.environ["BATCH_TIMEOUT"]),
        ),
        accelerator="cpu",
        workers_per_device=int(os.environ["WORKERS"]),
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        log_level="warning",
        generate_client_file=False,
    )

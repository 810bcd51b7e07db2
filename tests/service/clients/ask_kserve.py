"""Ask with KServe's own client: `python ask_kserve.py URL` reads a list of rows a line.

Its two protocols, and of the second both ways to carry tensors, take turns. It prints the labels of
each request, a list a line.
"""

from __future__ import annotations

import asyncio
import json
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

MODEL = "iris"
COLUMNS = [f"{part} {side} (cm)" for part in ("sepal", "petal") for side in ("length", "width")]


async def main(url: str, lines: list[str]) -> None:
    """Ask whether all is ready, and then every request."""
    v1, v2 = (InferenceRESTClient(RESTConfig(protocol=each)) for each in ("v1", "v2"))
    async with v1, v2:
        assert await v2.is_server_live(url)
        assert await v2.is_server_ready(url)
        for client in (v1, v2):
            assert await client.is_model_ready(url, MODEL)
        for number, line in enumerate(lines):
            rows = json.loads(line)
            if number % 4 < 2:
                records = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
                data = {"instances": records if number % 4 else rows}
                answer = await v1.infer(url, data, model_name=MODEL)
                labels = answer["predictions"]
            else:
                tensor = InferInput("features", [len(rows), len(rows[0])], "FP32")
                array = np.array(rows, np.float32)
                tensor.set_data_from_numpy(array, binary_data=number % 4 == 2)
                answer = await v2.infer(url, InferRequest(MODEL, [tensor]), model_name=MODEL)
                (output,) = (each for each in answer.outputs if each.name == "label")
                labels = output.as_numpy().tolist()
            print(json.dumps(labels))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.stdin.read().splitlines()))

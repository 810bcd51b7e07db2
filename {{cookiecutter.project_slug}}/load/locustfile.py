"""What users do: single rows, batches, the Open Inference Protocol, and now and then a mistake.

Requests come from the golden record, so they are real. A mistake must be refused with a 4xx;
that counts as success, anything else as failure.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from locust import FastHttpUser, between, task

KEY = os.environ.get("LOAD_API_KEY", "")
MODEL = os.environ.get("LOAD_MODEL", "")
MODELS_DIR = Path(os.environ.get("MODELS_DIR", "models"))
BATCH_ROWS = 16


def _golden() -> tuple[str, dict[str, Any]]:
    """The model to ask and its golden inputs: LOAD_MODEL, or the first package."""
    found = sorted(path.parent for path in MODELS_DIR.glob(f"{MODEL or '*'}/golden.npz"))
    if not found:
        raise SystemExit(f"error: no golden record in {MODELS_DIR.resolve()} for {MODEL or 'any'}")
    with np.load(found[0] / "golden.npz", allow_pickle=False) as archive:
        inputs = {
            name.removeprefix("input/"): archive[name]
            for name in archive.files
            if name.startswith("input/")
        }
    return found[0].name, inputs


class Caller(FastHttpUser):
    """One client that thinks for a moment between requests."""

    wait_time = between(0.01, 0.1)

    def on_start(self) -> None:
        """Take the golden samples and the key."""
        self.model, self.inputs = _golden()
        self.rows = len(next(iter(self.inputs.values())))
        self.headers = {"X-API-Key": KEY} if KEY else {}
        self.turn = 0

    def _some(self, rows: int) -> dict[str, Any]:
        self.turn += 1
        picked = np.arange(self.turn, self.turn + rows) % self.rows
        return {name: value[picked] for name, value in self.inputs.items()}

    def _post(self, name: str, path: str, body: dict[str, Any], expected: int = 200) -> None:
        with self.client.post(
            path, json=body, headers=self.headers, name=name, catch_response=True
        ) as response:
            if response.status_code == expected:
                response.success()
            else:
                response.failure(f"status {response.status_code} instead of {expected}")

    @task(6)
    def single_row(self) -> None:
        """One row as the tutorials send it."""
        self._post("predict, 1 row", f"/predict/{self.model}", {"data": _lists(self._some(1))})

    @task(2)
    def batch(self) -> None:
        """Several rows at once."""
        body = {"data": _lists(self._some(BATCH_ROWS))}
        self._post(f"predict, {BATCH_ROWS} rows", f"/predict/{self.model}", body)

    @task(2)
    def protocol(self) -> None:
        """One row in the Open Inference Protocol."""
        inputs = [
            {"name": name, "shape": value.shape, "datatype": _datatype(value),
             "data": value.reshape(-1).tolist()}
            for name, value in self._some(1).items()
        ]  # fmt: skip
        self._post("infer, 1 row", f"/v2/models/{self.model}/infer", {"inputs": inputs})

    @task(1)
    def mistake(self) -> None:
        """A request that must be refused."""
        self._post("refused on purpose", f"/predict/{self.model}", {"date": []}, expected=422)


def _lists(inputs: dict[str, Any]) -> Any:
    lists = {name: value.tolist() for name, value in inputs.items()}
    return next(iter(lists.values())) if len(lists) == 1 else lists


def _datatype(array: Any) -> str:
    if array.dtype.kind in "US":
        return "BYTES"
    if array.dtype.kind == "b":
        return "BOOL"
    kind = {"f": "FP", "i": "INT", "u": "UINT"}[array.dtype.kind]
    return f"{kind}{array.dtype.itemsize * 8}"

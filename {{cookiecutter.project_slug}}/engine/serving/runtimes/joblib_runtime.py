"""scikit-learn models from joblib files, on the CPU."""

from __future__ import annotations

import hashlib
import io
import logging
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from engine.serving.errors import PackageError, ProviderError
from engine.serving.package.drift import check_drift
from engine.serving.package.manifest import OutputTensor
from engine.serving.package.reader import Package
from engine.serving.reasons import lacking, reason_of
from engine.serving.runtimes.jobs import one_job
from engine.serving.runtimes.tables import table_maker
from engine.serving.settings import Provider, Settings
from engine.serving.tensors.datatypes import NUMPY, Array

log = logging.getLogger(__name__)


class JoblibRuntime:
    """One fitted estimator; each output is one of its methods.

    Args:
        table: puts the inputs together in the form that the estimator was trained on.
    """

    provider: Provider = "cpu"

    def __init__(
        self,
        estimator: Any,
        outputs: tuple[OutputTensor, ...],
        table: Callable[[Mapping[str, Array]], Any],
    ) -> None:
        self._table = table
        self._outputs = outputs
        methods = {output.method or "predict" for output in outputs}
        self._calls = {method: getattr(estimator, method) for method in methods}

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Compute all outputs; see ``Runtime``."""
        table = self._table(inputs)
        answers = {method: call(table) for method, call in self._calls.items()}
        outputs = {}
        for output in self._outputs:
            answer = answers[output.method or "predict"]
            value = answer if output.target is None else answer[output.target]
            outputs[output.name] = np.asarray(value).astype(NUMPY[output.datatype], copy=False)
        return outputs


def load(package: Package, settings: Settings) -> JoblibRuntime:
    """Unpickle the model of a verified package.

    A pickle runs code, so the bytes are compared with the manifest once more and exactly those
    bytes are unpickled, and the versions are compared before that.

    Raises:
        PackageError: the bytes, the versions or the estimator are not what the manifest says.
        ProviderError: only CUDA is allowed, and scikit-learn has no CUDA.
    """
    if "cpu" not in settings.execution_providers:
        raise ProviderError(
            f"EXECUTION_PROVIDERS=cuda, but {package.manifest.name!r} is a joblib model and "
            "scikit-learn runs on the CPU only; set EXECUTION_PROVIDERS=cpu, or export it to ONNX"
        )
    for difference in check_drift(package.manifest):
        log.warning("%s: risky difference: %s", package.manifest.name, difference)
    manifest = package.manifest
    table = table_maker(
        manifest.inputs, manifest.table, manifest.training.packages.get("pandas", "")
    )
    path = package.model_path
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != package.manifest.files[path.name].sha256:
        raise PackageError(f"{path}: changed while it was being loaded")
    estimator = _unpickle(content, package)
    if one_job(estimator):
        log.info("%s: n_jobs is 1 while serving", manifest.name)
    for output in package.manifest.outputs:
        if not callable(getattr(estimator, output.method or "predict", None)):
            raise PackageError(f"{path}: {type(estimator).__name__} has no {output.method}()")
    return JoblibRuntime(estimator, package.manifest.outputs, table)


def _unpickle(content: bytes, package: Package) -> Any:
    import joblib  # not in every serving set: only repositories with a joblib model install it

    try:
        with warnings.catch_warnings():
            # Versions were compared above, with a rule; scikit-learn's warning adds nothing.
            warnings.simplefilter("ignore")
            return joblib.load(io.BytesIO(content))
    except Exception as error:  # noqa: BLE001 - unpickling can raise anything
        raise PackageError(f"{package.model_path}: {why_not_loaded(error)}") from None


def why_not_loaded(error: Exception) -> str:
    """What a pickle lacks, and the way out."""
    return "cannot be unpickled: " + (
        lacking(error)
        or f"{type(error).__name__}: {reason_of(error)}; package it with the versions of libraries "
        "that made it, in requirements/serve-cpu.in"
    )

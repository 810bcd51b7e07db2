"""A loaded model: verified package, runtime, and the check that it answers as in training."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.serving.errors import InvalidInput, PackageError, SettingsError, StartupError
from engine.serving.inference.profile import Profile, measure
from engine.serving.inference.refusals import is_of_values, refusal
from engine.serving.package.fetch import all_packages
from engine.serving.package.golden import compare
from engine.serving.package.manifest import Manifest
from engine.serving.package.reader import Package, read_package
from engine.serving.reasons import lacking, reason_of
from engine.serving.runtimes.base import Runtime
from engine.serving.runtimes.hooks import HookedRuntime, read_hooks
from engine.serving.runtimes.own_modules import import_from
from engine.serving.settings import Settings
from engine.serving.tensors.datatypes import Array, canonical
from engine.serving.tensors.signature import Signature

log = logging.getLogger(__name__)

SINGLE_ROWS_CHECKED = 8


class Model:
    """One model that can compute. It knows nothing of HTTP, queues or other models."""

    def __init__(self, package: Package, runtime: Runtime) -> None:
        self.package = package
        self.manifest = package.manifest
        self.signature: Signature = package.manifest.signature
        # The name is the folder's as well.
        self.name: str = package.manifest.name
        self.version: str = package.manifest.version
        self.sample = 0
        """The golden sample that documentation shows."""
        self._runtime = runtime

    @property
    def provider(self) -> str:
        """The execution provider in use."""
        return self._runtime.provider

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Compute outputs for inputs that passed the signature check."""
        return {name: canonical(value) for name, value in self._runtime.run(inputs).items()}

    def answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """``run``, where nobody waits; a value at which the model fails is refused by name.

        Raises:
            InvalidInput: naming that value.
            Exception: whatever the runtime raises.
        """
        try:
            return self.run(inputs)
        except Exception as error:
            refused = self.refusal(inputs) if self.failed_at_a_value(error) else None
            if refused is None:
                raise
            raise refused from None

    def failed_at_a_value(self, error: BaseException) -> bool:
        """Whether the run may have failed at a value of the inputs, which ``refusal`` finds."""
        # What a model's own code raises for a fault of the client's, it says itself.
        return self.manifest.code_file is None and self.provider == "cpu" and is_of_values(error)

    def refusal(self, inputs: Mapping[str, Array], begin: int = 0) -> InvalidInput | None:
        """The error for a client that names the value at which a run with these inputs failed; see
        ``engine.serving.inference.refusals``.
        """
        return refusal(self.run, inputs, self.package.golden.inputs, self.manifest.inputs, begin)

    def answer_as(self, manifest: Manifest, sample: int) -> None:
        """Answers have more outputs than the model gives, and rules refuse some samples.

        Args:
            manifest: with all outputs.
            sample: the first one that is answered.
        """
        self.manifest = manifest
        self.sample = sample
        self.signature = replace(self.signature, outputs=manifest.signature.outputs)

    def verify(self) -> None:
        """Compare with the golden record: all samples at once, then the first ones singly.

        Raises:
            PackageError: an output differs from what the training framework gave.
        """
        golden = self.package.golden
        compare(self.manifest.outputs, golden.outputs, self._run_or_fail(golden.inputs))
        if not self.signature.batched:
            return
        rows = len(next(iter(golden.inputs.values())))
        for row in range(min(rows, SINGLE_ROWS_CHECKED)):
            one = slice(row, row + 1)
            compare(
                self.manifest.outputs,
                {name: value[one] for name, value in golden.outputs.items()},
                self._run_or_fail({name: value[one] for name, value in golden.inputs.items()}),
            )

    def warm_up(self, max_rows: int) -> Profile:
        """Run real samples in growing batches, and learn what a run costs and how far to batch.

        Outputs that have not as many rows as the inputs end that: each request runs alone then.
        """
        golden = self.package.golden.inputs

        def run(rows: int) -> None:
            if not self.signature.batched:
                self._run_or_fail(golden)
                return
            for name, value in self._run_or_fail(repeat_rows(golden, rows)).items():
                if value.shape[:1] != (rows,):
                    log.warning(
                        "%s: each request runs alone: output %r has the shape %s for %s rows of "
                        "input; package the model again, with --batching never",
                        self.name,
                        name,
                        value.shape,
                        rows,
                    )
                    self.signature = replace(self.signature, independent_rows=False)
                    return

        batched = self.signature.batched
        profile = measure(run, max_rows if batched else 1)
        return profile if self.signature.batched == batched else measure(run, 1)

    def _run_or_fail(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        try:
            return self.run(inputs)
        except Exception as error:  # runtimes raise their own classes
            way_out = "" if lacking(error) else "; package the model again in this environment"
            raise PackageError(
                f"{self.name}: the golden inputs cannot be run: {reason_of(error)}{way_out}"
            ) from error


def repeat_rows(inputs: Mapping[str, Array], rows: int) -> dict[str, Array]:
    """Cut or repeat the rows of every array, so that there are exactly ``rows``."""
    return {
        name: np.ascontiguousarray(np.resize(value, (rows, *value.shape[1:])))
        for name, value in inputs.items()
    }


def load_model(package: Package, settings: Settings, worker: int = 0) -> Model:
    """Load and verify one model; on a GPU, on the one of that worker process.

    Raises:
        PackageError: it cannot be loaded, or answers differently from training.
        ProviderError: it would not run on the execution provider that was asked for.
    """
    began = time.perf_counter()
    import_from(package)
    # Imported here because a repository has only the runtimes that its models need, and because
    # the port should open before a large library has been read from disk.
    if package.manifest.format == "joblib":
        from engine.serving.runtimes import joblib_runtime

        runtime: Runtime = joblib_runtime.load(package, settings)
    else:
        from engine.serving.runtimes import onnx_runtime

        runtime = onnx_runtime.load(package, settings, worker)
    code_file = package.manifest.code_file
    if code_file is not None:
        hooks = read_hooks(package, code_file)
        runtime = HookedRuntime(runtime, package.manifest.outputs, hooks)
    model = Model(package, runtime)
    if package.manifest.independent_rows is None:
        log.warning(
            "%s: each request runs alone, because its manifest does not say whether rows are "
            "independent; package the model again",
            model.name,
        )
    model.verify()
    fields = {
        "model": model.name,
        "model_version": model.manifest.version,
        "execution_provider": model.provider,
        "digest": package.digest,
        "seconds": round(time.perf_counter() - began, 3),
    }
    log.info(
        "%s %s verified on %s",
        model.name,
        model.manifest.version,
        model.provider,
        extra={"fields": fields},
    )
    return model


def packages_of(settings: Settings) -> list[Path]:
    """The packages to serve: those of the models folder, and those fetched from ``MODEL_URI``.

    Raises:
        PackageError: there is none, or one cannot be fetched.
    """
    cache = Path(settings.model_cache_dir)
    return all_packages(Path(settings.models_dir), settings.model_uri, cache)


def load_models(
    settings: Settings, worker: int = 0, verified: Callable[[str, bool], None] = lambda *_: None
) -> list[Model]:
    """Load and verify every package of the models folder; see ``load_model``.

    Args:
        verified: called with the name of each package, and whether it is what was trained.

    Raises:
        StartupError: the first fault found; its message begins with the package's name.
    """
    models = []
    for directory in packages_of(settings):
        try:
            models.append(load_model(read_package(directory), settings, worker))
        except StartupError as error:
            verified(directory.name, False)
            raise type(error)(f"model {directory.name!r}: {error}") from error
        verified(directory.name, True)
    names = [model.name for model in models]
    if settings.default_model is not None and settings.default_model not in names:
        fault = f"DEFAULT_MODEL={settings.default_model!r}: no such model; there are {names}"
        raise SettingsError([fault])
    return models

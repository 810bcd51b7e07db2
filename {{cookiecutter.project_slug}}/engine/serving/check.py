"""`python -m engine.serving.check`: would these models be served, and answer as in training?

Runs in the tests, inside the image build and by hand. Exit code 0 when every package passes.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import metadata
from typing import TYPE_CHECKING

from engine.serving.errors import StartupError

if TYPE_CHECKING:
    from engine.serving.inference.model import Model
    from engine.serving.package.manifest import Manifest

RUNTIMES = ("onnxruntime", "onnxruntime-gpu")


def main(arguments: list[str] | None = None) -> int:
    """Check every package of the models folder and print one line for each."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    parser = argparse.ArgumentParser(prog="python -m engine.serving.check", description=__doc__)
    parser.add_argument("--providers", help="instead of EXECUTION_PROVIDERS; for builds: cpu")
    parser.add_argument(
        "--expect-digest", default="", help="fail unless the models and service.py have it"
    )
    parser.add_argument(
        "--record", action="store_true", help="keep what service.py answers; for the image's build"
    )
    options = parser.parse_args(arguments)
    if options.providers:
        os.environ["EXECUTION_PROVIDERS"] = options.providers
    faults = _faults(options.expect_digest, record=options.record)
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if faults else 0


def _faults(expected_digest: str, *, record: bool) -> list[str]:
    from engine.serving.inference.model import load_model, packages_of
    from engine.serving.package.digest import digest_of
    from engine.serving.package.reader import read_package
    from engine.serving.settings import load_settings

    faults = _runtime_faults()
    models = []
    try:
        settings = load_settings()
        directories = packages_of(settings)
        digest = digest_of(directories)
    except StartupError as error:
        return [*faults, str(error), *_after_hooks([], record=False)]
    if expected_digest not in ("", digest):
        faults.append(
            f"the models and service.py have digest {digest} and {expected_digest} was expected"
        )
    for directory in directories:
        try:
            model = load_model(read_package(directory), settings)
            _check_lock(model.manifest)
        except StartupError as error:
            faults.append(f"model {directory.name!r}: {error}")
        else:
            models.append(model)
            rows = len(next(iter(model.package.golden.inputs.values())))
            print(
                f"{model.name} {model.manifest.version} ({model.manifest.format}, "
                f"{model.provider}): {rows} golden samples answered as in training"
            )
    return [*faults, *_after_hooks(models, record=record)]


def _after_hooks(models: list[Model], *, record: bool) -> list[str]:
    """Load service.py, run its start and stop hooks, and answer the golden requests through it."""
    from engine.serving.inference import recording
    from engine.serving.inference.service_hooks import run_start_hooks, run_stop_hooks
    from engine.serving.package.digest import SERVICE_FILE
    from engine.serving.package.lock import serving_lock
    from engine.serving.service_file import own_extension
    from engine.serving.service_imports import import_faults

    lock = serving_lock()
    faults = [] if lock is None else import_faults(SERVICE_FILE, lock.one_each())
    try:
        extension = own_extension()
        run_start_hooks(extension)
    except StartupError as error:
        return [*faults, _with_cause(error)]
    for model in models if extension.has_hooks else []:
        try:
            answers = recording.recorded(model, extension)
            changing = recording.unsteady(model, extension, answers)
            if record:
                recording.record(model, extension, answers)
        except StartupError as error:
            faults.append(_with_cause(error))
            continue
        if changing:
            faults.append(
                f"{model.name}: service.py answers the golden requests with other {changing} the "
                "second time; an answer must depend on the request and the settings alone"
            )
        refused = sum(map(bool, answers.refusals))
        if all(answers.refusals):
            faults.append(
                f"{model.name}: service.py refuses every golden request, for example with "
                f"{answers.refusals[0]!r}; a rule must let through what the model was trained for"
            )
        print(
            f"{model.name}: service.py answers {len(answers.refusals) - refused} golden requests "
            f"and refuses {refused}"
        )
    run_stop_hooks(extension)
    return faults


def _with_cause(error: StartupError) -> str:
    """The error, and on this machine what another's code said, which the service leaves out."""
    return f"{error}: {error.__cause__}" if error.__cause__ else str(error)


def _check_lock(manifest: Manifest) -> None:
    """Compare with the lock of what is served: this environment may have the training set, too.

    Raises:
        PackageError: the lock lacks what the model needs, or has another version of it.
    """
    from engine.serving.package.drift import check_drift
    from engine.serving.package.lock import serving_lock

    lock = serving_lock()
    if lock is not None:
        check_drift(manifest, lock.one_each(), lock.path.name)


def _runtime_faults() -> list[str]:
    """Two onnxruntime distributions in one environment overwrite each other's files."""
    found = [name for name in RUNTIMES if _is_installed(name)]
    if len(found) < len(RUNTIMES):
        return []
    return [f"{' and '.join(found)} are both installed; keep exactly one"]


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())

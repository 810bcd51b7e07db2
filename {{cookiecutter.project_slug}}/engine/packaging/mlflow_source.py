"""A model that MLflow logged, as a folder or as a run: flavours onnx, sklearn and keras.

Source: MLflow's "MLmodel" format. Only its files are read; MLflow itself is needed for the address
of a run or a registered model (`runs:/…`, `models:/…`), not for a folder.
"""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from engine.packaging.onnx_source import onnx_source
from engine.packaging.options import Options, package_name
from engine.packaging.own_modules import collect, is_module
from engine.packaging.pickles import check_version, read_pickle
from engine.packaging.provenance import Environment, read_environment
from engine.packaging.samples import Samples, read_samples
from engine.packaging.sklearn_source import Origin, pickled_source
from engine.packaging.write import Source
from engine.serving.errors import PackageError
from engine.serving.reasons import reason_of

MLMODEL = "MLmodel"
# MLflow's types of columns; a "double" may be whole in every row of a CSV file.
KINDS = {
    "boolean": "bool", "integer": "number", "long": "number", "float": "float", "double": "float",
    "string": "string", "datetime": "date",
}  # fmt: skip
ADDRESSES = ("runs:/", "models:/", "mlflow-artifacts:/")


@dataclass(frozen=True, slots=True)
class Logged:
    """What MLflow wrote beside the model."""

    folder: Path
    content: dict[str, Any]
    environment: Environment
    samples: Samples

    @property
    def run(self) -> str:
        """The run that logged it, empty where it was saved outside of one."""
        return str(self.content.get("run_id") or self.content.get("model_id") or "")

    def flavour(self, name: str) -> dict[str, Any]:
        """Settings of a flavour."""
        found: dict[str, Any] = self.content["flavors"][name]
        return found


def is_address(source: str) -> bool:
    """Whether the text names something in MLflow and not a place on this disk."""
    return source.startswith(ADDRESSES)


def download(address: str) -> Path:
    """Fetch a run's model with MLflow's own client.

    Raises:
        PackageError: MLflow is not installed, or has no such thing.
    """
    try:
        import mlflow.artifacts
    except ImportError:
        raise PackageError(
            f"{address}: needs MLflow, which is not installed; add mlflow-skinny to "
            "requirements/train.in and run `make lock`, or give the folder of the model"
        ) from None
    try:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=address))
    except Exception as error:  # noqa: BLE001 - MLflow's stores raise their own classes
        raise PackageError(
            f"{address}: MLflow cannot fetch it: {reason_of(error)}; look at the address, at "
            "MLFLOW_TRACKING_URI and at who is logged in there"
        ) from None


def mlflow_source(folder: Path, options: Options, address: str = "") -> tuple[Source, list[str]]:
    """What a package of a logged model is made of, and remarks for the person.

    Raises:
        PackageError: no model of a flavour that is known here, or the model is refused.
    """
    logged = _read(folder, options)
    flavours = logged.content["flavors"]
    if not options.name:
        options = replace(options, name=package_name(options, _stem(folder, address)))
    if options.version == Options().version and logged.content.get("model_version"):
        options = replace(options, version=str(logged.content["model_version"]))
    if "onnx" in flavours:
        source, remarks = _onnx(logged, options)
    elif "sklearn" in flavours:
        source, remarks = _sklearn(logged, options)
    elif "keras" in flavours or "tensorflow" in flavours:
        source, remarks = _keras(logged, options)
    else:
        raise PackageError(
            f"{folder}: has the flavours {sorted(flavours)}; onnx, sklearn and keras can be "
            "packaged, so log it as one of them (PyTorch: export it with torch.onnx first)"
        )
    section = {"run": logged.run, "source": address or folder.name}
    return replace(source, training={**source.training, **section}), remarks


def _read(folder: Path, options: Options) -> Logged:
    path = folder / MLMODEL
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PackageError(f"{path}: cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise PackageError(
            f"{path}: is not YAML: {reason_of(error)}; log the model again"
        ) from None
    if not isinstance(content, dict) or not isinstance(content.get("flavors"), dict):
        raise PackageError(f"{path}: names no flavours, so it is no model of MLflow")
    environment = read_environment(options.environment or folder)
    if not environment.python:
        found = content["flavors"].get("python_function", {}).get("python_version", "")
        environment = replace(environment, python=str(found))
    return Logged(folder, content, environment, _samples(folder, content, options))


def _samples(folder: Path, content: dict[str, Any], options: Options) -> Samples:
    """Samples that were given, or the input example, in the types of the signature."""
    example = content.get("saved_input_example_info") or {}
    path = folder / str(example.get("artifact_path", "input_example.json"))
    if options.samples is None and not path.exists():
        return Samples()
    path = options.samples or path
    signature = _signature(content, folder)
    # Only where the file leaves the type open: a signature may be wider than the data.
    found = read_samples(path).readings
    types = {n: kind for n, kind in signature.items() if kind in found.get(n, ())}
    given = read_samples(path, {**types, **options.types})
    return replace(given, order=tuple(signature))


def _signature(content: dict[str, Any], folder: Path) -> dict[str, str]:
    """The type of each named column of the signature, as ``--types`` calls it."""
    inputs = (content.get("signature") or {}).get("inputs") or "[]"
    try:
        columns = json.loads(inputs)
    except (TypeError, ValueError):
        raise PackageError(
            f"{folder / MLMODEL}: signature.inputs is no JSON; log the model again"
        ) from None
    if not all("name" in each for each in columns):
        return {}
    # pandas numbers the columns of a file without a header.
    return {str(each["name"]): KINDS.get(str(each.get("type")), "") for each in columns}


def _stem(folder: Path, address: str) -> str:
    """A name out of `models:/NAME/3` or `runs:/ID/NAME`, or the folder's."""
    parts = [part for part in address.split("/")[1:] if part]
    if address.startswith("models:"):
        return parts[0]
    return parts[-1] if parts else folder.resolve().name


def _file(logged: Logged, name: object) -> Path:
    path = logged.folder / str(name)
    if not path.exists():
        raise PackageError(f"{path}: is named in {MLMODEL} and is not there; log the model again")
    return path


def _onnx(logged: Logged, options: Options) -> tuple[Source, list[str]]:
    path = _file(logged, logged.flavour("onnx").get("data", "model.onnx"))
    if path.is_dir():
        path = _file(logged, f"{path.name}/model.onnx")
    return onnx_source(path, options, logged.samples, logged.environment)


def _sklearn(logged: Logged, options: Options) -> tuple[Source, list[str]]:
    flavour = logged.flavour("sklearn")
    # What `code_paths=` took along.
    code = [each for each in sorted((logged.folder / "code").glob("*")) if is_module(each)]
    options = replace(options, modules=(*options.modules, *code))
    collect(options.modules)
    path = _file(logged, flavour.get("pickled_model", "model.pkl"))
    trained = flavour.get("sklearn_version") or logged.environment.packages.get("scikit-learn")
    check_version(str(trained) if trained else None, path)
    packages = dict(logged.environment.packages)
    if trained:
        packages["scikit-learn"] = str(trained)
    environment = replace(logged.environment, packages=packages)
    if flavour.get("serialization_format") == "skops":
        from engine.packaging.skops_file import read_skops

        content, estimator = read_skops(path, flavour.get("skops_trusted_types") or ())
        origin = Origin(path, content, environment, logged.run, estimator)
    else:
        origin = Origin(path, read_pickle(path), environment, logged.run)
    return pickled_source(origin, logged.samples, options)


def _keras(logged: Logged, options: Options) -> tuple[Source, list[str]]:
    from engine.packaging.keras_source import keras_source

    flavour = logged.flavour("keras" if "keras" in logged.content["flavors"] else "tensorflow")
    data = _file(logged, flavour.get("data", "data"))
    files = [data] if data.is_file() else sorted([*data.glob("*.keras"), *data.glob("*.h5")])
    if not files:
        raise PackageError(
            f"{data}: holds no .keras or .h5 file; save the model with mlflow.keras, or export it "
            "to ONNX"
        )
    environment = logged.environment
    python = environment.python or platform.python_version()
    return keras_source(files[0], options, logged.samples, replace(environment, python=python))

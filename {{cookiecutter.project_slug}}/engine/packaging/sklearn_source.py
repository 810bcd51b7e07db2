"""A fitted scikit-learn estimator as the source of a package, served as it is or as ONNX."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from engine.packaging.contract import SERVED, read_pickled
from engine.packaging.given_answers import AS_GIVEN, check_given
from engine.packaging.installed import distributions
from engine.packaging.options import Options, package_name
from engine.packaging.own_modules import collect, files_of, manifest_of, refuse_unknown
from engine.packaging.pickles import read_pickle, unpickle
from engine.packaging.provenance import Environment, Provenance, here, read_environment
from engine.packaging.samples import Samples, made_up, read_samples
from engine.packaging.sklearn_calls import Table
from engine.packaging.sklearn_onnx import converted
from engine.packaging.sklearn_outputs import answers
from engine.packaging.sklearn_table import table_of
from engine.packaging.tolerance import tolerance_of
from engine.packaging.write import Source
from engine.serving.errors import PackageError
from engine.serving.runtimes.jobs import one_job
from engine.serving.tensors.datatypes import NUMPY, Array

ROWS = 8
MADE_UP = (
    "no samples were given, so the golden record holds random numbers; give real ones with "
    "--samples"
)
# One line for a notebook, whatever the model.
NOTEBOOK = 'from engine.packaging.record import record; record(model, X_test, "samples.json")'


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an estimator comes from.

    ``content`` is what joblib loads it from, and ``estimator`` is itself where it was loaded
    already.
    """

    path: Path
    content: bytes
    environment: Environment
    run: str = ""
    estimator: Any = None


def sklearn_source(path: Path, options: Options) -> tuple[Source, list[str]]:
    """What a package of a pickled estimator is made of, and remarks for the person.

    Raises:
        PackageError: it must not be unpickled, cannot be called, or does not fit the samples.
    """
    content = read_pickle(path)
    environment = read_environment(options.environment) if options.environment else Environment()
    given = read_samples(options.samples, options.types) if options.samples else Samples()
    return pickled_source(Origin(path, content, environment), given, options)


def pickled_source(origin: Origin, given: Samples, options: Options) -> tuple[Source, list[str]]:
    """The same for a file that ``read_pickle`` has accepted."""
    modules = collect(options.modules)
    estimator = unpickle(origin.path) if origin.estimator is None else origin.estimator
    refuse_unknown(read_pickled(origin.content).modules, origin.path)
    if not any(hasattr(estimator, name) for name in ("predict", "transform")):
        raise PackageError(
            f"{origin.path}: holds a {type(estimator).__name__}, which has neither predict() nor "
            "transform()"
        )
    remarks: list[str] = []
    is_made_up = not given.arrays and not given.columns
    if is_made_up:
        given = _made_up(estimator, origin.path)
        remarks.append(MADE_UP)
    try:
        table, more = table_of(estimator, given, options)
    except PackageError as error:
        if not is_made_up:
            raise
        raise PackageError(
            f"{origin.path}: no samples were given, and made-up numbers are not what it was fitted "
            f"on: {error}; give real ones with --samples"
        ) from None
    remarks += more
    outputs, golden = answers(estimator, table, options)
    check_given(given, golden, _library(estimator), options)
    if not given.outputs:
        remarks.append(
            f"nobody but {_library(estimator)} in this environment answered the samples; in the "
            f"notebook `{NOTEBOOK}` writes samples with the model's own types and answers, and "
            "SAMPLES=samples.json compares them"
        )
    if hasattr(estimator, "predict_proba") and isinstance(
        getattr(estimator, "classes_", None), list
    ):
        remarks.append("the model has several targets, and their probabilities are left out")
    if options.to != "onnx" and one_job(estimator):
        remarks.append("n_jobs is set to 1 while serving: requests share the processors already")
    provenance = Provenance(
        _section(estimator, origin, options, given),
        _versions(estimator, origin, table),
        origin.environment.python or platform.python_version(),
    )
    if options.to == "onnx":
        source, more = converted(
            estimator, table, outputs, golden, origin.path, provenance, options
        )
        return source, remarks + more
    made = _as_it_is(table, outputs, golden, origin, provenance, options)
    manifest = {**made.manifest, **manifest_of(modules)}
    return replace(made, files=files_of(modules), manifest=manifest), remarks


def _as_it_is(
    table: Table,
    outputs: list[dict[str, Any]],
    golden: Mapping[str, Array],
    origin: Origin,
    provenance: Provenance,
    options: Options,
) -> Source:
    for each in outputs:
        if NUMPY[each["datatype"]].kind == "f":
            values = golden[each["name"]]
            each["tolerance"] = tolerance_of(values, values, options).entry()
    manifest: dict[str, Any] = {"table": table.form} if table.form != "array" else {}
    return Source(
        name=package_name(options, origin.path.stem),
        version=options.version,
        description=options.description,
        format="joblib",
        model=origin.content,
        inputs=table.tensors,
        outputs=outputs,
        golden_inputs=table.arrays,
        golden_outputs=golden,
        training=provenance.section,
        libraries=(),
        packages=provenance.packages,
        python=provenance.python,
        manifest=manifest,
        batching=options.batching,
    )


def _made_up(estimator: Any, path: Path) -> Samples:
    count = getattr(estimator, "n_features_in_", None)
    if count is None:
        raise PackageError(f"{path}: does not tell what it takes; give samples with --samples")
    array = made_up((ROWS, count), np.dtype(np.float64))
    names = [str(name) for name in getattr(estimator, "feature_names_in_", ())]
    if names:
        return Samples(columns={name: array[:, i] for i, name in enumerate(names)})
    return Samples(arrays={"": array})


def _section(estimator: Any, origin: Origin, options: Options, given: Samples) -> dict[str, str]:
    steps = [type(step).__name__ for _, step in getattr(estimator, "steps", ())]
    return {
        "estimator": ", ".join(steps) or type(estimator).__name__,
        "data": options.data,
        "licence": options.licence,
        "source": origin.path.name,
        "golden": _library(estimator) + (AS_GIVEN if given.outputs else ""),
        "run": origin.run,
    }


def _versions(estimator: Any, origin: Origin, table: Table) -> dict[str, str]:
    names = ["scikit-learn", "numpy", "joblib", *(["pandas"] if table.form == "dataframe" else [])]
    for module in _foreign(estimator):
        names += distributions().get(module, [])[:1]
    return here(*names) | origin.environment.telling()


def _library(estimator: Any) -> str:
    """The library that the estimator belongs to, with its version."""
    module = type(estimator).__module__.split(".")[0]
    found = [] if module in SERVED else distributions().get(module, [])
    name = next(iter(found), "scikit-learn")
    return f"{name} {metadata.version(name)}"


def _foreign(estimator: Any) -> set[str]:
    """Top-level modules of the estimator's parts that a serving set may lack."""
    modules = {type(part).__module__.split(".")[0] for part in _parts(estimator)}
    return modules - SERVED


def _parts(estimator: Any) -> Iterator[Any]:
    yield estimator
    if hasattr(estimator, "get_params"):
        for value in estimator.get_params(deep=True).values():
            if hasattr(value, "get_params"):
                yield value

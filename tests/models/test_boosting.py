"""LightGBM, XGBoost, CatBoost and statsmodels: packaged from samples of every form, and served.

Each answers over HTTP as the library did in the process that fitted the model.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.models import asking
from tests.models.asking import assert_same, can_be_json, golden_inputs
from tests.models.conftest import Served

pytestmark = pytest.mark.slow

REFUSED = {
    "lightgbm-changed": "column 'port' holds 'Cx', and the model knows none of the values there, "
    "but 'C', 'Q', 'S'; give samples",
    "xgboost-changed": "column 'port' holds 'Cx', and the model knows none of the values there, "
    "but 'C', 'Q', 'S'; give samples",
    "xgboost-gaps": "column 'port' holds categories that are numbers, and missing values, so that "
    "the service carries them as fractions, which the model does not take there; make the",
    "lightgbm-ordered": "one of them is ordered or has a single category; encode that column",
    "catboost-digits": "column 'port' holds '01067', which can be a number or text, and the model "
    "does not record which; say --types port=number or --types port=string",
}
NUMBERED = ("lightgbm-frame", "catboost-frame", "lightgbm-booster", "statsmodels-array",
            "statsmodels-formula", "statsmodels-frame", "statsmodels-digits", "xgboost-booster",
            "xgboost-booster-codes", "lightgbm-booster-codes")  # fmt: skip
PACKAGES = {"models": 15, "named": 9}


@pytest.fixture(scope="module")
def boosted(program: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the answers of the libraries, and the packages below `joblib`."""
    return packages(program, tmp_path_factory.mktemp("boosting"), "models", "refused")


def packages(program: Callable[..., str], folder: Path, *parts: str) -> Path:
    """Fit and package parts of what `boosting_models.py` has."""
    # Threads that wait for each other take longer than the work where others use the machine too.
    program("boosting_models.py", folder, *parts, OMP_NUM_THREADS="1")
    program("package_sklearn.py", folder, folder, "as-is", OMP_NUM_THREADS="1")
    return folder


def test_what_is_refused_is_refused_for_its_reason(boosted: Path) -> None:
    refused = json.loads((boosted / "refused.json").read_text())
    assert refused.keys() == {f"{name} as joblib" for name in REFUSED}
    for name, words in REFUSED.items():
        assert words in refused[f"{name} as joblib"]
        assert "Stack trace" not in refused[f"{name} as joblib"]


def test_categories_that_a_library_refuses_are_binding(boosted: Path) -> None:
    """LightGBM and CatBoost answer other values; XGBoost and formulas of statsmodels raise."""
    manifests = [yaml.safe_load(path.read_text()) for path in boosted.glob("joblib/*/model.yaml")]
    binding = {
        each["name"].partition("-")[0]: list(only.values())
        for each in manifests for tensor in each["inputs"] if (only := tensor.get("only"))
    }  # fmt: skip
    assert binding.keys() == {"xgboost", "statsmodels"}
    assert all(len(values) == 3 for (values,) in binding.values())


def test_each_answers_as_its_library(boosted: Path, served: Served) -> None:
    assert_each_answers_as_its_library(boosted, served, PACKAGES["models"])


@pytest.mark.exhaustive
def test_names_orders_and_types_of_columns_are_those_of_training(
    program: Callable[..., str], served: Served, tmp_path: Path
) -> None:
    """Blanks and underscores, columns in another order, codes that CSV makes numbers, Parquet."""
    folder = packages(program, tmp_path, "named")
    assert_each_answers_as_its_library(folder, served, PACKAGES["named"])
    for name in ("statsmodels-digits", "xgboost-booster-codes", "lightgbm-booster-codes"):
        assert types(folder, name)[0] == "port BYTES", name
    assert types(folder, "sklearn-dates") == ["day BYTES", "n FP64"]


def assert_each_answers_as_its_library(boosted: Path, served: Served, count: int) -> None:
    """Ask every package for its samples, and compare with the process that fitted the model."""
    folders = sorted(path.parent for path in (boosted / "joblib").glob("*/model.yaml"))
    assert len(folders) == count
    with served(boosted / "joblib") as url:
        client = asking.client(url)
        for folder in folders:
            with np.load(boosted / "answers" / f"{folder.name}.npz") as archive:
                expected = dict(archive)
            given = golden_inputs(folder)
            answers = asking.ask(client, folder.name, given, binary=not can_be_json(given))
            first = "prediction" if folder.name in NUMBERED else "label"
            assert_same(answers[first], expected["answer"], 1e-9, folder.name)
            if "probabilities" in expected:
                assert_same(answers["probabilities"], expected["probabilities"], 1e-6, folder.name)


def test_types_are_those_of_the_table_that_the_model_was_fitted_on(boosted: Path) -> None:
    for name in ("lightgbm-words", "lightgbm-parquet", "xgboost-words", "catboost-words"):
        assert types(boosted, name) == ["port BYTES", "age FP64"], name
    for name in ("lightgbm-numbers", "xgboost-numbers"):
        assert types(boosted, name) == ["port INT64", "age FP64"], name
    for name in ("lightgbm-array", "xgboost-array", "catboost-array"):
        assert types(boosted, name) == ["features FP64"], name


def types(folder: Path, name: str) -> list[str]:
    """Name and datatype of each input of a package."""
    manifest = yaml.safe_load((folder / "joblib" / name / "model.yaml").read_text())
    return [f"{each['name']} {each['datatype']}" for each in manifest["inputs"]]

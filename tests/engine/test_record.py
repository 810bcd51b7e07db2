"""Samples that the notebook writes: types and answers are those of the model there."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from engine.packaging.record import record
from engine.packaging.samples import read_samples
from engine.serving.package.golden import Golden
from engine.serving.package.reader import read_package
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import LinearSVC

from tests.engine.project import ROOT
from tests.engine.test_packaging import made, refused

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("steps_of_tests")]

Y = ["east", "east", "other", "other"] * 5


class AsText(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A step of one's own that takes 30.0 and 30 for different things, and records nothing."""

    def fit(self, x: Any, y: Any = None) -> AsText:
        """Nothing to learn."""
        del x, y
        return self

    def transform(self, x: Any) -> Any:
        """Every value as Python writes it."""
        return x.astype(str)


def coded(*steps: Any) -> Any:
    return make_pipeline(*steps, OneHotEncoder(handle_unknown="ignore"), LogisticRegression(C=99))


def trees() -> Any:
    return HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=2)


TABLES: dict[str, tuple[dict[str, list[Any]], Any]] = {
    "digits that are text": ({"zip": ["01067", "02826", "80331", "10115"]}, coded),
    "whole numbers that are text": ({"code": ["1", "2", "3", "4"]}, coded),
    "words that look like booleans": ({"flag": ["True", "True", "False", "False"]}, coded),
    "booleans": ({"member": [True, True, False, False], "n": [1, 2, 3, 4]}, coded),
    "fractions that happen to be whole": (
        {"age": [30.0, 40.0, 50.0, 60.0]},
        lambda: coded(AsText()),
    ),
    "whole numbers": ({"age": [30, 40, 50, 60]}, lambda: coded(AsText())),
    "gaps": (
        {"port": ["C", np.nan, "S", "Q"], "age": [1.5, 2.5, np.nan, 4.5]},
        lambda: coded(SimpleImputer(strategy="most_frequent")),
    ),
    "a gap between whole numbers": ({"n": [1.0, np.nan, 3.0, 4.0]}, trees),
}


def golden(models: Path) -> Golden:
    return read_package(models / "made").golden


@pytest.mark.parametrize("case", TABLES)
def test_a_table_is_answered_as_in_the_notebook(tmp_path: Path, case: str) -> None:
    columns, model = TABLES[case]
    frame = pd.DataFrame({name: values * 5 for name, values in columns.items()})
    fitted = model().fit(frame, Y)
    joblib.dump(fitted, tmp_path / "m.joblib")
    samples = record(fitted, frame, tmp_path / "s.json")
    made(tmp_path / "m.joblib", tmp_path / "models", samples=samples)
    assert golden(tmp_path / "models").outputs["label"].tolist() == fitted.predict(frame).tolist()


NUMBERS = np.random.default_rng(3).normal(size=(20, 3))


@pytest.mark.parametrize(
    "model",
    [LinearRegression(), LogisticRegression(), LinearSVC(), KMeans(2, n_init=1), PCA(2)],
    ids=lambda model: type(model).__name__,
)
def test_an_array_is_answered_as_in_the_notebook(tmp_path: Path, model: Any) -> None:
    fitted = model.fit(NUMBERS, (NUMBERS[:, 0] > 0).astype(int))
    joblib.dump(fitted, tmp_path / "m.joblib")
    samples = record(fitted, NUMBERS, tmp_path / "s.json")
    made(tmp_path / "m.joblib", tmp_path / "models", samples=samples)
    ask = fitted.predict if hasattr(fitted, "predict") else fitted.transform
    first = next(iter(golden(tmp_path / "models").outputs.values()))
    np.testing.assert_allclose(first, ask(NUMBERS), rtol=1e-12)


def test_an_answer_of_another_model_is_refused_with_its_row(tmp_path: Path) -> None:
    frame = pd.DataFrame({"zip": ["01067", "02826", "80331", "10115"] * 5})
    fitted = coded().fit(frame, Y)
    joblib.dump(fitted, tmp_path / "m.joblib")
    samples = record(fitted, frame, tmp_path / "s.json")
    content = json.loads(samples.read_text())
    content["outputs"]["label"][2] = "east"
    samples.write_text(json.dumps(content))
    told = refused(tmp_path / "m.joblib", tmp_path / "models", samples=samples)
    assert "output/label at [2] is 'east', and scikit-learn" in told
    assert "gives 'other'" in told


def test_only_the_first_rows_are_kept_and_so_are_their_answers(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": np.arange(500.0)})
    fitted = LinearRegression().fit(frame, frame["n"])
    given = read_samples(record(fitted, frame, tmp_path / "s.json"))
    assert len(given.columns["n"]) == len(given.outputs["prediction"]) == 64


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (pd.Timedelta("1h"), r"column 'x' holds timedelta64\[.*\], and samples hold numbers"),
        (
            pd.Timestamp("2026-11-29", tz="UTC"),
            r"column 'x' holds Timestamp\(.*\), and samples hold .* without a time zone",
        ),
        (object(), r"column 'x' holds <object object at .*> \(object\), and samples hold numbers"),
        (b"bytes", r"column 'x' holds b'bytes' \(bytes\)"),
    ],
)
def test_what_no_client_can_send_is_named(tmp_path: Path, value: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        record(LinearRegression(), pd.DataFrame({"x": [value]}), tmp_path / "s.json")
    assert not (tmp_path / "s.json").exists()


def test_the_file_works_beside_a_notebook_of_another_environment(tmp_path: Path) -> None:
    """It imports numpy, and nothing of this repository."""
    shutil.copy(ROOT / "engine" / "packaging" / "record.py", tmp_path)
    code = (
        "from record import record\n"
        "class Model:\n"
        "    def predict(self, x): return x.sum(axis=1)\n"
        "import numpy as np; record(Model(), np.ones((2, 3)))\n"
        "import sys; assert not any(name.startswith('engine') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    written = json.loads((tmp_path / "samples.json").read_text())
    assert written == {"data": [[1.0] * 3] * 2, "outputs": {"prediction": [3.0, 3.0]}}


def test_without_answers_make_model_offers_the_line_for_the_notebook(tmp_path: Path) -> None:
    """The line runs as it is printed, and what it writes is compared from then on."""
    frame = pd.DataFrame({"zip": ["01067", "02826", "80331", "10115"] * 5})
    fitted = coded().fit(frame, Y)
    joblib.dump(fitted, tmp_path / "m.joblib")
    frame.to_csv(tmp_path / "s.csv", index=False)
    _, manifest, remarks = made(
        tmp_path / "m.joblib", tmp_path / "models", samples=tmp_path / "s.csv"
    )
    assert manifest["training"]["golden"].startswith("scikit-learn")
    (offer,) = [each for each in remarks if "nobody but scikit-learn" in each]
    with contextlib.chdir(tmp_path):
        exec(offer.split("`")[1], {"model": fitted, "X_test": frame})
    samples = tmp_path / "samples.json"
    _, _, remarks = made(tmp_path / "m.joblib", tmp_path / "models", samples=samples)
    assert not any("nobody but" in each for each in remarks)
    assert golden(tmp_path / "models").outputs["label"].tolist() == fitted.predict(frame).tolist()


class Layered:
    """A stand-in with the habits of a Keras model."""

    layers = (types.SimpleNamespace(name="scores"),)

    def predict(self, x: Any, verbose: int) -> Any:
        """The sum of each row; Keras would print how far it is."""
        assert verbose == 0
        return np.asarray(x).sum(axis=1, keepdims=True)


def test_answers_of_a_keras_model_are_named_as_its_outputs(tmp_path: Path) -> None:
    given = read_samples(record(Layered(), np.ones((2, 3)), tmp_path / "s.json"))
    assert {name: array.tolist() for name, array in given.outputs.items()} == {
        "scores": [[3.0], [3.0]]
    }

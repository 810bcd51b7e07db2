"""Types, names and order of a table's columns: as in training, or refused with the column's name.

Every expected answer is the estimator's own, to the table that it was fitted on.
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import yaml
from engine.packaging.mlflow_source import mlflow_source
from engine.packaging.options import Options
from engine.packaging.record import record
from engine.packaging.samples import read_samples
from engine.serving.errors import InvalidInput
from sklearn import __version__ as sklearn_version
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from tests.engine.test_packaging import double, made, refused
from tests.engine.test_packaging_tables import KINDS, TARGET, Coding, Passing, encoding, stored

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("steps_of_tests")]

CODES = ["1067", "2826", "80331", "10115"]
MONTHS = ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]


class Month(Passing):
    """Knows months; takes a missing day for month 0."""

    def transform(self, x: Any) -> Any:
        """Numbers instead of points in time."""
        return x.assign(day=(x["day"].dt.month.fillna(0) < 3) * 9.0)


class Written(Passing):
    """Takes 30 and 30.0 for different things."""

    def transform(self, x: Any) -> Any:
        """Every value as Python writes it."""
        return x.astype(str)


def labels(model: Any) -> list[Any]:
    """What the packaged model answers to its samples."""
    return list(model.package.golden.outputs["label"].tolist())


def as_parquet(monkeypatch: pytest.MonkeyPatch, folder: Path, frame: pd.DataFrame) -> Path:
    """A file that pandas reads as this frame; a test of real models reads real ones."""
    monkeypatch.setattr(pd, "read_parquet", lambda _: frame)
    (folder / "s.parquet").touch()
    return folder / "s.parquet"


def coded(values: list[Any], dtype: Any = object) -> tuple[Any, pd.DataFrame]:
    """A model that knows the values of a column, and takes all others for unknown."""
    frame = pd.DataFrame({"code": pd.Series(values * 5, dtype=dtype), "kind": KINDS})
    return encoding(frame), frame


@pytest.mark.parametrize(
    ("trained", "given", "suffix", "words"),
    [
        (CODES, [1067, 2826, 80331, 10115], "json", "holds 1067, which is a number, and the model "
         "was fitted on text there (as '10115', '1067'"),
        ([1067, 2826, 80331, 10115], CODES, "json", "holds '1067', which is text, and the model "
         "was fitted on a number"),
        (CODES, [True, True, False, False], "json", "holds True, which is true or false, and"),
        (["1.0", "2.0", "3.0", "4.0"], [1, 2, 3, 4], "csv", "holds '1', and the model knows none "
         "of the values there, but '1.0', '2.0'"),
        (["C", "Q", "S", "B"], ["c", "q", "s", "b"], "csv", "holds 'c', and the model knows none"),
        ([10, 20, 30, 40], [11, 21, 31, 41], "json", "holds 11, and the model knows none"),
    ],
)  # fmt: skip
def test_samples_that_contradict_what_the_model_knows_are_refused(
    tmp_path: Path, trained: list[Any], given: list[Any], suffix: str, words: str
) -> None:
    estimator, frame = coded(trained)
    samples = frame.assign(code=pd.Series(given * 5, dtype=object))[:8]
    said = refused(**stored(tmp_path, estimator, samples, suffix))
    assert f"column 'code' {words}" in said
    assert said.endswith("as in training")


def test_one_known_value_among_others_is_enough(tmp_path: Path) -> None:
    estimator, frame = coded(["C", "Q", "S", "B"])
    samples = frame.assign(code=["C", "new", "newer", "newest"] * 5)[:8]
    model, _, _ = made(**stored(tmp_path, estimator, samples))
    assert labels(model) == estimator.predict(samples).tolist()


@pytest.mark.parametrize("form", ["csv", "json", "recorded", "parquet"])
@pytest.mark.parametrize("gaps", [False, True])
def test_dates_reach_the_model_as_points_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, gaps: bool
) -> None:
    frame = pd.DataFrame({"day": pd.to_datetime(MONTHS * 5), "n": np.arange(20.0)})
    frame.loc[2, "day"] = pd.NaT if gaps else frame.loc[2, "day"]
    estimator = make_pipeline(Month(), LogisticRegression(C=99)).fit(frame, TARGET)
    text = frame.assign(day=frame["day"].dt.strftime("%Y-%m-%d").astype(object))
    text["day"] = text["day"].where(text["day"].notna(), None)
    case = stored(tmp_path, estimator, text[:8], "json" if form == "json" else "csv")
    if form == "recorded":
        case["samples"] = record(estimator, frame[:8], tmp_path / "r.json")
    if form == "parquet":
        case["samples"] = as_parquet(monkeypatch, tmp_path, frame[:8])
    model, manifest, _ = made(**case)
    assert manifest["inputs"][0].get("date") is True
    assert labels(model) == estimator.predict(frame[:8]).tolist()
    given = {"day": np.array([["2026-02-01T09:30:00"], ["2027-12-24"]], object)}
    given["n"] = np.array([[0.0], [0.0]])
    asked = pd.DataFrame({"day": pd.to_datetime(["2026-02-01", "2027-12-24"]), "n": [0.0, 0.0]})
    assert model.run(given)["label"].tolist() == estimator.predict(asked).tolist()


@pytest.mark.parametrize("text", ["soon", "2026-02-30", "2026-02-01T09:30:00Z", "31.01.2026", ""])
def test_a_client_s_text_that_is_no_date_is_refused(tmp_path: Path, text: str) -> None:
    frame = pd.DataFrame({"day": pd.to_datetime(MONTHS * 5), "n": np.arange(20.0)})
    estimator = make_pipeline(Month(), LogisticRegression(C=99)).fit(frame, TARGET)
    model, _, _ = made(**stored(tmp_path, estimator, frame[:8]))
    given = {"day": np.array([[text]], object), "n": np.zeros((1, 1))}
    with pytest.raises(InvalidInput, match="'day' holds a text that is no date") as error:
        model.run(given)
    assert error.value.field == "day"


def test_an_encoder_of_dates_gets_dates(tmp_path: Path) -> None:
    """As text they would all be unknown to it."""
    frame = pd.DataFrame({"day": pd.to_datetime(MONTHS * 5), "kind": ["shop"] * 20})
    estimator = encoding(frame)
    model, _, _ = made(**stored(tmp_path, estimator, frame[:8]))
    assert labels(model) == TARGET[:8] == estimator.predict(frame[:8]).tolist()
    millis = json.loads(frame[:8].to_json(orient="records", date_format="epoch"))
    (tmp_path / "s.json").write_text(json.dumps(millis))
    said = refused(tmp_path / "m.joblib", tmp_path / "w", samples=tmp_path / "s.json")
    assert "which is a number, and the model was fitted on a date there" in said
    assert said.endswith("as in training, a date as 2026-11-30 or 2026-11-30T10:15:00")


def test_a_text_that_looks_like_a_date_stays_text(tmp_path: Path) -> None:
    estimator, frame = coded(MONTHS)
    model, manifest, _ = made(**stored(tmp_path, estimator, frame[:8]))
    assert "date" not in manifest["inputs"][0]
    assert labels(model) == estimator.predict(frame[:8]).tolist()


class Lengths(Passing):
    """Answers texts and points in time alike, and differently."""

    def transform(self, x: Any) -> Any:
        """A number for each value."""
        return x.assign(day=[len(str(each)) * 9.0 for each in x["day"]])


def test_a_date_that_may_be_text_is_refused_with_the_ways_out(tmp_path: Path) -> None:
    frame = pd.DataFrame({"day": pd.to_datetime(MONTHS * 5), "n": np.arange(20.0)})
    estimator = make_pipeline(Lengths(), LogisticRegression(C=99)).fit(frame, TARGET)
    case = stored(tmp_path, estimator, frame[:8])
    said = refused(**case)
    assert "column 'day' holds '2026-01-31', which can be text or a date" in said
    assert "--types day=string or --types day=date" in said
    model, _, _ = made(**case, types={"day": "date"})
    assert labels(model) == estimator.predict(frame[:8]).tolist()


@pytest.mark.parametrize("parquet", [False, True])
def test_types_that_only_pandas_has_are_as_in_training_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parquet: bool
) -> None:
    """The service carries whole numbers with gaps as fractions: 1 is 1.0."""
    whole = pd.Series([1, 2, None, 4] * 5, dtype="Int64")
    frame = pd.DataFrame({"n": whole, "high": np.tile([1.0, 2.0], 10)})
    imputed = make_pipeline(SimpleImputer(), LogisticRegression(C=99)).fit(frame, TARGET)
    (tmp_path / "1").mkdir()
    case = stored(tmp_path / "1", imputed, frame[:8], "json")
    if parquet:
        case["samples"] = as_parquet(monkeypatch, tmp_path, frame[:8])
    else:
        case["samples"].write_text(frame[:8].to_json(orient="records"))
    model, _, _ = made(**case)
    assert labels(model) == imputed.predict(frame[:8]).tolist()
    encoder = OneHotEncoder(handle_unknown="ignore")
    written = make_pipeline(Written(), encoder, LogisticRegression(C=99)).fit(frame, TARGET)
    joblib.dump(written, tmp_path / "m.joblib")
    said = refused(tmp_path / "m.joblib", tmp_path / "w", samples=case["samples"])
    assert "column 'n' has pandas' type Int64 in the samples" in said
    assert "gives the model float64 there, which it answers differently" in said


def test_fractions_with_gaps_in_json_are_fractions(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": [1.0, 2.0, None, 4.0] * 5, "kind": KINDS})
    encoder = OneHotEncoder(handle_unknown="ignore")
    estimator = make_pipeline(Written(), encoder, LogisticRegression(C=99)).fit(frame, TARGET)
    case = stored(tmp_path, estimator, frame[:8])
    case["samples"] = tmp_path / "s.json"
    case["samples"].write_text(frame[:8].to_json(orient="records"))
    model, _, _ = made(**case)
    assert labels(model) == estimator.predict(frame[:8]).tolist()


def measured() -> pd.DataFrame:
    """Two columns of very different sizes, of which the first decides."""
    return pd.DataFrame({"mean radius": [1.0, 2.0, 3.0, 4.0] * 5, "b c": np.arange(20.0) * 100})


@pytest.mark.parametrize(("own", "given"), [(" ", "_"), ("_", " ")])
def test_blanks_and_underscores_are_one_name_where_no_other_is_meant(
    tmp_path: Path, own: str, given: str
) -> None:
    frame = measured().rename(columns=lambda name: name.replace(" ", own))
    estimator = DecisionTreeClassifier(random_state=1).fit(frame, TARGET)
    samples = frame[frame.columns[::-1]].rename(columns=lambda name: name.replace(own, given))
    model, manifest, _ = made(**stored(tmp_path, estimator, samples[:8]))
    assert manifest["inputs"][0]["features"] == list(frame)
    assert labels(model) == estimator.predict(frame[:8]).tolist()


@pytest.mark.parametrize(
    ("titles", "lacking"),
    [
        (["mean_radius", "c b"], ["b c"]),
        (["MEAN RADIUS", "b c"], ["mean radius"]),
        ([" mean radius", "b c "], ["mean radius", "b c"]),
    ],
)
def test_columns_of_other_names_are_refused_with_both(
    tmp_path: Path, titles: list[str], lacking: list[str]
) -> None:
    frame = measured()
    estimator = DecisionTreeClassifier().fit(frame, TARGET)
    said = refused(**stored(tmp_path, estimator, frame.set_axis(titles, axis=1)[:8]))
    others = [each for each in titles if each.replace("_", " ") not in frame.columns]
    assert f"the samples lack the columns {lacking} that the model was fitted on" in said
    assert f"and have {others} that it was not" in said


@pytest.mark.parametrize("form", ["csv", "json", "npz"])
@pytest.mark.parametrize("titles", [int, str])
@pytest.mark.parametrize("steps", [(), (Passing(),)])
def test_columns_that_are_called_by_their_positions_are_in_that_order(
    tmp_path: Path, form: str, titles: Any, steps: tuple[Any, ...]
) -> None:
    """As pandas names columns of a file without a header; scikit-learn records text only."""
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 12)))
    frame.columns = frame.columns.map(titles)
    estimator = make_pipeline(*steps, DecisionTreeClassifier(random_state=1)).fit(frame, TARGET)
    samples: Any = frame[frame.columns[::-1]][:8]
    if form == "npz":
        samples = {f"input/{name}": samples[name] for name in samples}
    model, manifest, _ = made(**stored(tmp_path, estimator, samples, form))
    assert manifest["inputs"][0]["features"] == [str(i) for i in range(12)]
    assert manifest.get("table") == ("dataframe" if titles is str else None)
    assert labels(model) == estimator.predict(frame[:8]).tolist()


def test_a_column_without_a_name_is_refused(tmp_path: Path) -> None:
    """As the index is, where to_csv() writes it."""
    frame = measured()
    estimator = DecisionTreeClassifier().fit(frame.to_numpy(), TARGET)
    said = refused(**stored(tmp_path, estimator, frame[:8].reset_index(names="")))
    assert said.startswith("a column of the samples has no name, such as the index that to_csv()")
    # A model that records names takes its own columns.
    estimator.fit(frame, TARGET)
    model, _, _ = made(**stored(tmp_path, estimator, frame[:8].reset_index(names="")))
    assert labels(model) == estimator.predict(frame[:8]).tolist()


def test_one_column_does_not_serve_for_two_names(tmp_path: Path) -> None:
    frame = measured().set_axis(["a b", "a_b"], axis=1)
    estimator = DecisionTreeClassifier().fit(frame, TARGET)
    said = refused(**stored(tmp_path, estimator, frame[["a_b"]][:8]))
    assert "the samples lack the columns ['a b']" in said


@pytest.mark.parametrize("steps", [(), (Passing(), Passing())])
def test_an_order_that_the_person_says_is_that_of_training(
    tmp_path: Path, steps: tuple[Any, ...]
) -> None:
    frame = measured()
    estimator = make_pipeline(*steps, DecisionTreeClassifier(random_state=1))
    estimator.fit(frame.to_numpy(), TARGET)
    samples = frame.assign(target=1.0)[["target", "b c", "mean radius"]][:8]
    case = stored(tmp_path, estimator, samples)
    model, manifest, remarks = made(**case, columns=("mean radius", "b c"))
    assert manifest["inputs"][0]["features"] == ["mean radius", "b c"]
    assert labels(model) == estimator.predict(frame[:8].to_numpy()).tolist()
    assert not any("order of the samples" in remark for remark in remarks)
    case["folder"] = tmp_path / "w"
    assert "lack the columns ['c']" in refused(**case, columns=("mean radius", "c"))


def test_an_order_against_that_of_the_model_is_refused(tmp_path: Path) -> None:
    frame = measured()
    estimator = DecisionTreeClassifier().fit(frame, TARGET)
    said = refused(**stored(tmp_path, estimator, frame[:8]), columns=("b c", "mean radius"))
    assert "--columns b c,mean radius: the model records the columns mean radius,b c" in said


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["1,5", "2,5"], "column 'n' holds '1,5', and the model computes with numbers there"),
        (["1.000 €", "2.000 €"], "column 'n' holds '1.000 €', and the model computes with"),
        (["7", "many"], "column 'n' holds 'many', and the model computes with numbers there"),
        (["7", ""], "column 'n' holds a missing value in row 1, and the model takes none"),
    ],
)
def test_a_cell_that_is_no_number_is_named_with_its_column(
    tmp_path: Path, cells: list[str], words: str
) -> None:
    frame = pd.DataFrame({"m": np.arange(20.0), "n": np.arange(20.0)})
    estimator = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, TARGET)
    samples = frame.assign(n=cells * 10)[:8]
    assert words in refused(**stored(tmp_path, estimator, samples))


def test_a_library_s_sentence_comes_with_the_way_out(tmp_path: Path) -> None:
    frame = pd.DataFrame({"day": pd.to_datetime(MONTHS * 5), "n": np.arange(20.0)})
    estimator = make_pipeline(Month(), LogisticRegression(C=99)).fit(frame, TARGET)
    said = refused(**stored(tmp_path, estimator, frame.assign(day="soon")[:8]))
    assert "cannot be called with the samples" in said
    assert "or write them in the notebook with record(model, X)" in said


def test_several_targets_have_probabilities_each_and_no_names(tmp_path: Path) -> None:
    x = np.random.default_rng(4).normal(size=(60, 4))
    forest = RandomForestClassifier(5, random_state=1).fit(x, (x[:, :3] > 0).astype(int))
    case = stored(tmp_path, forest, {"X": x[:8]}, "npz")
    model, _, _ = made(**case)
    assert labels(model) == forest.predict(x[:8]).tolist()
    served = model.run(model.package.golden.inputs)
    for number, wanted in enumerate(forest.predict_proba(x[:8])):
        np.testing.assert_allclose(served[f"probabilities_{number}"], wanted)
    said = refused(**{**case, "folder": tmp_path / "w"}, labels=("red", "green", "blue"))
    assert "--labels red,green,blue: names the classes of one target" in said


def test_columns_that_a_pipeline_takes_by_name_convert_to_onnx(tmp_path: Path) -> None:
    frame = measured()
    columns = make_column_transformer((StandardScaler(), ["mean radius", "b c"]))
    estimator = make_pipeline(columns, LogisticRegression(C=99)).fit(frame, TARGET)
    case = stored(tmp_path, estimator, frame[frame.columns[::-1]][:8])
    model, manifest, _ = made(**case, to="onnx")
    assert [each["name"] for each in manifest["inputs"]] == ["mean_radius", "b_c"]
    assert labels(model) == estimator.predict(frame[:8]).tolist()


def logged(folder: Path, estimator: Any, columns: dict[str, str], samples: pd.DataFrame) -> Path:
    """A folder as MLflow writes it, with a signature; and samples as CSV beside it."""
    model = folder / "logged"
    model.mkdir()
    joblib.dump(estimator, model / "model.pkl")
    inputs = [{"type": kind, "name": name, "required": True} for name, kind in columns.items()]
    content = {
        "flavors": {"sklearn": {"pickled_model": "model.pkl", "sklearn_version": sklearn_version}},
        "signature": {"inputs": json.dumps(inputs)},
    }
    (model / "MLmodel").write_text(yaml.safe_dump(content))
    samples.to_csv(folder / "s.csv", index=False)
    return model


def test_types_that_nothing_else_tells_are_those_of_mlflow_s_signature(tmp_path: Path) -> None:
    frame = pd.DataFrame({"zip": ["01067", "02826", "80331", "10115"] * 5, "n": np.arange(20.0)})
    estimator = make_pipeline(Coding(), LogisticRegression(C=99)).fit(frame, TARGET)
    columns = {"zip": "string", "n": "double"}
    model = logged(tmp_path, estimator, columns, frame[:8])
    source, _ = mlflow_source(model, Options(samples=tmp_path / "s.csv"))
    assert [each["datatype"] for each in source.inputs] == ["BYTES", "FP64"]
    assert source.golden_outputs["label"].tolist() == estimator.predict(frame[:8]).tolist()
    # What the person says wins.
    options = Options(samples=tmp_path / "s.csv", types={"zip": "number"})
    source, _ = mlflow_source(model, options)
    assert [each["datatype"] for each in source.inputs] == ["FP64"]


def test_an_order_that_nothing_else_tells_is_that_of_mlflow_s_signature(tmp_path: Path) -> None:
    frame = measured()
    estimator = DecisionTreeClassifier(random_state=1).fit(frame.to_numpy(), TARGET)
    samples = frame[frame.columns[::-1]][:8]
    model = logged(tmp_path, estimator, dict.fromkeys(frame, "double"), samples)
    source, _ = mlflow_source(model, Options(samples=tmp_path / "s.csv"))
    expected = estimator.predict(frame[:8].to_numpy()).tolist()
    assert source.golden_outputs["label"].tolist() == expected
    assert source.inputs[0]["features"] == list(frame)


def test_a_signature_may_number_its_columns(tmp_path: Path) -> None:
    frame = measured().set_axis([0, 1], axis=1)
    estimator = DecisionTreeClassifier(random_state=1).fit(frame, TARGET)
    columns: Any = dict.fromkeys(frame, "double")
    model = logged(tmp_path, estimator, columns, frame[[1, 0]][:8])
    source, _ = mlflow_source(model, Options(samples=tmp_path / "s.csv"))
    assert source.golden_outputs["label"].tolist() == estimator.predict(frame[:8]).tolist()


def test_made_up_numbers_that_do_not_fit_are_refused_as_such(tmp_path: Path) -> None:
    estimator, _ = coded(CODES)
    joblib.dump(estimator, tmp_path / "m.joblib")
    said = refused(tmp_path / "m.joblib", tmp_path / "models")
    assert "no samples were given, and made-up numbers are not what it was fitted on" in said
    assert "column 'code' holds" in said
    assert said.endswith("give real ones with --samples")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("code,kind\nä,shop\n".encode("latin-1"), "byte 10 is 0xe4, which is no UTF-8; save the"),
        (b"", "it needs a header line and rows of the same length"),
        (b"code,code\na,b\n", "two columns are called 'code'; names must differ"),
        (b"code;kind\na;shop\n", "lack the columns ['code', 'kind'] that the model was fitted on, "
         "and have ['code;kind']"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_such_table_is_refused(
    tmp_path: Path, content: bytes, words: str
) -> None:
    estimator, _ = coded(CODES)
    joblib.dump(estimator, tmp_path / "m.joblib")
    (tmp_path / "s.csv").write_bytes(content)
    said = refused(tmp_path / "m.joblib", tmp_path / "models", samples=tmp_path / "s.csv")
    assert words in said


COLUMNS: dict[str, Any] = {
    "digits as text": ["01067", "02826", "80331", "10115"],
    "fractions as text": ["1.0", "2.0", "3.0", "4.0"],
    "words for booleans": ["TRUE", "FALSE", "yes", "no"],
    "words for gaps": ["NA", "None", "null", "x"],
    "text with gaps": ["C", np.nan, "S", "Q"],
    "booleans": [True, True, False, False],
    "whole numbers": [10, 20, 30, 40],
    "fractions": [1.5, 2.5, 3.5, 4.0],
    "fractions with gaps": [1.0, np.nan, 3.0, 4.0],
    "nullable whole numbers": pd.array([1, 2, 3, 4], dtype="Int64"),
    "nullable whole numbers with gaps": pd.array([1, None, 3, 4], dtype="Int64"),
    "categories of text": pd.Categorical(["C", "Q", "S", "B"], ["S", "Q", "C", "B"]),
    "categories of numbers": pd.Categorical([30, 10, 20, 40]),
    "categories of digits": pd.Categorical(["1", "2", "3", "4"]),
    "dates": pd.to_datetime(MONTHS),
    "times": pd.to_datetime([f"{day}T09:30:00.25" for day in MONTHS]),
    "dates as text": MONTHS,
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("form", ["csv", "json", "recorded", "parquet"])
@pytest.mark.parametrize("case", COLUMNS)
def test_no_type_of_column_changes_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, form: str
) -> None:
    """The encoder takes what it does not know for nothing, so a wrong type would be silent."""
    column = pd.concat([pd.Series(COLUMNS[case])] * 5, ignore_index=True)
    frame = pd.DataFrame({"code": column, "kind": KINDS})
    estimator = encoding(frame)
    swapped = frame[["kind", "code"]][:8]
    joblib.dump(estimator, tmp_path / "m.joblib")
    samples = tmp_path / f"s.{form if form == 'csv' else 'json'}"
    if form == "csv":
        na = {"na_rep": "N/A"} if case == "words for gaps" else {}
        swapped.to_csv(samples, index=False, **na)
    elif form == "json":
        swapped.to_json(samples, orient="records", date_format="iso", date_unit="us")
    elif form == "recorded":
        record(estimator, frame[:8], samples)
    else:
        samples = as_parquet(monkeypatch, tmp_path, swapped)
    model, _, _ = made(tmp_path / "m.joblib", tmp_path / "models", samples=samples)
    assert labels(model) == estimator.predict(frame[:8]).tolist()
    np.testing.assert_allclose(
        model.package.golden.outputs["probabilities"], estimator.predict_proba(frame[:8])
    )


@pytest.mark.parametrize(
    "values",
    [
        [datetime.date(2026, month, 1) for month in (1, 2, 3, 4)],
        list(pd.cut([1, 2, 3, 4], [0, 1, 2, 3, 4])),
        [b"a", b"b", b"c", b"d"],
    ],
    ids=lambda values: type(values[0]).__name__,
)
def test_values_of_training_that_no_client_can_send_are_named(
    tmp_path: Path, values: list[Any]
) -> None:
    estimator, frame = coded(values)
    said = refused(**stored(tmp_path, estimator, frame[:8]))
    assert "column 'code' held " in said
    assert f"({type(values[0]).__name__}) in training" in said
    assert said.endswith("turn it into one of these before fitting")


@pytest.mark.parametrize(
    "day",
    [pd.Timestamp("2026-01-31", tz="UTC"), datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC)],
)
def test_dates_of_a_time_zone_are_no_dates_to_the_service(tmp_path: Path, day: Any) -> None:
    days = pd.Series([day] * 20, dtype=object)
    frame = pd.DataFrame({"day": days, "kind": KINDS})
    said = refused(**stored(tmp_path, encoding(frame), frame[:8]))
    assert "column 'day' held " in said
    assert "the service carries numbers, booleans, text and dates without a time zone" in said


@pytest.mark.parametrize("values", [[1067, 2826, 80331, 10115], [1.5, 2.5, 3.5, 4.5]])
@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_numbers_as_python_s_objects_are_named_with_the_way_out(
    tmp_path: Path, values: list[Any], suffix: str
) -> None:
    """scikit-learn compares their column with no other type."""
    frame = pd.DataFrame({"code": pd.Series(values * 5, dtype=object), "kind": KINDS})
    said = refused(**stored(tmp_path, encoding(frame), frame[:8], suffix))
    assert "column 'code' held " in said
    assert " as a Python object in training" in said
    assert "give the column a type before fitting (frame.infer_objects(), or astype(str))" in said


@pytest.mark.parametrize("orient", ["columns", "index", "records", "split", "table"])
def test_json_is_read_as_pandas_writes_it(tmp_path: Path, orient: Any) -> None:
    estimator, frame = coded(CODES)
    joblib.dump(estimator, tmp_path / "m.joblib")
    frame[:8].to_json(tmp_path / "s.json", orient=orient)
    model, _, _ = made(tmp_path / "m.joblib", tmp_path / "models", samples=tmp_path / "s.json")
    assert labels(model) == estimator.predict(frame[:8]).tolist()


@pytest.mark.parametrize("names", [("data", "columns", "inputs"), ("data", "instances", "n")])
def test_columns_may_have_the_names_that_json_has_for_tables(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    frame = pd.DataFrame(dict(zip(names, (CODES * 5, KINDS, np.arange(20.0)), strict=True)))
    estimator = encoding(frame)
    joblib.dump(estimator, tmp_path / "m.joblib")
    for orient in ("columns", "records", "split"):
        frame[:8].to_json(tmp_path / "s.json", orient=orient)
        model, _, _ = made(tmp_path / "m.joblib", tmp_path / orient, samples=tmp_path / "s.json")
        assert labels(model) == estimator.predict(frame[:8]).tolist()


@pytest.mark.parametrize("mark", ["", "NA", "None"])
def test_a_text_that_the_imputer_takes_for_a_gap_stays_text(tmp_path: Path, mark: str) -> None:
    frame = pd.DataFrame({"code": [mark, "a", "b", "c"] * 5, "kind": KINDS})
    imputer = SimpleImputer(strategy="constant", fill_value="gone", missing_values=mark)
    estimator = encoding(frame, imputer)
    model, _, _ = made(**stored(tmp_path, estimator, frame[:8]))
    assert labels(model) == estimator.predict(frame[:8]).tolist()


def test_words_for_gaps_stay_text_where_a_model_takes_no_gaps(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["NA is", "", "NA", "null"] * 5})
    estimator = make_pipeline(CountVectorizer(analyzer="char"), LogisticRegression(C=99))
    estimator.fit(frame["text"], TARGET)
    model, _, _ = made(**stored(tmp_path, estimator, frame[:8]))
    assert labels(model) == estimator.predict(frame["text"][:8]).tolist()


def test_arrays_may_be_called_by_numbers(tmp_path: Path) -> None:
    given = {"inputs": {"0": [1.0, 2.0], "1": [3.0, 4.0]}}
    (tmp_path / "s.json").write_text(json.dumps(given))
    arrays = read_samples(tmp_path / "s.json").arrays
    assert {name: each.tolist() for name, each in arrays.items()} == given["inputs"]


def test_a_column_that_the_first_record_lacks_is_one(tmp_path: Path) -> None:
    frame = pd.DataFrame({"kind": KINDS, "code": [None, *CODES * 4, *CODES[:3]]}).fillna(np.nan)
    estimator = encoding(frame)
    records = [{n: v for n, v in each.items() if v == v} for each in frame.to_dict("records")]
    (tmp_path / "s.json").write_text(json.dumps({"dataframe_records": records[:8]}))
    joblib.dump(estimator, tmp_path / "m.joblib")
    model, _, _ = made(tmp_path / "m.joblib", tmp_path / "models", samples=tmp_path / "s.json")
    assert labels(model) == estimator.predict(frame[:8]).tolist()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"columns": ["a", "b"], "data": [[1]]}', "each row of data needs 2 cells"),
        ('{"columns": ["a", "b"], "data": [[1, 2, 3]]}', "each row of data needs 2 cells"),
        ('{"columns": 3, "data": [[1]]}', "holds neither a table nor arrays; write a list of"),
        ('[{"a": 1, "b": 2}, 3]', "holds neither a table nor arrays; write a list of records"),
        ('{"columns": ["a", "b"], "data": []}', "holds no rows; give a few inputs of the model"),
        ("[]", "holds no rows; give a few inputs of the model"),
        ("{}", "holds no rows; give a few inputs of the model"),
    ],
)
def test_json_that_is_no_table_is_refused(tmp_path: Path, content: str, words: str) -> None:
    joblib.dump(LogisticRegression().fit([[0, 1], [1, 0]], [0, 1]), tmp_path / "m.joblib")
    (tmp_path / "s.json").write_text(content)
    said = refused(tmp_path / "m.joblib", tmp_path / "models", samples=tmp_path / "s.json")
    assert words in said


def test_arrays_of_python_s_objects_are_refused_with_the_way_out(tmp_path: Path) -> None:
    estimator, frame = coded(CODES)
    columns = {name: frame[name].to_numpy(dtype=object)[:8] for name in frame}
    said = refused(**stored(tmp_path, estimator, columns, "npz"))
    assert "it holds Python objects, which are not unpickled; write text with astype(str)" in said
    typed = {name: each.astype(str) for name, each in columns.items()}
    model, _, _ = made(**stored(tmp_path, estimator, typed, "npz"))
    assert labels(model) == estimator.predict(frame[:8]).tolist()


def test_dates_are_no_numbers_to_an_onnx_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """numpy would count microseconds."""
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [1.0, 2.0], "day": pd.to_datetime(MONTHS[:2])})
    samples = as_parquet(monkeypatch, tmp_path, frame)
    said = refused(double(tmp_path / "m.onnx"), tmp_path / "models", samples=samples)
    assert "the samples of 'x' are dates, and the model takes FP32" in said


@pytest.mark.parametrize("form", ["npz", "parquet"])
def test_a_model_that_was_fitted_on_float32_is_packaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """Asked with float32 it computes in float32, and with float64 in float64."""
    x = np.random.default_rng(8).normal(size=(40, 3)).astype(np.float32)
    frame = pd.DataFrame(x, columns=["a", "b", "c"])
    estimator = LogisticRegression().fit(frame if form == "parquet" else x, x[:, 0] > 0)
    joblib.dump(estimator, tmp_path / "m.joblib")
    samples = tmp_path / "s.npz"
    if form == "parquet":
        samples = as_parquet(monkeypatch, tmp_path, frame[:9])
    else:
        np.savez(samples, X=x[:9])
    model, _, _ = made(tmp_path / "m.joblib", tmp_path / "models", samples=samples)
    answers = model.run({"features": x.astype(np.float64)})["probabilities"]
    expected = estimator.predict_proba(frame if form == "parquet" else x)
    np.testing.assert_allclose(answers, expected, atol=1e-6)

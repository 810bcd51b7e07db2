"""Tables of scikit-learn models: a package answers as Python does, or is refused in one line.

Every expected answer is the estimator's own, to the table that it was fitted on.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pandas as pd
import pytest
from engine.packaging.sklearn_columns import Known
from engine.serving.package.golden import write_golden
from onnx import helper
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tests.engine.test_packaging import double, made, refused, save

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("steps_of_tests")]

ROWS = 8
TARGET = ["east", "east", "other", "other"] * 5
KINDS = ["shop", "flat", "flat", "shop"] * 5


class Passing(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A step of one's own: it records nothing and passes everything on."""

    def fit(self, x: Any, y: Any = None) -> Passing:
        """Nothing to learn."""
        del x, y
        return self

    def transform(self, x: Any) -> Any:
        """The same."""
        return x


class Selecting(Passing):
    """Takes a column by its name, so it needs a DataFrame."""

    def transform(self, x: Any) -> Any:
        """One column."""
        return x[["low"]]


class Coding(Passing):
    """Knows codes and takes all others for 0; records nothing."""

    def transform(self, x: Any) -> Any:
        """Numbers instead of codes."""
        return x.assign(zip=[{"01067": 5.0, "02826": 5.0}.get(each, 0.0) for each in x["zip"]])


def stored(folder: Path, estimator: Any, samples: Any, suffix: str = "csv") -> dict[str, Any]:
    """Write the estimator and its samples; arguments for ``made`` and ``refused``."""
    joblib.dump(estimator, folder / "m.joblib")
    path = folder / f"s.{suffix}"
    if suffix == "csv":
        samples.to_csv(path, index=False)
    elif suffix == "json":
        path.write_text(json.dumps(samples.to_dict("records")))
    else:
        np.savez(path, **samples)
    return {"source": folder / "m.joblib", "folder": folder / "models", "samples": path}


def encoding(frame: pd.DataFrame, *steps: Any) -> Any:
    """A classifier that knows values, whatever their type."""
    encoder = OneHotEncoder(handle_unknown="ignore")
    return make_pipeline(*steps, encoder, LogisticRegression(C=99)).fit(frame, TARGET)


@pytest.mark.parametrize("suffix", ["csv", "json"])
@pytest.mark.parametrize(
    ("values", "datatype"),
    [
        (["01067", "02826", "80331", "10115"], "BYTES"),  # postal codes
        (["1", "2", "3", "4"], "BYTES"),  # codes
        (["1.10", "1.1", "2.0", "2"], "BYTES"),  # versions
        (["18-25", "26-35", "36-50", "51+"], "BYTES"),  # age bands
        (["True", "True", "False", "False"], "BYTES"),  # words
        (["NA", "NA", "DE", "FR"], "BYTES"),  # Namibia
        (["20240101", "20240102", "20250101", "20250102"], "BYTES"),  # days
        ([True, True, False, False], "BOOL"),
    ],
)
def test_what_an_encoder_has_seen_decides_the_type(
    tmp_path: Path, values: list[Any], datatype: str, suffix: str
) -> None:
    frame = pd.DataFrame({"code": values * 5, "kind": KINDS}, dtype=object)
    estimator = encoding(frame, SimpleImputer(strategy="most_frequent"))
    model, manifest, _ = made(**stored(tmp_path, estimator, frame[:ROWS], suffix))
    assert manifest["inputs"][0]["datatype"] == datatype
    dtype = np.bool_ if datatype == "BOOL" else np.object_
    given = {
        "code": np.array(values, dtype).reshape(-1, 1),
        "kind": np.array(KINDS[:4], np.object_).reshape(-1, 1),
    }
    assert model.run(given)["label"].tolist() == estimator.predict(frame[:4]).tolist()


def test_encoders_inside_searches_and_column_transformers_are_found(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": np.arange(20.0), "code": ["01", "02", "03", "04"] * 5})
    columns = make_column_transformer(
        (StandardScaler(), ["n"]), (OneHotEncoder(handle_unknown="ignore"), ["code"])
    )
    search = GridSearchCV(
        make_pipeline(columns, LogisticRegression()), {"logisticregression__C": [9, 99]}, cv=2
    ).fit(frame, TARGET)
    model, manifest, _ = made(**stored(tmp_path, search, frame[:ROWS]))
    assert [each["datatype"] for each in manifest["inputs"]] == ["FP64", "BYTES"]
    golden = model.package.golden
    assert golden.outputs["label"].tolist() == search.predict(frame[:ROWS]).tolist()


def test_an_array_of_text_digits_keeps_them(tmp_path: Path) -> None:
    frame = pd.DataFrame({"zip": ["01067", "02826", "80331", "10115"] * 5, "kind": KINDS})
    estimator = encoding(frame.to_numpy(dtype=object))
    model, manifest, remarks = made(**stored(tmp_path, estimator, frame[:ROWS]))
    assert "table" not in manifest
    expected = estimator.predict(frame[:ROWS].to_numpy(dtype=object)).tolist()
    assert model.package.golden.outputs["label"].tolist() == expected
    assert any("in the order of the samples: zip, kind" in remark for remark in remarks)


def test_a_type_that_nothing_tells_is_refused_with_the_ways_out(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"zip": ["01067", "02826", "80331", "10115"] * 5, "n": np.tile([1.0, 2.0], 10)}
    )
    estimator = make_pipeline(Coding(), LogisticRegression(C=99)).fit(frame, TARGET)
    case = stored(tmp_path, estimator, frame[:ROWS])
    words = refused(**case)
    assert "column 'zip' holds '01067', which can be a number or text" in words
    assert "--types zip=string" in words
    assert "JSON" in words
    expected = estimator.predict(frame[:ROWS]).tolist()
    for way_out in (
        {"types": {"zip": "string"}},
        stored(tmp_path, estimator, frame[:ROWS], "json"),
    ):
        model, manifest, _ = made(**{**case, **way_out})
        assert manifest["inputs"][0]["datatype"] == "BYTES"
        assert model.package.golden.outputs["label"].tolist() == expected


@pytest.mark.parametrize(
    ("types", "words"),
    [
        ({"kind": "number"}, "--types kind=number: "),
        ({"kind": "words"}, "a type is one of number, float, bool, string, literal"),
        ({"colour": "string"}, "has no column 'colour'"),
    ],
)
def test_types_that_cannot_be_are_refused(
    tmp_path: Path, types: dict[str, str], words: str
) -> None:
    frame = pd.DataFrame({"zip": ["01067", "02826", "80331", "10115"] * 5, "kind": KINDS})
    assert words in refused(**stored(tmp_path, encoding(frame), frame[:ROWS]), types=types)


def test_booleans_with_gaps_are_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"member": [True, None, False, False] * 5, "kind": KINDS}, dtype=object)
    imputer = SimpleImputer(strategy="most_frequent", missing_values=None)
    words = refused(**stored(tmp_path, encoding(frame, imputer), frame[:ROWS]))
    assert "column 'member' holds 'True' and missing values" in words


def test_values_of_several_types_in_a_json_column_are_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"code": [1, "a", 2, "b"] * 5, "kind": KINDS}, dtype=object)
    estimator = encoding(frame.astype(str))
    words = refused(**stored(tmp_path, estimator, frame[:ROWS], "json"))
    assert "column 'code' holds numbers, text" in words


def numbers() -> tuple[pd.DataFrame, list[int]]:
    """Two columns of very different sizes, of which the first decides."""
    random = np.random.default_rng(2)
    frame = pd.DataFrame({"low": random.uniform(0, 1, 60), "high": random.uniform(50, 90, 60)})
    return frame, (frame["low"] > 0.5).astype(int).tolist()


@pytest.mark.parametrize("step", [StandardScaler(), Passing(), Selecting()])
def test_columns_in_another_order_are_sorted_by_what_any_step_knows(
    tmp_path: Path, step: Any
) -> None:
    frame, target = numbers()
    estimator = make_pipeline(step, LogisticRegression(C=99)).fit(frame, target)
    case = stored(tmp_path, estimator, frame[["high", "low"]][:ROWS])
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        model, manifest, _ = made(**case)
        model.verify()
    assert not [each for each in noted if "feature names" in str(each.message)]
    assert manifest["table"] == "dataframe"
    assert (
        model.package.golden.outputs["label"].tolist() == estimator.predict(frame[:ROWS]).tolist()
    )


def test_an_array_gets_the_names_that_a_later_step_knows(tmp_path: Path) -> None:
    frame, target = numbers()
    estimator = make_pipeline(Passing(), LogisticRegression(C=99)).fit(frame, target)
    samples = {"x": frame[:ROWS].to_numpy()}
    _, manifest, _ = made(**stored(tmp_path, estimator, samples, "npz"))
    assert (manifest["table"], manifest["inputs"][0]["features"]) == ("dataframe", ["low", "high"])


def test_an_order_that_nothing_tells_is_named(tmp_path: Path) -> None:
    frame, target = numbers()
    estimator = LogisticRegression(C=99).fit(frame.to_numpy(), target)
    _, manifest, remarks = made(**stored(tmp_path, estimator, frame[:ROWS]))
    assert "table" not in manifest
    assert any("in the order of the samples: low, high" in remark for remark in remarks)


@pytest.mark.parametrize("to", ["as-is", "onnx"])
def test_given_answers_are_compared(tmp_path: Path, to: str) -> None:
    frame, target = numbers()
    estimator = LogisticRegression(C=99).fit(frame, target)
    right = {"input/x": frame[:ROWS].to_numpy(), "output/label": estimator.predict(frame[:ROWS])}
    made(**stored(tmp_path, estimator, right, "npz"), to=to)
    wrong = {**right, "output/label": right["output/label"] ^ (np.arange(ROWS) == 3)}
    words = refused(
        **{**stored(tmp_path, estimator, wrong, "npz"), "folder": tmp_path / "w"}, to=to
    )
    said, own = wrong["output/label"][3], right["output/label"][3]
    assert f"the samples' output/label at [3] is {said}, and scikit-learn" in words
    assert f"gives {own} (1 of 8 values differ)" in words
    unknown = {"input/x": right["input/x"], "output/class": right["output/label"]}
    words = refused(
        **{**stored(tmp_path, estimator, unknown, "npz"), "folder": tmp_path / "w"}, to=to
    )
    assert "output/class, and the model gives ['label', 'probabilities']" in words


def written_as(form: str, frame: pd.DataFrame, answers: list[Any]) -> tuple[str, str]:
    """The suffix and content of a file with the rows and their answers."""
    together = frame.assign(**{"output/label": answers})
    split = {"columns": [*frame], "data": frame.to_numpy().tolist(), "outputs": {"label": answers}}
    return {
        "csv": ("csv", together.to_csv(index=False)),
        "lines": ("jsonl", together.to_json(orient="records", lines=True)),
        "records": ("json", json.dumps(together.to_dict("records"))),
        "split": ("json", json.dumps(split)),
    }[form]


@pytest.mark.parametrize("to", ["as-is", "onnx"])
@pytest.mark.parametrize("form", ["csv", "lines", "records", "split"])
@pytest.mark.parametrize("text", [False, True], ids=["numbers", "text"])
def test_a_wrong_answer_is_found_behind_the_rows_that_are_kept(
    tmp_path: Path, form: str, to: str, text: bool
) -> None:
    few, target = numbers()
    classes = np.array(["left", "right"])[target] if text else np.array(target)
    estimator = LogisticRegression(C=99).fit(few, classes)
    frame = pd.concat([few] * 20, ignore_index=True)
    answers = estimator.predict(frame).tolist()
    for row in (None, 150, 1199):
        if row is not None:
            answers[row] = next(each for each in set(answers) if each != answers[row])
        suffix, content = written_as(form, frame, answers)
        (tmp_path / f"s.{suffix}").write_text(content)
        joblib.dump(estimator, tmp_path / "m.joblib")
        case = {"source": tmp_path / "m.joblib", "samples": tmp_path / f"s.{suffix}"}
        if row is None:
            made(**case, folder=tmp_path / "models", to=to)
            continue
        words = refused(**case, folder=tmp_path / "w", to=to)
        assert f"output/label at [{row}] is {answers[row]!r}, and the package gives " in words
        answers = estimator.predict(frame).tolist()


def test_a_row_of_another_length_behind_those_that_are_kept_ends_nothing(tmp_path: Path) -> None:
    frame, target = numbers()
    estimator = LogisticRegression(C=99).fit(frame, target)
    rows = frame.to_numpy().tolist() * 2
    answers = estimator.predict(frame).tolist() * 2
    samples = {"columns": [*frame], "data": [*rows, [1.0], 7], "output/label": [*answers, 0, 0]}
    joblib.dump(estimator, tmp_path / "m.joblib")
    (tmp_path / "s.json").write_text(json.dumps(samples))
    case = {"source": tmp_path / "m.joblib", "samples": tmp_path / "s.json"}
    made(**case, folder=tmp_path / "models")
    samples["output/label"][100] = 1 - answers[100]
    (tmp_path / "s.json").write_text(json.dumps(samples))
    words = refused(**case, folder=tmp_path / "w")
    assert f"output/label at [100] is {1 - answers[100]}, and the package gives" in words


def test_given_labels_of_text_and_columns_of_arrays_are_compared(tmp_path: Path) -> None:
    frame = pd.DataFrame({"zip": ["01067", "02826", "80331", "10115"] * 5, "kind": KINDS})
    estimator = encoding(frame)
    columns = {f"input/{name}": frame[name][:ROWS].to_numpy(np.str_) for name in frame}
    answers = estimator.predict(frame[:ROWS]).astype(np.str_)
    made(**stored(tmp_path, estimator, columns | {"output/label": answers}, "npz"))
    answers[2] = "east"
    case = stored(tmp_path, estimator, columns | {"output/label": answers}, "npz")
    words = refused(**{**case, "folder": tmp_path / "w"})
    assert "output/label at [2] is 'east', and scikit-learn" in words


def placed(folder: Path, frame: pd.DataFrame, answers: list[Any], where: str) -> dict[str, Any]:
    """Samples with answers, as each kind of file can hold them."""
    rows = json.loads(frame.to_json(orient="split", index=False))
    columns: dict[str, Any] = {name: frame[name].tolist() for name in frame}
    together = frame.assign(**{"output/label": answers})
    content: Any = {
        "json records": together.to_dict("records"),
        "json columns": {**rows, "output/label": answers},
        "json split": {"dataframe_split": rows, "outputs": {"label": answers}},
        "json data": {"data": columns, "output/label": answers},
        "json inputs": {"inputs": columns, "outputs": {"label": answers}},
        "json instances": {"instances": frame.to_dict("records"), "outputs": {"label": answers}},
        "json arrays": {**columns, "output/label": answers},
        "csv": None,
    }[where]
    path = folder / f"s.{where.split()[0]}"
    if where == "csv":
        together.to_csv(path, index=False)
    else:
        path.write_text(json.dumps(content))
    return {"samples": path}


@pytest.mark.parametrize(
    "where",
    ["csv", "json records", "json columns", "json split", "json data", "json inputs",
     "json instances", "json arrays"],
)  # fmt: skip
def test_answers_are_compared_wherever_a_file_holds_them(tmp_path: Path, where: str) -> None:
    frame = pd.DataFrame({"zip": ["01067", "02826", "80331", "10115"] * 25, "kind": KINDS * 5})
    labels = ["007", "007", "8", "9"] * 25  # as text in a CSV file too
    encoder = OneHotEncoder(handle_unknown="ignore")
    estimator = make_pipeline(encoder, LogisticRegression(C=99)).fit(frame, labels)
    answers = estimator.predict(frame).tolist()
    case = stored(tmp_path, estimator, frame)
    made(**{**case, **placed(tmp_path, frame, answers, where)})
    answers[2] = "9"
    wrong = {**placed(tmp_path, frame, answers, where), "folder": tmp_path / "w"}
    words = refused(**{**case, **wrong})
    assert "output/label at [2] is '9', and scikit-learn" in words
    assert "gives '8' (1 of" in words


@pytest.mark.parametrize("suffix", ["csv", "json", "npz"])
def test_answers_to_no_inputs_are_refused(tmp_path: Path, suffix: str) -> None:
    frame, target = numbers()
    estimator = LogisticRegression(C=99).fit(frame, target)
    answers = pd.DataFrame({"output/label": target[:ROWS]})
    samples = {"output/label": np.array(target[:ROWS])} if suffix == "npz" else answers
    words = refused(**stored(tmp_path, estimator, samples, suffix))
    assert "holds output/label and no inputs; give the inputs" in words


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"output/label": 1}, "output/label has shape []"),
        ({"output/label": [1]}, "output/label has shape [1]"),
        ({"outputs": [1, 1]}, '"outputs" holds no names'),
    ],
)
def test_answers_of_another_form_are_refused(
    tmp_path: Path, answers: dict[str, Any], words: str
) -> None:
    frame, target = numbers()
    case = stored(tmp_path, LogisticRegression(C=99).fit(frame, target), frame[:2], "json")
    split = {"columns": list(frame), "data": frame[:2].to_numpy().tolist()}
    case["samples"].write_text(json.dumps(split | answers))
    assert words in refused(**case)


def test_answers_in_a_table_are_those_of_an_onnx_model(tmp_path: Path) -> None:
    x, columns = (helper.make_tensor_value_info("x", 1, ["rows", 3]), ("rows", 1))
    y = helper.make_tensor_value_info("y", 1, columns)
    node = helper.make_node("ReduceMax", ["x"], ["y"], axes=[1])
    graph = helper.make_graph([node], "graph", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, tmp_path / "m.onnx")
    for last, words in ((7.0, ""), (6.0, "output 'y' at [2, 0] is 7.0")):
        text = f"a,b,c,output/y\n1,2,3,3\n4,5,6,6\n7,0,0,{last}\n"
        (tmp_path / "s.csv").write_text(text)
        case = {"samples": tmp_path / "s.csv", "folder": tmp_path / f"models{last}"}
        if words:
            assert words in refused(tmp_path / "m.onnx", **case)
        else:
            _, manifest, _ = made(tmp_path / "m.onnx", **case)
            assert manifest["inputs"][0]["features"] == ["a", "b", "c"]
            assert manifest["training"]["golden"] == "given with the samples"


def test_answers_of_some_outputs_are_enough_for_onnx(tmp_path: Path) -> None:
    """The others are the runtime's own, and the record says which."""
    tensor = (onnx.TensorProto.FLOAT, ["rows", 3])
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["z"])]
    source = save(tmp_path / "m.onnx", nodes, {"x": tensor}, {"y": tensor, "z": tensor})
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_golden(tmp_path / "s.npz", {"x": x}, {"z": -x})
    model, manifest, _ = made(source, tmp_path / "models", samples=tmp_path / "s.npz")
    assert manifest["training"]["golden"].startswith("given with the samples; y: ONNX Runtime")
    assert list(model.package.golden.outputs) == ["y", "z"]
    write_golden(tmp_path / "s.npz", {"x": x}, {"z": x})
    words = refused(source, tmp_path / "w", samples=tmp_path / "s.npz")
    assert "golden check failed: output 'z' at [0, 1]" in words


@pytest.mark.parametrize(
    ("late", "known"), [("01067", True), ("01067", False), ("12b", False), ("NA", True)]
)
def test_a_cell_of_a_later_row_counts_for_the_type(tmp_path: Path, late: str, known: bool) -> None:
    """Row 69 is the first that tells what the column is."""
    zips = ["11067", "12826", "80331", "10115"] * 25
    zips[68] = late
    frame = pd.DataFrame({"n": np.tile([1.0, 2.0], 50), "zip": zips})
    step = OneHotEncoder(handle_unknown="ignore") if known else Coding()
    target = [each if each == late else each[0] for each in zips]
    estimator = make_pipeline(step, LogisticRegression(C=99)).fit(frame, target)
    case = stored(tmp_path, estimator, frame)
    if late == "01067" and not known:
        assert "column 'zip' holds '01067', which can be a number" in refused(**case)
        case |= {"types": {"zip": "string"}}
    model, manifest, _ = made(**case)
    assert manifest["inputs"][1]["datatype"] == "BYTES"
    kept = model.package.golden.inputs["zip"].reshape(-1).tolist()
    assert kept[:63] == zips[:63]
    assert len(kept) == 64
    assert served(model, manifest, frame) == estimator.predict(frame).tolist()


def test_given_answers_of_another_type_are_refused_for_onnx(tmp_path: Path) -> None:
    samples: dict[str, Any] = {"input/x": np.ones((2, 3), np.float32)}
    samples["output/y"] = np.array(["a", "b"])
    np.savez(tmp_path / "s.npz", **samples)
    words = refused(double(tmp_path / "m.onnx"), tmp_path / "w", samples=tmp_path / "s.npz")
    assert "output/y holds 'a', and the model's output of that name is FP32" in words


@pytest.mark.parametrize("rows", [1, ROWS])
@pytest.mark.parametrize("suffix", ["csv", "json"])
@pytest.mark.parametrize("named", [True, False])
def test_one_column_of_text(tmp_path: Path, rows: int, suffix: str, named: bool) -> None:
    frame = pd.DataFrame({"text": ["good day", "bad night", "fine day", "sad night"] * 5})
    if named:
        estimator = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(frame, TARGET)
        expected = estimator.predict(frame[:rows])
    else:
        estimator = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(frame.text, TARGET)
        expected = estimator.predict(frame.text[:rows])
    case = stored(tmp_path, estimator, frame[:rows], suffix)
    model, manifest, _ = made(**case)
    only = {0: sorted(frame.text.unique())}
    known = {"shape": [-1, 1], "only": only} if named else {"shape": [-1]}
    assert manifest["inputs"] == [{"name": "text", "datatype": "BYTES"} | known]
    assert model.package.golden.outputs["label"].tolist() == expected.tolist()


def test_more_values_than_a_person_chooses_from_are_not_recorded() -> None:
    texts = frozenset(f"{number:03}" for number in range(101))
    assert Known("string", certain=True, categories=texts, complete=True).values == []
    few = texts - {"000"}
    assert Known("string", certain=True, categories=few, complete=True).values == sorted(few)
    # An imputer knows one of them only.
    assert Known("string", certain=True, categories=few).values == []


def test_one_column_of_digits_that_are_text(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["12", "13", "14", "15"] * 5})
    estimator = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(frame.text, TARGET)
    model, manifest, _ = made(**stored(tmp_path, estimator, frame[:ROWS]))
    assert manifest["inputs"][0]["datatype"] == "BYTES"
    expected = estimator.predict(frame.text[:ROWS]).tolist()
    assert model.package.golden.outputs["label"].tolist() == expected


class Boosted:
    """A stand-in with the records of pickled CatBoost models, which count 0 features.

    It takes a DataFrame's columns by position.
    """

    n_features_in_ = 0
    feature_names_ = ("mean_radius", "k")

    def predict(self, table: Any) -> Any:
        """The first column."""
        return np.asarray(table)[:, 0].astype(float)


def test_a_booster_s_order_is_its_own(tmp_path: Path) -> None:
    frame = pd.DataFrame({"k": [7.0, 8.0], "mean radius": [1.5, 2.5]})
    model, manifest, remarks = made(**stored(tmp_path, Boosted(), frame))
    assert manifest["inputs"][0]["features"] == ["mean_radius", "k"]
    assert model.package.golden.outputs["prediction"].tolist() == [1.5, 2.5]
    assert not any("order" in remark for remark in remarks)


def test_whole_numbers_stay_whole_where_the_model_notices(tmp_path: Path) -> None:
    """One tensor of FP64 would make 3 to 3.0, and its text another one."""
    frame = pd.DataFrame({"low": [1, 2, 3, 4] * 5, "high": np.arange(20.0)})
    estimator = make_pipeline(Spelling(), LogisticRegression(C=99)).fit(frame, TARGET)
    told = refused(**stored(tmp_path, estimator, frame[:ROWS]))
    assert "column 'low' holds '1', which can be a whole number or the fraction 1.0" in told
    assert "--types low=number or --types low=float" in told
    model, manifest, _ = made(**stored(tmp_path, estimator, frame[:ROWS], "json"))
    assert [each["datatype"] for each in manifest["inputs"]] == ["INT64", "FP64"]
    assert (
        model.package.golden.outputs["label"].tolist() == estimator.predict(frame[:ROWS]).tolist()
    )


@pytest.mark.parametrize(("kind", "dtype"), [("number", "int64"), ("float", "float64")])
def test_whole_cells_of_a_csv_file_are_what_the_person_says(
    tmp_path: Path, kind: str, dtype: str
) -> None:
    """A file whose other rows hold fractions gave the model 3.0 in training, and not 3."""
    frame = pd.DataFrame({"low": [1, 2, 3, 4] * 5, "high": np.arange(20.0)}).astype({"low": dtype})
    estimator = make_pipeline(Spelling(), LogisticRegression(C=99)).fit(frame, TARGET)
    samples = stored(tmp_path, estimator, frame[:ROWS].astype({"low": "int64"}))
    model, _, _ = made(**samples, types={"low": kind})
    assert (
        model.package.golden.outputs["label"].tolist() == estimator.predict(frame[:ROWS]).tolist()
    )


class Spelling(Passing):
    """Counts the characters of a whole number."""

    def transform(self, x: Any) -> Any:
        """A number that depends on how the column is written."""
        return x.assign(low=[len(each) * 9.0 + (each in "12") for each in x["low"].astype(str)])


def served(model: Any, manifest: dict[str, Any], frame: pd.DataFrame) -> list[Any]:
    """What the model answers to the rows of a frame, sent as a client sends them."""
    dtypes = {"BYTES": np.object_, "FP64": np.float64, "INT64": np.int64}
    given = {}
    for each in manifest["inputs"]:
        column = frame[each["name"]].astype(object)
        filled = column.where(column.notna(), each.get("missing", np.nan))
        given[each["name"]] = filled.to_numpy(dtypes[each["datatype"]]).reshape(-1, 1)
    return list(model.run(given)["label"].tolist())


@pytest.mark.parametrize("suffix", ["csv", "json"])
@pytest.mark.parametrize("values", [["a", None, "b", None], [1, None, 2, None]])
@pytest.mark.parametrize("imputed", [False, True])
def test_gaps_of_a_model_that_was_fitted_on_none_are_refused(
    tmp_path: Path, imputed: bool, values: list[Any], suffix: str
) -> None:
    """To encoders None and NaN are two values, and the service fills gaps with NaN."""
    frame = pd.DataFrame({"c": pd.Series(values * 5, dtype=object), "kind": KINDS})
    fill = SimpleImputer(missing_values=None, strategy="constant", fill_value=values[0])
    steps = (fill,) if imputed else ()
    case = stored(tmp_path, encoding(frame, *steps), frame[:ROWS], suffix)
    words = refused(**case)
    assert "column 'c' holds missing values, and the model was fitted on None there" in words
    assert "frame.fillna(np.nan).infer_objects()" in words
    if not imputed:
        filled = frame.fillna(np.nan).infer_objects()
        estimator = encoding(filled)
        model, manifest, _ = made(**stored(tmp_path, estimator, frame[:ROWS], suffix))
        assert served(model, manifest, frame) == estimator.predict(filled).tolist()


def test_an_imputer_does_not_hide_the_categories_of_the_encoder(tmp_path: Path) -> None:
    """NA is a country, though the imputer before the encoder records another one."""
    frame = pd.DataFrame({"country": ["BE", "BE", "NA", "FR", "DE"] * 4, "kind": KINDS})
    target = frame["country"].to_numpy()
    encoder = OneHotEncoder(handle_unknown="ignore")
    impute = SimpleImputer(strategy="most_frequent")
    estimator = make_pipeline(impute, encoder, LogisticRegression(C=99)).fit(frame, target)
    model, manifest, _ = made(**stored(tmp_path, estimator, frame[:ROWS]))
    assert "missing" not in manifest["inputs"][0]
    assert model.package.golden.outputs["label"].tolist() == target[:ROWS].tolist()
    assert served(model, manifest, frame) == estimator.predict(frame).tolist() == target.tolist()


@pytest.mark.parametrize("word", ["NA", "None", "null", ""])
def test_a_category_that_looks_missing_stays_and_a_gap_beside_it_is_one(
    tmp_path: Path, word: str
) -> None:
    frame = pd.DataFrame({"c": [word, np.nan, "b", "d"] * 5, "kind": KINDS})
    target = [word or "empty", "gap", "b", "d"] * 5
    encoder = OneHotEncoder(handle_unknown="ignore")
    estimator = make_pipeline(encoder, LogisticRegression(C=99)).fit(frame, target)
    assert estimator.predict(frame).tolist() == target
    case = stored(tmp_path, estimator, frame[:ROWS])
    frame[:ROWS].to_csv(case["samples"], index=False, na_rep="N/A")
    model, manifest, _ = made(**case)
    assert model.package.golden.outputs["label"].tolist() == target[:ROWS]
    assert manifest["inputs"][0]["missing"] != word
    assert served(model, manifest, frame) == target


def test_the_mark_of_a_gap_is_no_category_that_the_samples_lack(tmp_path: Path) -> None:
    """Each text that a client sends is itself, and only null is a gap."""
    values = ["", "NULL", "\\N", np.nan, "b"]
    frame = pd.DataFrame({"c": values * 4, "kind": KINDS})
    target = ["empty", "null", "n", "gap", "b"] * 4
    encoder = OneHotEncoder(handle_unknown="ignore")
    estimator = make_pipeline(encoder, LogisticRegression(C=99)).fit(frame, target)
    samples = frame[3:5].astype(object).where(frame[3:5].notna(), None)
    model, manifest, _ = made(**stored(tmp_path, estimator, samples, "json"))
    assert served(model, manifest, frame) == target


class Trimming(Passing):
    """Needs one column as text, and computes with the others."""

    def transform(self, x: Any) -> Any:
        """Numbers of all columns."""
        zips = x["zip"].str.startswith("1").astype(float)
        return np.column_stack([zips * 9, np.asarray(x[["age", "size"]], dtype=float)])


def test_one_column_that_must_be_text_makes_no_text_of_the_others(tmp_path: Path) -> None:
    codes = ["11067", "12826", "80331", "20115"]
    frame = pd.DataFrame({"age": [31, 40] * 10, "zip": codes * 5, "size": [1.5, 2.5] * 10})
    estimator = make_pipeline(Trimming(), LogisticRegression(C=99)).fit(frame, TARGET)
    model, manifest, _ = made(**stored(tmp_path, estimator, frame[:ROWS]))
    assert [each["datatype"] for each in manifest["inputs"]] == ["INT64", "BYTES", "FP64"]
    assert served(model, manifest, frame) == estimator.predict(frame).tolist()


class Rounding(Passing):
    """Rounds numbers, and lets text pass."""

    def transform(self, x: Any) -> Any:
        """The columns, rounded where they are numbers."""
        return x.fillna(0).round(0)


class Widths(Passing):
    """Takes values by their length as text."""

    def transform(self, x: Any) -> Any:
        """A number for each cell."""
        return x.astype(str).apply(lambda column: column.str.len())


def test_fractions_are_numbers_and_all_columns_that_are_open_are_named(tmp_path: Path) -> None:
    frame, target = numbers()
    estimator = make_pipeline(Rounding(), LogisticRegression(C=99)).fit(frame, target)
    model, manifest, _ = made(**stored(tmp_path, estimator, frame[:ROWS]))
    assert manifest["inputs"][0]["datatype"] == "FP64"
    expected = estimator.predict_proba(frame[:ROWS])
    assert np.allclose(model.package.golden.outputs["probabilities"], expected)
    frame = pd.DataFrame({name: ["1.10", "1.1", "2.0", "2"] * 5 for name in ("a", "b", "c")})
    estimator = make_pipeline(Widths(), LogisticRegression(C=99)).fit(frame, TARGET)
    words = refused(**stored(tmp_path, estimator, frame[:ROWS]) | {"folder": tmp_path / "w"})
    assert "--types a=number,b=number,c=number" in words

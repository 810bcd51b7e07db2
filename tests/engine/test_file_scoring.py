"""A file of rows is answered as the model answers them, row by row, also after a kill."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from engine.packaging.options import Options
from engine.packaging.package import package
from engine.scoring import run as scoring
from engine.scoring.errors import ScoringError
from engine.scoring.files import CsvFile
from engine.scoring.run import Done, Job, run
from engine.scoring.scorer import Scorer
from engine.serving.errors import InvalidInput
from engine.serving.extension import Extension
from engine.serving.inference.model import load_model
from engine.serving.inference.recording import answer_golden_requests
from engine.serving.inference.service_hooks import ServiceHooks
from engine.serving.package.reader import read_package
from engine.serving.settings import Settings
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from tests.engine.project import ROOT
from tests.engine.toy_models import write_classifier, write_fixed, write_scale

pytestmark = pytest.mark.slow

Score = Callable[..., Done]
TABLE = pd.DataFrame(
    {
        "age": [31.5, np.nan, 4.0, 60.0, 18.0, 44.0, np.nan, 7.5] * 5,
        "port": ["S", "C", "Q", "S", "C", "S", "Q", "C"] * 5,
    }
)
SURVIVED = ["no", "yes", "yes", "no", "yes", "no", "no", "yes"] * 5


@pytest.fixture
def score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Score:
    """Scores a file in tmp_path with the models in tmp_path/models, in small parts."""
    monkeypatch.setenv("MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setattr(scoring, "PART_ROWS", 8)
    monkeypatch.setattr(scoring, "RUN_ROWS", 4)
    (tmp_path / "models").mkdir()

    def scored(name: str, out: str = "out.csv", model: str | None = None) -> Done:
        return run(Job(tmp_path / name, tmp_path / out, model), lambda text: None)

    return scored


@pytest.fixture
def estimator(tmp_path: Path) -> Any:
    """A pipeline on a table with gaps and text, packaged as `passengers`."""
    columns = make_column_transformer(
        (SimpleImputer(), ["age"]), (OneHotEncoder(handle_unknown="ignore"), ["port"])
    )
    made = make_pipeline(columns, LogisticRegression()).fit(TABLE, SURVIVED)
    joblib.dump(made, tmp_path / "m.joblib")
    TABLE[:8].to_csv(tmp_path / "samples.csv", index=False)
    options = Options(name="passengers", samples=tmp_path / "samples.csv")
    package(str(tmp_path / "m.joblib"), options, tmp_path / "models")
    return made


def cells(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: list[list[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def test_csv_is_answered_as_the_estimator_answers_the_table(
    score: Score, estimator: Any, tmp_path: Path
) -> None:
    frame = TABLE[:30].assign(id=[f"c{i}" for i in range(30)])[["id", "port", "age"]]
    frame.to_csv(tmp_path / "in.csv", index=False)
    assert score("in.csv").rows == 30
    found = cells(tmp_path / "out.csv")
    assert [row["id"] for row in found] == frame["id"].tolist()
    assert [row["age"] for row in found] == ["" if a != a else str(a) for a in frame["age"]]
    assert [row["label"] for row in found] == estimator.predict(frame).tolist()
    expected = estimator.predict_proba(frame)
    columns = [name for name in found[0] if name.startswith("probabilities.")]
    assert len(columns) == 2
    answered = np.array([[float(row[name]) for name in columns] for row in found])
    np.testing.assert_allclose(answered, expected, rtol=1e-6)
    assert not (tmp_path / "out.refused.csv").exists()
    assert not (tmp_path / "out.csv.parts").exists()


def test_json_lines_are_answered_alike(score: Score, estimator: Any, tmp_path: Path) -> None:
    frame = TABLE[:21]
    lines = frame.to_json(orient="records", lines=True)
    (tmp_path / "in.jsonl").write_text(lines)
    assert score("in.jsonl", "out.jsonl").rows == 21
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["label"] for row in found] == estimator.predict(frame).tolist()
    assert [{"age": row["age"], "port": row["port"]} for row in found] == [
        json.loads(line) for line in lines.splitlines()
    ]


def test_rows_that_are_wrong_are_listed_with_column_value_and_rule(
    score: Score, estimator: Any, tmp_path: Path
) -> None:
    rows = [["age", "port"], *([str(20 + i), "S"] for i in range(20))]
    rows[3][0] = "old"
    rows[12] = ["33"]
    rows[20] = ["1e999", "S"]
    write_rows(tmp_path / "in.csv", rows)
    done = score("in.csv")
    assert (done.rows, done.refused) == (20, 3)
    refused = cells(tmp_path / "out.refused.csv")
    assert [(row["row"], row["column"], row["value"]) for row in refused] == [
        ("3", "age", "old"), ("12", "", ""), ("20", "age", "1e999"),
    ]  # fmt: skip
    assert refused[0]["rule"] == "FP64: a number"
    assert refused[0]["message"].startswith("'age' is 'old'")
    assert refused[1]["message"] == "it has 1 cells, and the header has 2"
    right = [row for i, row in enumerate(rows[1:], 1) if i not in (3, 12, 20)]
    frame = pd.DataFrame(right, columns=rows[0]).astype({"age": float})
    found = cells(tmp_path / "out.csv")
    assert [row["age"] for row in found] == [row[0] for row in right]
    assert [row["label"] for row in found] == estimator.predict(frame).tolist()


@pytest.mark.parametrize("stopped", range(1, 5))
def test_an_interrupted_run_goes_on_and_no_row_is_lost_or_doubled(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: int
) -> None:
    write_scale(tmp_path / "models")
    rows: list[list[Any]] = [["a", "b", "c"], *([i, i + 0.5, -i] for i in range(29))]
    rows[14][1] = "x"
    write_rows(tmp_path / "in.csv", rows)
    score("in.csv", "whole.csv")
    left = 2 * stopped
    real = Scorer.score

    def counted(self: Scorer, rows: Any) -> Any:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt
        return real(self, rows)

    monkeypatch.setattr(Scorer, "score", counted)
    with pytest.raises(KeyboardInterrupt):
        score("in.csv")
    assert not (tmp_path / "out.csv").exists()
    done = score("in.csv")
    assert (done.rows, done.refused) == (29, 1)
    # Eight runs of the model for the whole file, two for each part.
    assert -left == 8 - 2 * (stopped - 1)
    for name in (".csv", ".refused.csv"):
        again = (tmp_path / f"out{name}").read_bytes()
        assert again == (tmp_path / f"whole{name}").read_bytes()
    assert [float(row["y.0"]) for row in cells(tmp_path / "out.csv")] == [
        2.0 * i for i in range(29) if i != 13
    ]


def test_a_run_that_ends_while_it_joins_goes_on(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scale(tmp_path / "models")
    write_rows(tmp_path / "in.csv", [["a", "b", "c"], *([i, 0, 0] for i in range(10))])

    def full(self: CsvFile, parts: Any, path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(CsvFile, "join", full)
        with pytest.raises(OSError, match="No space"):
            score("in.csv")
    assert score("in.csv").rows == 10
    assert [row["y.0"] for row in cells(tmp_path / "out.csv")] == [f"{2.0 * i}" for i in range(10)]


def test_what_is_killed_goes_on(tmp_path: Path) -> None:
    write_scale(tmp_path / "models")
    rows = 200_000
    write_rows(tmp_path / "in.csv", [["a", "b", "c"], *([i, i, i] for i in range(rows))])
    command = [sys.executable, "-m", "engine.scoring", str(tmp_path / "in.csv")]
    environment = {**os.environ, "MODELS_DIR": str(tmp_path / "models")}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE)
    parts = tmp_path / "in.scored.csv.parts"
    end = time.monotonic() + 60
    while len(list(parts.glob("0*.csv"))) < 2 and time.monotonic() < end:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    again = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True,
                           check=False, timeout=120)  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert "going on behind them" in again.stderr
    assert again.stdout == f"{tmp_path / 'in.scored.csv'}: {rows:,} rows answered\n"
    found = np.loadtxt(tmp_path / "in.scored.csv", delimiter=",", skiprows=1)
    np.testing.assert_array_equal(found[:, 0], np.arange(rows))
    np.testing.assert_array_equal(found[:, 3], 2.0 * np.arange(rows))


def test_rules_of_service_py_refuse_rows_and_add_outputs(tmp_path: Path) -> None:
    model = load_model(read_package(write_classifier(tmp_path)), Settings())
    extension = Extension()

    @extension.request
    def positive(model: str, inputs: Any) -> None:
        if inputs["x"].min() < -50:
            raise InvalidInput("x is at least -50", field="x", rule="x >= -50")

    @extension.answer
    def difference(model: str, inputs: Any, outputs: Any) -> Any:
        return {"difference": inputs["x"][:, 0] - inputs["x"][:, 1]}

    answers = answer_golden_requests(model, ServiceHooks(extension, model.manifest))
    hooks = ServiceHooks(extension, model.manifest, answers)
    outputs = answers.manifest(model.manifest).outputs
    scorer = Scorer(model, outputs, hooks, ("a", "b"), texts=False)
    scored = scorer.score([{"a": 3, "b": 1}, {"a": -51, "b": 1}, {"a": 0, "b": 5}])
    assert scored.accepted == [0, 2]
    assert scored.outputs["label.class"].tolist() == ["left", "right"]
    assert scored.outputs["difference"].tolist() == [2, -5]
    (refusal,) = scored.refused
    assert (refusal.row, refusal.rule, refusal.message) == (1, "x >= -50", "x is at least -50")


def test_columns_of_the_file_keep_their_names(score: Score, tmp_path: Path) -> None:
    write_classifier(tmp_path / "models")
    write_rows(tmp_path / "in.csv", [["x0", "x1"], [1, 2], [4, 3]])
    score("in.csv")
    assert [row["label"] for row in cells(tmp_path / "out.csv")] == ["1", "0"]
    (tmp_path / "again").mkdir()
    lines = ['{"x": [1, 2], "label": "truth"}', '{"x": [4, 3], "label": "?"}']
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    score("in.jsonl", "again/out.jsonl")
    found = [json.loads(line) for line in (tmp_path / "again" / "out.jsonl").open()]
    assert [(row["label"], row["predicted.label"]) for row in found] == [("truth", 1), ("?", 0)]


def a_file(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content, encoding="latin-1")
    return path


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("in.csv", "", "it needs a line with the names of columns"),
        ("in.csv", "a,b,c\n", "has no rows"),
        ("in.csv", "a,b,a\n1,2,3\n", "two columns are called 'a'"),
        ("in.csv", "a,b\n1,2\n", "the file has no column 'x'; model 'scale' takes 'x', and the"),
        ("in.csv", "a,b,ä\n1,2,3\n", "which is no UTF-8"),
        (
            "in.csv",
            "a,b,c\nx,2,3\nx,2,3\n",
            "none of the first 2 rows is right; the first one: 'a'",
        ),
        ("in.jsonl", "[1,2,3]\n", "the first line is none of JSON lines: it is no JSON object"),
        ("in.jsonl", "{'x': 1}\n", "the first line is none of JSON lines: it is not JSON"),
        ("in.xlsx", "", "rows are read from .csv, .jsonl, .ndjson, .parquet files"),
    ],
)
def test_a_file_that_cannot_be_scored_is_refused_with_the_reason(
    score: Score, tmp_path: Path, name: str, content: str, words: str
) -> None:
    write_scale(tmp_path / "models")
    a_file(tmp_path, name, content)
    with pytest.raises(ScoringError) as raised:
        score(name, f"out{Path(name).suffix}")
    assert words in str(raised.value)
    assert not (tmp_path / f"out{Path(name).suffix}").exists()


def test_nothing_that_is_there_is_overwritten(score: Score, tmp_path: Path) -> None:
    write_scale(tmp_path / "models")
    a_file(tmp_path, "in.csv", "a,b,c\n1,2,3\n")
    a_file(tmp_path, "out.csv", "precious")
    with pytest.raises(ScoringError, match=r"out.csv is there already; move it away, or name"):
        score("in.csv")
    assert (tmp_path / "out.csv").read_text() == "precious"


def test_parts_of_another_file_are_not_gone_on_with(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scale(tmp_path / "models")
    a_file(tmp_path, "in.csv", "a,b,c\n1,2,3\n")
    with monkeypatch.context() as patch:
        patch.setattr(CsvFile, "join", lambda *_: sys.exit())
        with pytest.raises(SystemExit):
            score("in.csv")
    a_file(tmp_path, "in.csv", "a,b,c\n1,2,3\n4,5,6\n")
    with pytest.raises(ScoringError, match="has parts of a run with another file, model or"):
        score("in.csv")


def test_the_model_is_the_one_that_is_named(score: Score, tmp_path: Path) -> None:
    write_scale(tmp_path / "models")
    write_fixed(tmp_path / "models")
    a_file(tmp_path, "in.csv", "a,b,c\n1,2,3\n")
    with pytest.raises(ScoringError, match="there are several models"):
        score("in.csv")
    with pytest.raises(ScoringError, match="there is no model 'sale', but 'fixed', 'scale'"):
        score("in.csv", model="sale")
    with pytest.raises(ScoringError, match="has no dimension of rows"):
        score("in.csv", model="fixed")
    assert score("in.csv", model="scale").rows == 1


@pytest.mark.exhaustive
def test_memory_stays_flat(tmp_path: Path) -> None:
    """A million rows take no more memory than a hundred thousand."""
    write_scale(tmp_path / "models")
    peaks = []
    for rows in (100_000, 1_000_000):
        path = tmp_path / f"{rows}.csv"
        write_rows(path, [["a", "b", "c"], *([i, i, i] for i in range(rows))])
        program = (
            "import re, sys; from engine.scoring.__main__ import main; main(sys.argv[1:]); "
            "print(re.search('VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(path)], cwd=ROOT, capture_output=True, text=True,
            env={**os.environ, "MODELS_DIR": str(tmp_path / "models")}, check=True, timeout=600,
        )  # fmt: skip
        peaks.append(int(done.stdout.splitlines()[-1]))
    assert peaks[1] < peaks[0] + 16 * 1024

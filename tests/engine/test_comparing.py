"""Two models are compared as scikit-learn measures them and as SciPy resamples them."""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine.comparing import __main__ as program
from engine.comparing import run as comparing
from engine.comparing.metrics import (
    Pair,
    auc_pair,
    compare,
    f1_pair,
    judge,
    mean_pair,
    r2_pair,
    rmse_pair,
)
from engine.comparing.report import markdown, verdict
from engine.comparing.run import Job, Result, run
from engine.comparing.sides import NoSuchModel, Side, from_folder
from engine.deploy.az_error import AzError, Problem
from engine.deploy.commands import baseline
from engine.deploy.journal import KEPT, RESTORED, STARTED
from engine.deploy.say import default_say
from engine.errors import EngineError
from engine.scoring.errors import ScoringError
from scipy.stats import bootstrap
from sklearn import metrics
from sklearn.linear_model import LinearRegression, LogisticRegression

from tests.engine.project import ROOT
from tests.engine.rollout_world import wanted
from tests.engine.toy_models import write_linear

pytestmark = pytest.mark.slow

CLASSES = ["low", "middle", "top"]
ROWS = 120
RANDOM = np.random.default_rng(7)
TRUTH = RANDOM.integers(3, size=ROWS)
TOLD = [
    np.where(RANDOM.random(ROWS) < share, TRUTH, RANDOM.integers(3, size=ROWS))
    for share in (0.5, 0.8)
]
CHANCES = [RANDOM.dirichlet([1, 1, 1], size=ROWS) + 1.5 * np.eye(3)[told] for told in TOLD]
CHANCES = [each / each.sum(axis=1, keepdims=True) for each in CHANCES]
POSITIVE = TRUTH == 2
# With equal scores among them.
SCORES = [np.round(each[:, 2], 1) for each in CHANCES]
VALUES = RANDOM.normal(1e6, 3, size=ROWS)
GUESSES = [VALUES + RANDOM.normal(0.2, spread, size=ROWS) for spread in (2, 1)]


def right(told: Any) -> Any:
    return told == TRUTH


def loss(chances: Any) -> Any:
    return -np.log(chances[np.arange(ROWS), TRUTH])


# The pair, and what scikit-learn says of the first or second model on some rows with weights.
Oracle = Callable[[int, Any, Any], float]
CASES: dict[str, tuple[Pair, Oracle]] = {
    "accuracy": (
        mean_pair(right(TOLD[0]), right(TOLD[1])),
        lambda at, rows, w: metrics.accuracy_score(TRUTH[rows], TOLD[at][rows], sample_weight=w),
    ),
    "f1_macro": (
        f1_pair(TRUTH, TOLD[0], TOLD[1]),
        lambda at, rows, w: metrics.f1_score(
            TRUTH[rows], TOLD[at][rows], average="macro", sample_weight=w
        ),
    ),
    "log_loss": (
        mean_pair(loss(CHANCES[0]), loss(CHANCES[1])),
        lambda at, rows, w: metrics.log_loss(
            TRUTH[rows], CHANCES[at][rows], labels=[0, 1, 2], sample_weight=w
        ),
    ),
    "roc_auc": (
        auc_pair(POSITIVE, SCORES[0], SCORES[1]),
        lambda at, rows, w: metrics.roc_auc_score(
            POSITIVE[rows], SCORES[at][rows], sample_weight=w
        ),
    ),
    "rmse": (
        rmse_pair(VALUES, GUESSES[0], GUESSES[1]),
        lambda at, rows, w: metrics.root_mean_squared_error(
            VALUES[rows], GUESSES[at][rows], sample_weight=w
        ),
    ),
    "mae": (
        mean_pair(abs(GUESSES[0] - VALUES), abs(GUESSES[1] - VALUES)),
        lambda at, rows, w: metrics.mean_absolute_error(
            VALUES[rows], GUESSES[at][rows], sample_weight=w
        ),
    ),
    "r2": (
        r2_pair(VALUES, GUESSES[0], GUESSES[1]),
        lambda at, rows, w: metrics.r2_score(VALUES[rows], GUESSES[at][rows], sample_weight=w),
    ),
}
EVERY = np.arange(ROWS)


@pytest.mark.parametrize("name", CASES)
def test_a_metric_is_that_of_scikit_learn_with_any_weights(name: str) -> None:
    pair, oracle = CASES[name]
    for weights in (np.ones(ROWS), RANDOM.integers(4, size=ROWS).astype(float)):
        wanted = oracle(0, EVERY, weights), oracle(1, EVERY, weights)
        assert pair.candidate(weights) == pytest.approx(wanted[0], rel=1e-9)
        assert pair.other(weights) == pytest.approx(wanted[1], rel=1e-9)


@pytest.mark.parametrize(
    "name",
    [
        name if name == "rmse" else pytest.param(name, marks=pytest.mark.exhaustive)
        for name in CASES
    ],
)
def test_an_interval_is_that_of_a_paired_bootstrap_by_scipy(name: str) -> None:
    pair, oracle = CASES[name]
    (found,) = compare({name: pair}, ROWS, {})

    def difference(rows: Any) -> float:
        return oracle(0, rows, None) - oracle(1, rows, None)

    by_scipy = bootstrap(
        (EVERY,), difference, method="percentile", n_resamples=2000, vectorized=False, rng=1
    ).confidence_interval
    width = by_scipy.high - by_scipy.low
    assert found.low == pytest.approx(by_scipy.low, abs=0.08 * width)
    assert found.high == pytest.approx(by_scipy.high, abs=0.08 * width)
    assert found.difference == pytest.approx(difference(EVERY))


def test_the_same_seed_gives_the_same_interval() -> None:
    pair = {"rmse": CASES["rmse"][0]}
    assert compare(pair, ROWS, {}) == compare(pair, ROWS, {})
    assert compare(pair, ROWS, {}) != compare(pair, ROWS, {}, seed=1)


@pytest.mark.parametrize(
    ("gain", "low", "high", "margin", "different", "verdict"),
    [
        (0.05, 0.01, 0.09, 0, 40, "better"),
        (0.05, -0.01, 0.09, 0, 40, "equal"),
        (-0.05, -0.09, 0.01, 0, 40, "equal"),
        (-0.05, -0.09, 0.0, 0, 40, "equal"),
        (-0.05, -0.09, -0.01, 0, 40, "worse"),
        (-0.05, -0.09, -0.01, 0.04, 40, "worse"),
        (-0.05, -0.09, -0.01, 0.05, 40, "within the margin"),
        (-0.05, -0.09, -0.01, 0, 5, "equal"),
    ],
)
def test_the_rule(
    gain: float, low: float, high: float, margin: float, different: int, verdict: str
) -> None:
    assert judge(gain, low, high, margin, different) == verdict


def test_few_rows_give_no_verdict() -> None:
    wrong, correct = np.zeros(49), np.ones(49)
    (few,) = compare({"accuracy": mean_pair(wrong, correct)}, 49, {})
    assert few.verdict == "undecided"
    (enough,) = compare({"accuracy": mean_pair(np.zeros(50), np.ones(50))}, 50, {})
    assert enough.verdict == "worse"
    (lower,) = compare({"rmse": rmse_pair(np.zeros(50), np.ones(50), 2 * np.ones(50))}, 50, {})
    assert (lower.verdict, lower.difference) == ("better", -1)


def test_the_summary_page_has_the_figures() -> None:
    found = compare({"rmse": CASES["rmse"][0]}, ROWS, {"rmse": 0.1})
    result = Result(Job(Path("rows.csv")), "price", ROWS, 130, tuple(found), ("10 rows left out",))
    page = markdown(result, "what production serves, `r/s@sha256:0`")
    errors = [CASES["rmse"][1](at, EVERY, None) for at in (0, 1)]
    assert page.startswith("## Quality: worse\n\nModel `price` and what production serves")
    assert f"| rmse | {errors[0]:.4g} | {errors[1]:.4g} | {errors[0] - errors[1]:+.4g} |" in page
    assert "on 120 rows of `rows.csv`" in page
    assert "- 10 rows left out" in page


@pytest.mark.exhaustive
def test_equal_models_are_rarely_called_worse() -> None:
    """Each of the two models is wrong by chance, on 150 rows; at most 2.5 % are to be worse."""
    random, worse, runs = np.random.default_rng(4), 0, 400
    for _ in range(runs):
        first, second = random.random((2, 150)) < 0.9
        (found,) = compare({"accuracy": mean_pair(first, second)}, 150, {})
        worse += found.verdict == "worse"
    assert worse < 0.05 * runs


@dataclass(frozen=True)
class World:
    """Two services, each with a classifier and a regression, and the estimators behind them."""

    good: Side
    weak: Side
    estimators: Mapping[tuple[str, str], Any]
    inputs: Any
    classes: Any
    values: Any
    data: Path

    def job(self, name: str, **changes: Any) -> Job:
        return replace(Job(self.data, name, name), **changes)

    def run(self, job: Job, candidate: Side, other: Side) -> Result:
        return run(job, candidate, other, lambda text: None)


def say_nothing(text: str) -> None:
    pass


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """`grade` and `price` of 400 rows with columns a, b, c; the weak ones learned noise too."""
    folder, random = tmp_path_factory.mktemp("compared"), np.random.default_rng(11)
    inputs = random.normal(size=(400, 3))
    hidden = inputs @ [2.0, -1.0, 0.5] + random.normal(0, 0.4, size=400)
    classes = np.digitize(hidden, [-1, 1])
    noise = {"good": 0.0, "weak": 0.45}
    estimators = {}
    for side, share in noise.items():
        wrong = random.random(400) < share
        targets = np.where(wrong, random.integers(3, size=400), classes)
        sorter = LogisticRegression(max_iter=500).fit(inputs, targets)
        line = LinearRegression().fit(inputs, hidden + share * 4 * random.normal(size=400) + share)
        estimators[side, "grade"], estimators[side, "price"] = sorter, line
        write_linear(folder / side, "grade", sorter.coef_.T, sorter.intercept_, CLASSES)
        write_linear(folder / side, "price", line.coef_[:, None], np.array([line.intercept_]), [])
    data = folder / "labelled.csv"
    with data.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "c", "grade", "a", "price", "b"])
        for at, (a, b, c) in enumerate(inputs.tolist()):
            rows.writerow([f"r{at}", c, CLASSES[classes[at]], a, float(hidden[at]), b])
    with (
        from_folder("the candidate", folder / "good", folder / "good.log") as good,
        from_folder("production", folder / "weak", folder / "weak.log") as weak,
    ):
        yield World(good, weak, estimators, inputs, classes, hidden, data)


def measured(world: World, side: str, name: str) -> list[float]:
    """Accuracy, F1 and log loss, or RMSE, MAE and R², by scikit-learn alone."""
    estimator = world.estimators[side, name]
    told = estimator.predict(world.inputs)
    if name == "price":
        truth = world.values
        return [
            metrics.root_mean_squared_error(truth, told),
            metrics.mean_absolute_error(truth, told),
            metrics.r2_score(truth, told),
        ]
    return [
        metrics.accuracy_score(world.classes, told),
        metrics.f1_score(world.classes, told, average="macro"),
        metrics.log_loss(world.classes, estimator.predict_proba(world.inputs)),
    ]


@pytest.mark.parametrize("name", ["grade", "price"])
def test_models_are_measured_as_by_scikit_learn(world: World, name: str) -> None:
    better = world.run(world.job(name), world.good, world.weak)
    assert [each.candidate for each in better.compared] == pytest.approx(
        measured(world, "good", name), abs=1e-6
    )
    assert [each.other for each in better.compared] == pytest.approx(
        measured(world, "weak", name), abs=1e-6
    )
    assert better.decides.verdict == "better"
    assert (better.rows, better.notes) == (400, ())
    worse = world.run(world.job(name), world.weak, world.good)
    assert worse.decides.verdict == "worse"
    assert "Worse by more than the margin of 0" in verdict(worse)
    accepted = world.run(world.job(name, margin=0.9), world.weak, world.good)
    assert accepted.decides.verdict == "within the margin"
    equal = world.run(world.job(name), world.good, world.good)
    assert equal.decides.verdict == "equal"
    assert (equal.decides.low, equal.decides.high) == (0, 0)


def test_the_interval_is_that_of_both_models_on_the_same_rows(world: World) -> None:
    found = world.run(world.job("grade"), world.good, world.weak).decides
    told = [world.estimators[side, "grade"].predict(world.inputs) for side in ("good", "weak")]
    correct = [(each == world.classes).astype(float) for each in told]
    by_scipy = bootstrap(
        correct, lambda a, b, axis: a.mean(axis) - b.mean(axis), paired=True, method="percentile",
        n_resamples=9999, rng=2,
    ).confidence_interval  # fmt: skip
    assert found.low == pytest.approx(by_scipy.low, abs=0.006)
    assert found.high == pytest.approx(by_scipy.high, abs=0.006)


def changed(world: World, tmp_path: Path, change: Callable[[list[list[str]]], object]) -> Path:
    """The labelled rows with a change; the first row is the header."""
    with world.data.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    change(rows)
    path = tmp_path / "changed.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def numbered(rows: list[list[str]]) -> None:
    for row in rows[1:]:
        row[2] = f"{CLASSES.index(row[2])}.0"


def test_the_number_of_a_class_is_its_name(world: World, tmp_path: Path) -> None:
    path = changed(world, tmp_path, numbered)
    found = world.run(world.job("grade", data=path), world.good, world.weak)
    assert found.compared == world.run(world.job("grade"), world.good, world.weak).compared


REFUSALS: dict[str, tuple[str, Callable[[list[list[str]]], object], dict[str, Any], str]] = {
    "no column of answers": (
        "grade", lambda rows: None, {"label": "label"},
        "there is no column 'label' for the right answers, but 'id', 'c', 'grade'",
    ),
    "no answer": (
        "grade", lambda rows: rows[7].__setitem__(2, ""), {},
        "row 7: 'grade' is empty, and every row needs its right answer; fill it in, or remove",
    ),
    "no column": (
        "grade", lambda rows: rows[0].__setitem__(5, "d"), {},
        "the file has no column 'b'; model 'grade' takes 'a', 'b', 'c', and the file has 'id', "
        "'c', 'a', 'price', 'd'; this is what the candidate asks for, and the file needs the "
        "columns of both",
    ),
    "other classes": (
        "grade", lambda rows: [row.__setitem__(2, "yes") for row in rows[1:]], {},
        "the right answers are 'yes', and the model knows 'low', 'middle', 'top': name the column",
    ),
    "a number for each row": (
        "grade", lambda rows: None, {"label": "id"},
        "the right answers are 'r0', 'r1', 'r10', 'r100', 'r101', …, and the model knows 'low'",
    ),
    "no number": (
        "price", lambda rows: rows[3].__setitem__(4, "dear"), {},
        "the right answer 'dear' is no number, which rmse, mae and r2 need; correct the row",
    ),
    "another task": (
        "price", lambda rows: None, {"metric": "accuracy"},
        "output 'sums' of model 'price' 1 is FP64[-1, 1], and accuracy, f1_macro, log_loss, "
        "roc_auc compare classes, one for each row; choose another metric",
    ),
    "three classes": (
        "grade", lambda rows: None, {"metric": "roc_auc"},
        "roc_auc cannot be computed for model 'grade': log_loss and roc_auc need probabilities "
        "of the same classes from both, and roc_auc two classes; choose accuracy or f1_macro",
    ),
    "another kind of file": (
        "grade", lambda rows: None, {"data": Path("rows.xlsx")}, "rows are read from .csv",
    ),
    "no row is right": (
        "grade", lambda rows: [row.__setitem__(3, "x") for row in rows[1:]], {},
        "has no row that both answer; row 1: 'a' is 'x'",
    ),
    "several models": (
        "grade", lambda rows: None, {"model": None},
        "the candidate has several models (grade, price); name one with MODEL=",
    ),
    "an unknown model": (
        "grade", lambda rows: None, {"model": "grad"},
        "the candidate has no model 'grad', but 'grade', 'price'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSALS)
def test_what_cannot_be_compared_is_refused_with_the_reason(
    world: World, tmp_path: Path, kind: str
) -> None:
    model, change, options, words = REFUSALS[kind]
    path = changed(world, tmp_path, change)
    with pytest.raises(ScoringError) as raised:
        world.run(world.job(model, **{"data": path, **options}), world.good, world.weak)
    assert words in str(raised.value)


def test_rows_that_both_refuse_are_left_out_and_named(world: World, tmp_path: Path) -> None:
    path = changed(world, tmp_path, lambda rows: rows[9].__setitem__(3, "old"))
    found = world.run(world.job("grade", data=path), world.good, world.weak)
    assert (found.rows, found.all_rows) == (399, 400)
    assert found.notes[0].startswith("the candidate refuses 1 rows, left out; row 9: 'a' is 'old'")
    told = world.estimators["good", "grade"].predict(np.delete(world.inputs, 8, axis=0))
    accuracy = metrics.accuracy_score(np.delete(world.classes, 8), told)
    assert found.decides.candidate == pytest.approx(accuracy)


def test_rows_that_only_the_candidate_refuses_stop_it(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = changed(world, tmp_path, lambda rows: rows[5].__setitem__(3, ""))
    manifest = (world.weak.models / "grade" / "model.yaml").read_text(encoding="utf-8")
    relaxed = tmp_path / "relaxed"
    (relaxed / "grade").mkdir(parents=True)
    for each in (world.weak.models / "grade").iterdir():
        (relaxed / "grade" / each.name).write_bytes(each.read_bytes())
    text = manifest.replace("  datatype: FP64\n", "  datatype: FP64\n  allow_nan: true\n", 1)
    (relaxed / "grade" / "model.yaml").write_text(text, encoding="utf-8")
    with from_folder("production", relaxed / "grade", tmp_path / "log") as other:
        with pytest.raises(ScoringError, match="the candidate refuses 1 rows that production"):
            world.run(world.job("grade", data=path), world.good, other)
        with pytest.raises(NoSuchModel, match="production has no model 'price', but 'grade'"):
            world.run(world.job("price"), world.good, other)


def test_too_many_rows_are_chosen_by_chance(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "MOST_ROWS", 200)
    found = world.run(world.job("grade"), world.good, world.weak)
    assert 150 < found.rows < 250
    assert found.notes == (f"{found.rows} of 400 rows were chosen by chance, seed 0",)


def test_a_service_that_does_not_start_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with (
        pytest.raises(ScoringError, match=r"production: the service does not .*: no model package"),
        from_folder("production", tmp_path / "models", tmp_path / "log"),
    ):
        pass


@pytest.fixture
def slo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """load/slo.yaml of a repository of its own, without `quality:`."""
    path = tmp_path / "load" / "slo.yaml"
    path.parent.mkdir()
    path.write_text((ROOT / "load" / "slo.yaml").read_text(encoding="utf-8"))
    monkeypatch.setattr(program, "SLO", path)
    monkeypatch.setattr(program, "LOGS", tmp_path)
    return path


def test_the_command_compares_and_its_exit_code_is_the_verdict(
    world: World, slo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slo.write_text(
        slo.read_text() + f"quality: {{metric: rmse, margin: 0.05, data: {world.data}, "
        "label: price, model: price}\n"
    )
    monkeypatch.setenv("MODELS_DIR", str(world.weak.models))
    assert program.main(["--other", str(world.good.models)]) == 1
    assert "Worse by more than the margin of 0.05: rmse is" in capsys.readouterr().out
    assert program.main(["--other", str(tmp := world.good.models.parent / "none")]) == 2
    assert f"error: OTHER is '{tmp}', which is no folder" in capsys.readouterr().err
    assert program.main([]) == 2
    assert "name what to compare with: OTHER=folder" in capsys.readouterr().err


def test_without_labelled_data_the_command_says_so(
    slo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main(["--other", "models"]) == 2
    assert "name a file of rows with right answers: DATA=labelled.csv" in capsys.readouterr().err


class Stage:
    """Replaces the context of an environment."""

    class environment:
        stage = "production"

    def __init__(self, live: Any, records: list[Any], fault: Exception | None = None) -> None:
        self.target = self.journal = self
        self._live, self._records, self._fault = live, records, fault

    def read(self) -> Any:
        if self._fault is not None:
            raise self._fault
        return self._live

    def records(self) -> list[Any]:
        return self._records

    def tags(self, document: Any) -> Any:
        return document["tags"]


class Entry:
    def __init__(self, phase: str, image: str) -> None:
        self.phase, self.next, self.document = phase, wanted(image), wanted(image)


@pytest.mark.parametrize(
    ("live", "records", "image"),
    [
        (Entry(KEPT, "one"), [Entry(KEPT, "one")], "one"),
        (Entry(KEPT, "two"), [Entry(STARTED, "two"), Entry(KEPT, "one")], "one"),
        (Entry(KEPT, "one"), [Entry(RESTORED, "two"), Entry(KEPT, "one")], "one"),
        (Entry(KEPT, "one"), [], "one"),
        (None, [Entry(KEPT, "one")], ""),
    ],
)
def test_the_release_that_was_kept_last_is_compared_with(
    live: Any, records: list[Any], image: str
) -> None:
    found = baseline.served(Stage(live, records))  # type: ignore[arg-type]
    assert (found.image, found.revision) == (image, image)
    assert bool(found.why) == (not image)


def test_an_identity_without_the_role_is_told_how_to_get_it() -> None:
    refused = AzError(Problem("AuthorizationFailed", 403, "may not"), "az container show")
    with pytest.raises(EngineError) as raised:
        baseline.served(Stage(None, [], refused))  # type: ignore[arg-type]
    assert "may not look at what production serves" in raised.value.cause
    assert "engine.deploy bootstrap" in raised.value.fix


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("", "load/slo.yaml has no `quality:`"),
        ("quality: {metric: rmse, margin: 0}\n", "quality.data is missing"),
        (
            "quality: {metric: rmse, margin: 0, data: load/none.csv}\n",
            "quality.data is 'load/none.csv', and there is no such file in the repository",
        ),
    ],
)
def test_without_a_section_or_data_there_is_no_gate_and_it_says_so(
    slo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    section: str,
    words: str,
) -> None:
    slo.write_text(slo.read_text() + section)
    page = tmp_path / "page.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    options = argparse.Namespace(environment="production", out=tmp_path / "baseline")
    assert baseline.run(options, tmp_path, default_say()) == 0
    assert ("warning: no comparison" in capsys.readouterr().err) == bool(section)
    assert program.main(["--gate", str(tmp_path / "baseline")]) == 0
    assert words in capsys.readouterr().out
    assert words.removeprefix("load") in page.read_text()
    assert "## Quality: no comparison" in page.read_text()


def test_a_gate_that_cannot_compare_stops_the_run(
    slo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    assert program.main(["--gate", str(tmp_path)]) == 2
    assert "## Quality: NOT compared" in page.read_text()
    assert "remove `quality:` from `load/slo.yaml`" in page.read_text()


@pytest.mark.exhaustive
def test_memory_is_bounded(tmp_path: Path) -> None:
    """A million rows take no more memory than two hundred thousand."""
    write_linear(tmp_path / "models", "line", np.array([[1.0], [2.0]]), np.zeros(1), [])
    peaks = []
    for rows in (200_000, 1_000_000):
        path = tmp_path / f"{rows}.csv"
        with path.open("w", encoding="utf-8") as file:
            file.write("a,b,label\n")
            file.writelines(f"{at},{at % 7},{at}\n" for at in range(rows))
        code = (
            "import re, sys; from engine.comparing import metrics; metrics.RESAMPLES = 20; "
            "from engine.comparing.__main__ import main; main(sys.argv[1:]); "
            "print(re.search('VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(path), "--other", str(tmp_path / "models")], cwd=ROOT,
            env={**os.environ, "MODELS_DIR": str(tmp_path / "models")}, text=True, check=True,
            capture_output=True, timeout=1200,
        )  # fmt: skip
        peaks.append(int(done.stdout.splitlines()[-1]))
    assert peaks[1] < peaks[0] + 16 * 1024, peaks

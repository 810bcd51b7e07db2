"""Drift: found where there is one, not where there is none, and no row can be read from it."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import httpx
import numpy as np
import pytest
from engine.drift import picture
from engine.drift.__main__ import DRIFTED
from engine.drift.bins import binned
from engine.drift.columns import Values
from engine.drift.compare import compare
from engine.drift.record import record
from engine.scoring.errors import ScoringError
from engine.serving.errors import PackageError
from engine.serving.package.manifest import Manifest
from engine.serving.package.reader import read_package
from engine.serving.reference import recorder as recording
from engine.serving.reference.counting import Counter, Counts, count, values_of
from engine.serving.reference.document import LEAST_ROWS, REFERENCE, Column, Reference
from engine.serving.reference.index import chi_square, shift, split
from engine.serving.reference.recorder import Recorder
from engine.serving.tensors.datatypes import Array
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import chi2, entropy

from tests.engine.exposition import ask
from tests.engine.project import ROOT
from tests.engine.server import running
from tests.engine.toy_models import write_classifier

Arrays = Mapping[str, Array]
PLAIN = Column(name="x", side="input", tensor="x", counts=())
RNG = np.random.default_rng(7)


def column_of(values: Array) -> Column:
    """The bins of a column."""
    column = binned(PLAIN, values)
    assert column is not None
    return column


def answering(outputs: dict[str, Array], _: Arrays) -> dict[str, Array]:
    """A run of a model that answers with these."""
    return outputs


def index(column: Column, values: Array) -> float:
    """How far the values are from the reference."""
    return shift(column, count(column, values)).index


def test_the_index_is_the_symmetric_divergence_of_the_two_distributions() -> None:
    column = column_of(RNG.normal(size=5000))
    now = count(column, RNG.normal(0.3, 1.2, size=3000))
    bins = len(column.counts)
    p, q = now[:bins] + 0.5, np.array(column.counts) + 0.5
    expected = entropy(p, q) + entropy(q, p)  # of SciPy, which makes them add up to one
    assert shift(column, now).index == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("degrees", [2, 5, 10, 50])
@pytest.mark.parametrize("share", [0.95, 1 - 1e-6])
def test_the_quantile_of_chi_square_is_that_of_scipy(degrees: int, share: float) -> None:
    assert 0.98 < chi_square(degrees, share) / chi2.ppf(share, degrees) < 1.1


@pytest.mark.parametrize("rows", [100, 1000, 10_000])
def test_the_same_data_raises_no_alarm_in_a_hundred_windows(rows: int) -> None:
    kinds: list[Callable[[int], Array]] = [
        lambda n: RNG.normal(size=n),
        lambda n: RNG.exponential(size=n),
        lambda n: RNG.integers(0, 3, size=n).astype(np.float64),
        lambda n: RNG.choice(np.array(["a", "b", "c", None], dtype=object), size=n),
    ]
    for draw in kinds:
        column = column_of(draw(2000))
        alarms = sum(shift(column, count(column, draw(rows))).shifted for _ in range(100))
        assert alarms == 0


def test_what_shifts_is_found_within_a_thousand_rows() -> None:
    normal = column_of(RNG.normal(size=2000))
    classes = column_of(RNG.choice(np.array(["a", "b"], dtype=object), size=2000, p=[0.8, 0.2]))
    same = count(normal, RNG.normal(size=1000))
    assert not shift(normal, same).shifted
    for values in (
        RNG.normal(1, 1, size=1000),
        RNG.normal(0, 2, size=1000),
        np.where(RNG.random(1000) < 0.3, np.nan, RNG.normal(size=1000)),
    ):
        assert shift(normal, count(normal, values)).shifted
    for shares in ([0.5, 0.5, 0], [0.6, 0.15, 0.25]):
        values = RNG.choice(np.array(["a", "b", "new"], dtype=object), size=1000, p=shares)
        assert shift(classes, count(classes, values)).shifted


def test_missing_and_unseen_values_are_shares_of_all() -> None:
    numbers = column_of(np.repeat(np.linspace(0, 1, 50), 10))
    found = shift(numbers, count(numbers, np.array([np.nan, 0.5, 2.0, -1.0, 0.2])))
    assert (found.missing, found.unseen, found.rows) == (0.2, 0.5, 5)
    classes = column_of(np.array(["a", "b"] * 50, dtype=object))
    found = shift(classes, count(classes, np.array(["a", None, "c", "a", "b"], dtype=object)))
    assert (found.missing, found.unseen, found.rows) == (0.2, 0.25, 5)


@settings(max_examples=200, deadline=None)
@given(
    arrays(
        np.float64,
        st.integers(1, 400),
        elements=st.one_of(
            st.floats(allow_infinity=True, allow_nan=True, width=32),
            st.sampled_from([0.0, 1.0, 2.0]),
        ),
    )
)
def test_no_bin_tells_of_fewer_than_ten_rows(values: Array) -> None:
    with np.errstate(all="ignore"):
        column = binned(PLAIN, values)
    if column is None:
        return
    assert all(rows == 0 or rows >= LEAST_ROWS for rows in column.counts)
    for category in column.categories:
        assert np.count_nonzero(values == category) >= LEAST_ROWS


def test_no_quantile_tells_of_fewer_than_ten_rows() -> None:
    for rows in range(21, 300, 4):
        for values in (
            RNG.standard_cauchy(rows),
            RNG.normal(size=rows),
            RNG.exponential(size=rows),
        ):
            counts = column_of(values).counts
            assert min(counts) >= LEAST_ROWS, counts
            assert sum(counts) == rows


def test_a_rare_category_and_a_free_text_are_not_in_the_reference() -> None:
    rare = column_of(np.array(["common"] * 95 + ["Mrs Smith, 12 Elm Road"] * 5, dtype=object))
    assert (rare.categories, rare.other) == (("common",), 5)
    texts = np.array([f"order {number} of {'x' * (number % 40)}" for number in range(500)])
    free = column_of(texts.astype(object))
    assert (free.measure, free.categories) == ("length", ())
    assert "order" not in free.model_dump_json()


def test_images_are_compared_by_figures_of_each() -> None:
    images = RNG.random((200, 3, 4, 4)).astype(np.float32)
    for measure, expected in (
        ("mean", images.mean(axis=(1, 2, 3), dtype=np.float64)),
        ("deviation", images.astype(np.float64).std(axis=(1, 2, 3))),
        ("norm", np.linalg.norm(images.reshape(200, -1).astype(np.float64), axis=1)),
    ):
        column = PLAIN.model_copy(update={"measure": measure})
        np.testing.assert_allclose(values_of(column, images), expected, rtol=1e-6)


def test_of_many_rows_every_second_or_fourth_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.drift.columns.MOST_ROWS", 100)
    entry = {"sha256": "0" * 64, "bytes": 1}
    number = {"datatype": "FP64", "shape": [-1]}
    manifest = Manifest.model_validate(
        {
            **{"manifest_version": 1, "name": "m", "version": "1", "format": "onnx"},
            **{"model_file": "model.onnx", "files": {"model.onnx": entry, "golden.npz": entry}},
            **{"inputs": [{"name": "x"} | number], "outputs": [{"name": "y"} | number]},
            "training": {"python": "3.13", "packages": {}},
        }
    )
    values = Values(manifest)
    for start in range(0, 333, 37):
        rows = np.arange(start, start + 37, dtype=np.float64)
        values.add({"x": rows}, {"y": -rows})
    kept = values.all()[0]
    assert 50 <= len(kept) <= 100
    np.testing.assert_array_equal(kept, np.arange(0, 333, 4)[: len(kept)])
    np.testing.assert_array_equal(values.all()[1], -kept)


@pytest.fixture
def sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of `sides`, whose two numbers are normal in training."""
    models = tmp_path / "models"
    write_classifier(models)
    monkeypatch.setenv("MODELS_DIR", str(models))
    return models / "sides"


def rows_file(path: Path, rows: Array) -> Path:
    """A CSV file of these rows."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b"])
        writer.writerows(rows.tolist())
    return path


def test_a_file_is_compared_with_the_training(sides: Path, tmp_path: Path) -> None:
    training = rows_file(tmp_path / "train.csv", RNG.normal(size=(1000, 2)))
    digest = read_package(sides).digest
    with pytest.raises(ScoringError, match="has no reference"):
        compare(training, None)
    assert "1,000 rows, 6 columns" in record(training, None)
    package = read_package(sides)
    assert package.digest != digest
    assert package.reference is not None
    names = [column.name for column in package.reference.columns]
    assert names == [
        *("x.0", "x.1", "label"),
        *("probabilities.confidence", "probabilities.0", "probabilities.1"),
    ]
    assert not compare(training, None).drifted
    other = rows_file(tmp_path / "other.csv", RNG.normal(size=(1000, 2)) + np.array([0, 2]))
    report = compare(other, None)
    assert report.drifted
    assert "x.1" in report.text.splitlines()[-1]
    assert "x.0" not in report.text.splitlines()[-1]
    assert DRIFTED not in (0, 1)
    picture.draw(report, tmp_path / "new" / "drift.svg")
    svg = "{http://www.w3.org/2000/svg}"
    drawn = ElementTree.parse(tmp_path / "new" / "drift.svg").getroot()
    texts = [each.text for each in drawn.iter(f"{svg}text")]
    assert texts.index("x.1") < texts.index("x.0")
    for column, each in zip(package.reference.columns, report.columns, strict=True):
        assert set(column.bins) <= set(texts)
        shares = [(old, new) for _, old, new in each.bars()]
        assert np.sum(shares, axis=0) == pytest.approx([1, 1])
    bars = [float(each.get("width", "")) for each in drawn.iter(f"{svg}rect")][1:]
    widest = max(share for each in report.columns for _, *both in each.bars() for share in both)
    assert max(bars) == pytest.approx(212 * widest, abs=0.1)


def test_too_few_rows_make_no_reference(sides: Path, tmp_path: Path) -> None:
    before = read_package(sides).digest
    few = rows_file(tmp_path / "few.csv", RNG.normal(size=(99, 2)))
    with pytest.raises(ScoringError, match=r"has 99 rows .* at least 100"):
        record(few, None)
    assert read_package(sides).digest == before


def test_a_reference_that_was_edited_is_refused(sides: Path, tmp_path: Path) -> None:
    record(rows_file(tmp_path / "train.csv", RNG.normal(size=(200, 2))), None)
    path = sides / REFERENCE
    document = json.loads(path.read_text())
    document["columns"][0]["counts"][0] += 1
    path.write_text(json.dumps(document))
    with pytest.raises(PackageError, match=r"reference\.json"):
        read_package(sides)


def test_a_reference_with_a_bin_of_one_row_is_refused() -> None:
    with pytest.raises(ValueError, match="fewer than 10 rows"):
        Reference.model_validate(
            {"rows": 200, "columns": [column_of(np.arange(0, 200.0)).model_dump() | {
                "edges": (0.0, 1.0, 2.0), "counts": (1, 199)}]}
        )  # fmt: skip


def test_windows_move_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    column = column_of(np.repeat(np.linspace(0, 1, 50), 10))
    counter = Counter(Reference(rows=500, columns=(column,)), {})
    recorder = Recorder(counter, np.zeros((2, column.size)), 1, lambda: now[0])
    run = recorder.recorded(lambda inputs: {"y": inputs["x"]})

    def rows(window: str) -> int:
        return recorder.shifts(window)[0].rows

    for _ in range(30):  # every five minutes, for two and a half hours
        run({"x": np.full(10, 0.5)})
        recorder.publish()
        now[0] += 300
        recorder.publish()
    assert rows("day") == 300
    assert 110 <= rows("hour") <= 120
    now[0] += 3600
    for _ in range(20):
        now[0] += 300
        recorder.publish()
    assert rows("hour") == 0
    assert rows("day") == 300
    monkeypatch.setattr(recording, "SAMPLED_ROWS", 16)
    recorder.publish()
    for _ in range(100):
        run({"x": np.full(10, 0.5)})
    recorder.publish()
    assert rows("hour") == 16


def test_many_small_runs_are_counted_as_one() -> None:
    numbers = column_of(np.repeat(np.linspace(0, 1, 50), 10))
    answers = numbers.model_copy(update={"name": "y", "side": "output", "tensor": "y"})
    reference = Reference(rows=500, columns=(numbers, answers))
    counted: list[Arrays] = []

    class Counting(Counter):
        def count(self, inputs: Arrays, outputs: Arrays) -> Counts:
            counted.append(inputs)
            return super().count(inputs, outputs)

    recorder = Recorder(Counting(reference, {}), np.zeros((1, reference.size)), 0)
    expected = np.zeros(reference.size)
    for shape in ((1,), (1,), (3,), (5,), (5,), (2, 1), (2, 1), (1,)):
        # Of five rows there is an output without rows, which has no place among others.
        y = np.array(0.5) if shape == (5,) else RNG.random(shape)
        outputs: dict[str, Array] = {"y": y}
        inputs: dict[str, Array] = {"x": RNG.random(shape)}
        expected += Counter(reference, {}).count(inputs, outputs)
        recorder.recorded(partial(answering, outputs))(inputs)
    recorder.publish()
    assert len(counted) == 4
    np.testing.assert_array_equal(np.concatenate(recorder.counts("hour")), expected)


@pytest.mark.slow
def test_a_service_tells_of_drift(sides: Path, tmp_path: Path) -> None:
    record(rows_file(tmp_path / "train.csv", RNG.normal(size=(1000, 2))), None)
    labels = {"model": "sides", "side": "input", "column": "x.1", "window": "hour"}
    with running(sides.parent, WORKERS="2") as server, httpx.Client(base_url=server.url) as client:
        asked = RNG.normal(size=(200, 2)) + np.array([0, 2])
        for one in asked.tolist():
            client.post("/predict", json={"data": [one]}).raise_for_status()
        # Each worker counts a few times a second.
        deadline = time.monotonic() + 10
        while ask(server.url, "inference_drift_rows", **labels) != len(asked):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        ratio = ask(server.url, "inference_drift_ratio", **labels)
        assert ratio is not None
        assert ratio > 1
        other = ask(server.url, "inference_drift_ratio", **labels | {"column": "x.0"})
        assert other is not None
        assert other < 1
    with running(sides.parent, DRIFT="off") as server, httpx.Client(base_url=server.url) as client:
        client.post("/predict", json={"data": [[1, 2]]}).raise_for_status()
        assert "inference_drift" not in client.get("/metrics").text


def test_a_load_test_of_the_sample_is_no_drift_and_other_flowers_are() -> None:
    package = read_package(ROOT / "models" / "iris")
    assert package.reference is not None
    golden = package.golden
    counter = Counter(package.reference, {})
    for change, drifts in ((0, False), (2, True)):
        sent = {"features": np.tile(golden.inputs["features"] + np.float32(change), (100, 1))}
        answered = {name: np.concatenate([value] * 100) for name, value in golden.outputs.items()}
        parts = split(package.reference.columns, counter.count(sent, answered))
        found = [
            shift(*each).shifted for each in zip(package.reference.columns, parts, strict=True)
        ]
        assert any(found) is drifts

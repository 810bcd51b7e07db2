"""Which models share runs between requests: those whose rows are shown to be independent."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import yaml
from engine.packaging.write import file_entry
from engine.serving.errors import InferenceFailed
from engine.serving.inference.batcher import Batcher
from engine.serving.inference.model import Model, load_model
from engine.serving.inference.profile import Profile
from engine.serving.inference.queue import Limits
from engine.serving.package.reader import read_package
from engine.serving.settings import Settings
from engine.serving.tensors.datatypes import Array
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, scale

from tests.engine import toy_models
from tests.engine.asked import outcome_of, requested
from tests.engine.test_packaging import made, save

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("steps_of_tests")]

CPU = Settings(execution_providers=("cpu",))
F32, I64, TEXT = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
MATRIX = (F32, ["rows", 4])
BOXES = {"boxes": (F32, ["rows", 3, 4]), "scores": (F32, ["rows", 1, 3])}
PLACES = [[0, 0, 5, 5], [10, 0, 15, 5], [20, 0, 25, 5]]


def node(kind: str, inputs: str = "x", outputs: str = "y", **attributes: Any) -> Any:
    """A node; names are separated by spaces."""
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def constant(name: str, value: Any, dtype: Any = np.int64) -> Any:
    """A constant of a graph."""
    return numpy_helper.from_array(np.array(value, dtype), name)


def detector(path: Path, most: int = 3, rows: str = "found") -> Path:
    """Boxes that score over 5, which noise does not, for all images of a run together."""
    weights = [constant("most", [most]), constant("iou", [0.5], np.float32)]
    weights.append(constant("least", [5], np.float32))
    nodes = [node("NonMaxSuppression", "boxes scores most iou least", "found")]
    return save(path, nodes, BOXES, {"found": (I64, [rows, 3])}, weights=weights)


def hits(path: Path) -> Path:
    """Samples with other boxes found in each image."""
    scores = np.array([[[9, 8, 0]], [[0, 0, 0]], [[0, 7, 9]]], np.float32)
    np.savez(path, boxes=np.array([PLACES] * 3, np.float32), scores=scores)
    return path


# Nodes, constants, the output as an exporter declares it, and what the packager says.
MIXED = "depend on each other"
COUPLED: dict[str, tuple[list[Any], list[Any], Any, str]] = {
    # Values decide how many rows there are.
    "non-zero": (
        [node("NonZero", "x", "a"), node("Transpose", "a")], [], (I64, ["rows", 2]), "tie",
    ),
    "compress": (
        [
            node("ReduceMax", "x", "a", axes=[1], keepdims=0),
            node("Greater", "a limit", "b"),
            node("Compress", "x b", axis=0),
        ],
        [constant("limit", 1000, np.float32)],
        MATRIX,
        "tie",
    ),
    "unique": ([node("Unique", "x", axis=0)], [], MATRIX, "tie"),
    "a cut of the first rows": (
        [node("Slice", "x begin end axes")],
        [constant("begin", [0]), constant("end", [1000]), constant("axes", [0])],
        MATRIX,
        "tie",
    ),
    "two rows for one": (
        [node("Reshape", "x shape")], [constant("shape", [-1, 2])], (F32, ["rows", 2]), "tie",
    ),
    # Shapes are right, and values are not.
    "softmax over rows": ([node("Softmax", axis=0)], [], MATRIX, MIXED),
    "running sum": ([node("CumSum", "x axis")], [constant("axis", 0)], MATRIX, MIXED),
    "mean of the batch": (
        [node("ReduceMean", "x", "a", axes=[0]), node("Sub", "x a")],
        [],
        MATRIX,
        MIXED,
    ),
    "rows shuffled": (
        [node("Transpose", "x", "a"), node("Reshape", "a shape")],
        [constant("shape", [-1, 4])],
        MATRIX,
        MIXED,
    ),
    "a limit that samples do not reach": (
        [
            node("Greater", "x limit", "a"),
            node("Cast", "a", "b", to=F32),
            node("ReduceSum", "b", "c"),
            node("Add", "x c"),
        ],
        [constant("limit", 50, np.float32)],
        MATRIX,
        MIXED,
    ),
    "the same for all": (
        [node("Mul", "x zero")],
        [constant("zero", 0, np.float32)],
        MATRIX,
        "'y' is the same for all rows",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", COUPLED)
def test_rows_that_may_depend_on_others_run_alone(kind: str, tmp_path: Path) -> None:
    nodes, weights, output, words = COUPLED[kind]
    source = save(
        tmp_path / "m.onnx", nodes, {"x": MATRIX}, {"y": output}, weights=weights, opset=17
    )  # fmt: skip
    model, manifest, remarks = made(source, tmp_path / "models")
    assert not model.signature.batched
    assert manifest["independent_rows"] is False
    (remark,) = [each for each in remarks if each.startswith("each request runs alone: ")]
    assert words in remark


@pytest.mark.parametrize("most", [3, 1])
def test_a_detector_is_never_batched_whatever_is_declared(most: int, tmp_path: Path) -> None:
    """Not with samples and without, nor when the exporter calls its rows the input's."""
    honest = detector(tmp_path / "m.onnx", most)
    samples = hits(tmp_path / "s.npz")
    liar = detector(tmp_path / "liar.onnx", most, rows="rows")
    told: list[dict[str, Any]] = [{}, {"samples": samples}]
    for number, options in enumerate(told + [each | {"batching": "declared"} for each in told]):
        for source in (honest, liar):
            model, _, remarks = made(source, tmp_path / f"{source.stem}{number}", **options)
            assert not model.signature.batched
            assert any("output 'found'" in remark for remark in remarks)


@pytest.mark.parametrize("most", ["most", 1])
def test_a_width_that_texts_of_others_decide_is_not_shared(most: str | int, tmp_path: Path) -> None:
    """StringSplit pads to the text with the most words of the run, whatever an exporter says."""
    nodes = [node("StringSplit", "x", "y counts", delimiter=" ")]
    outputs = {"y": (TEXT, ["rows", most]), "counts": (I64, ["rows"])}
    source = save(tmp_path / "m.onnx", nodes, {"x": (TEXT, ["rows"])}, outputs)
    for batching in ("auto", "declared"):
        model, manifest, _ = made(source, tmp_path / batching, batching=batching)
        assert not model.signature.batched
        if batching == "auto":
            assert "the graph does not tie" in manifest["training"]["batching"]


TIED: dict[str, tuple[list[Any], list[Any], int]] = {
    "reshape to as many as there are": (
        [node("Reshape", "x line", "a"), node("Reshape", "a shape")],
        [constant("line", [-1]), constant("shape", [-1, 4])],
        17,
    ),
    "a shape that is computed": (
        [
            node("Shape", "x", "a"),
            node("Gather", "a zero", "b"),
            node("Concat", "b four", "c", axis=0),
            node("Relu", "x", "d"),
            node("Reshape", "d c"),
        ],
        [constant("zero", [0]), constant("four", [4])],
        17,
    ),
    "an operator of the runtime's own": (
        [node("Gelu", domain="com.microsoft")], [], 17,
    ),
    "a classical operator": (
        [node("Scaler", "x", offset=[0.0] * 4, scale=[2.0] * 4, domain="ai.onnx.ml")],
        [],
        17,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", TIED)
def test_rows_that_the_graph_ties_to_the_input_s_are_batched(kind: str, tmp_path: Path) -> None:
    nodes, weights, opset = TIED[kind]
    source = save(
        tmp_path / "m.onnx", nodes, {"x": MATRIX}, {"y": MATRIX}, weights=weights, opset=opset,
        domains={"com.microsoft": 1, "ai.onnx.ml": 3},
    )  # fmt: skip
    model, manifest, remarks = made(source, tmp_path / "models")
    assert model.signature.batched
    assert manifest["independent_rows"] is True
    assert "shown by the graph" in manifest["training"]["batching"]
    assert not any("runs alone" in remark for remark in remarks)


@pytest.mark.parametrize("top", [100, 1920, 1e5])
@pytest.mark.parametrize("shape", [[4], [3, 4]])
@pytest.mark.parametrize("axis", [0, -1])
def test_pixels_do_not_hide_a_score_beside_them(
    axis: int, shape: list[int], top: float, tmp_path: Path
) -> None:
    """A score out of all rows is seen beside large values, and widens no tolerance."""
    nodes = [node("Softmax", "logits", "score", axis=axis), node("Concat", "pixels score", axis=-1)]
    inputs = {name: (F32, ["rows", *shape]) for name in ("pixels", "logits")}
    outputs = {"y": (F32, ["rows", *shape[:-1], 8])}
    source = save(tmp_path / "m.onnx", nodes, inputs, outputs)
    random = np.random.default_rng(0)
    pixels = random.uniform(0, top, (8, *shape)).astype("f4")
    logits = random.normal(size=(8, *shape)).astype("f4")
    np.savez(tmp_path / "s.npz", pixels=pixels, logits=logits)
    model, manifest, _ = made(source, tmp_path / "models", samples=tmp_path / "s.npz")
    assert model.signature.batched is (axis == -1)
    assert manifest["outputs"][0]["tolerance"]["absolute"] == 1e-5
    assert manifest["outputs"][0]["tolerance"]["relative"] == 1e-5


@pytest.mark.parametrize("top", [1e-6, 1.0, 1e6])
def test_rounding_of_a_batch_is_not_taken_for_other_rows(top: float, tmp_path: Path) -> None:
    """Sums of large, small and cancelling products, as of networks for prices and for shares."""
    random = np.random.default_rng(1)
    layers = [random.normal(size=shape).astype("f4") for shape in ((16, 300), (300, 300), (300, 2))]
    layers[2] *= np.float32(top)
    weights = [constant(f"w{i}", layer, np.float32) for i, layer in enumerate(layers)]
    nodes = [
        node("MatMul", "x w0", "a"), node("Tanh", "a", "b"), node("MatMul", "b w1", "c"),
        node("Tanh", "c", "d"), node("MatMul", "d w2"),
    ]  # fmt: skip
    source = save(
        tmp_path / "m.onnx", nodes, {"x": (F32, ["rows", 16])}, {"y": (F32, ["rows", 2])},
        weights=weights,
    )  # fmt: skip
    np.save(tmp_path / "s.npy", random.normal(size=(8, 16)).astype("f4"))
    model, manifest, _ = made(source, tmp_path / "models", samples=tmp_path / "s.npy")
    assert model.signature.batched
    tolerance = manifest["outputs"][0]["tolerance"]
    assert tolerance["absolute"] <= 1e-3 * max(top, 1)
    assert tolerance["relative"] <= 1e-3


def test_never_overrides_when_packaging_and_in_the_manifest(tmp_path: Path) -> None:
    source = save(tmp_path / "m.onnx", [node("Neg")], {"x": MATRIX}, {"y": MATRIX})
    model, manifest, _ = made(source, tmp_path / "never", batching="never")
    assert not model.signature.batched
    assert manifest["batching"] == "never"
    model, manifest, _ = made(source, tmp_path / "auto")
    assert model.signature.batched
    path = model.package.directory / "model.yaml"
    path.write_text(yaml.safe_dump(manifest | {"batching": "never"}))
    assert not load_model(read_package(path.parent), CPU).signature.batched


def test_a_package_of_an_older_version_runs_each_request_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its manifest says nothing, and what its packager believed was believed without a reason."""
    directory = toy_models.write_scale(tmp_path)
    path = directory / "model.yaml"
    content = yaml.safe_load(path.read_text())
    del content["independent_rows"], content["training"]["batching"]
    path.write_text(yaml.safe_dump(content))
    model = load_model(read_package(directory), CPU)
    assert not model.signature.batched
    assert "package the model again" in caplog.text
    # A graph says nothing about the code of somebody who put it around the model.
    (directory / "code.py").write_text("preprocess = dict")
    files = content["files"] | {"code.py": file_entry(directory / "code.py")}
    coded = content | {"independent_rows": True, "code_file": "code.py", "files": files}
    path.write_text(yaml.safe_dump(coded))
    assert not read_package(directory).manifest.signature.batched
    path.write_text(yaml.safe_dump(coded | {"batching": "declared"}))
    assert read_package(directory).manifest.signature.batched


def without_mean(table: Array) -> Array:
    """Somebody's own step, which looks at all rows."""
    return np.asarray(table - table.mean(axis=0))


def without_extremes(table: Array) -> Array:
    """Somebody's own step, which drops rows that no sample has."""
    return np.asarray(table[np.abs(table).max(axis=1) < 1e9])


STEPS = {
    "scikit-learn's own": (FunctionTransformer(), "auto", True, "scikit-learn's API"),
    "a library's function over all rows": (FunctionTransformer(scale), "auto", False, "depend on"),
    "own code over all rows": (FunctionTransformer(without_mean), "declared", False, "depend on"),
    "own code": (FunctionTransformer(without_extremes), "auto", False, "--batching declared"),
    "own code, declared": (FunctionTransformer(without_extremes), "declared", True, "declared by"),
    "never": (FunctionTransformer(), "never", False, "packaged to run each request alone"),
}


@pytest.mark.parametrize("kind", STEPS)
def test_an_estimator_is_batched_by_its_library_s_word_or_a_person_s(
    kind: str, tmp_path: Path
) -> None:
    step, batching, batched, words = STEPS[kind]
    x = np.random.default_rng(0).normal(size=(30, 3))
    joblib.dump(make_pipeline(step, LinearRegression()).fit(x, x[:, 0]), tmp_path / "m.joblib")
    np.save(tmp_path / "s.npy", x[:6])
    model, manifest, _ = made(
        tmp_path / "m.joblib", tmp_path / "m", samples=tmp_path / "s.npy", batching=batching
    )
    assert model.signature.batched is batched
    assert words in manifest["training"]["batching"]


def test_trials_with_made_up_values_warn_of_nothing(tmp_path: Path) -> None:
    x = np.abs(np.random.default_rng(0).normal(size=(30, 3)))
    estimator = make_pipeline(FunctionTransformer(np.log1p), LinearRegression()).fit(x, x[:, 0])
    joblib.dump(estimator, tmp_path / "m.joblib")
    np.save(tmp_path / "s.npy", x[:6])
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        made(tmp_path / "m.joblib", tmp_path / "m", samples=tmp_path / "s.npy")
    assert not [each for each in noted if issubclass(each.category, RuntimeWarning)]


def test_code_around_a_model_is_batched_only_when_declared(tmp_path: Path) -> None:
    source = save(tmp_path / "m.onnx", [node("Neg")], {"x": MATRIX}, {"y": MATRIX})
    np.savez(tmp_path / "s.npz", x=np.random.default_rng(0).normal(size=(5, 4)).astype("f4"))
    same = "def postprocess(outputs): return {'y': outputs['y']}"
    mixing = "def postprocess(outputs): return {'y': outputs['y'] - outputs['y'].mean(axis=0)}"
    for number, (code, batching, batched) in enumerate(
        ((same, "auto", False), (same, "declared", True), (mixing, "declared", False))
    ):
        (tmp_path / "code.py").write_text(code)
        model, _, _ = made(
            source, tmp_path / str(number), code=tmp_path / "code.py",
            samples=tmp_path / "s.npz", batching=batching,
        )  # fmt: skip
        assert model.signature.batched is batched


class Silent:
    """Watches a batcher, and remembers the rows of each run."""

    def __init__(self) -> None:
        self.runs: list[int] = []

    def waited(self, seconds: float) -> None:
        """See ``Observer``."""

    def computed(self, rows: int, seconds: float) -> None:
        """See ``Observer``."""
        self.runs.append(rows)


async def answers(
    model: Model, run: Any, *moments: list[dict[str, Array]], watching: Silent | None = None
) -> list[Any]:
    """What all get that ask, one moment after the other."""
    limits = Limits(8, 1000, 1 << 30, 60.0, 2)
    profile = Profile(0.001, 0.01, 8, 8)
    with ThreadPoolExecutor(2) as executor:
        batcher = Batcher(
            run, model.signature, limits, profile, executor, watching or Silent(), name=model.name
        )
        got: list[Any] = []
        for requests in moments:
            waiting = [
                outcome_of(batcher.post, requested(each, model.signature.check(each)))
                for each in requests
            ]
            got += await asyncio.gather(*waiting, return_exceptions=True)
        return got


def test_clients_of_a_detector_get_their_own_boxes(tmp_path: Path) -> None:
    model, _, _ = made(detector(tmp_path / "m.onnx"), tmp_path / "models")
    boxes = np.array([PLACES], np.float32)
    each = [
        {"boxes": boxes, "scores": np.array([[scores]], np.float32)}
        for scores in ([9, 8, 0], [0, 0, 0], [0, 7, 0])
    ]
    expected = [[[0, 0, 0], [0, 0, 1]], [], [[0, 0, 1]]]
    got = asyncio.run(answers(model, model.run, each * 10))
    assert [answer["found"].tolist() for answer in got] == expected * 10


@pytest.mark.parametrize(
    "drop",
    [lambda x: x[x[:, 0] != 1], lambda x: np.concatenate([x, x[x[:, 0] == 1]])],
    ids=["fewer rows", "more rows"],
)
def test_a_run_with_other_rows_than_its_inputs_is_not_cut(
    drop: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each of its requests runs alone, and so does everything that comes later."""
    model = load_model(read_package(toy_models.write_scale(tmp_path)), CPU)

    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"y": drop(inputs["x"]) * 2}

    values = [3, 1, 2, 1, 5, 4]
    requests = [{"x": np.full((1, 3), value, np.float32)} for value in values]
    watching = Silent()
    with caplog.at_level(logging.WARNING):
        got = asyncio.run(answers(model, run, requests, requests, watching=watching))
    for value, answer in zip(values * 2, got, strict=True):
        assert answer["y"].tolist() == (drop(np.full((1, 3), value)) * 2).tolist()
    assert watching.runs[-len(requests) :] == [1] * len(requests)
    assert caplog.text.count("each request runs alone from now on") == 1


def first_two(x: Array) -> Array:
    """Fewer rows than there are."""
    return x[:2]


def padded(x: Array) -> Array:
    """As wide as the largest number of the run."""
    return np.resize(x, (len(x), int(x.max()) + 1))


@pytest.mark.parametrize("mixing", [first_two, padded])
def test_parts_of_a_request_that_do_not_make_a_whole_are_not_put_together(
    mixing: Any, tmp_path: Path
) -> None:
    """The request is refused once, and the next one is computed as a whole."""
    model = load_model(read_package(toy_models.write_scale(tmp_path)), CPU)
    x = np.arange(60, dtype=np.float32).reshape(20, 3)
    large = [{"x": x}]
    refused, whole = asyncio.run(
        answers(model, lambda inputs: {"y": mixing(inputs["x"])}, large, large)
    )
    assert isinstance(refused, InferenceFailed)
    assert "send it again" in str(refused)
    assert whole["y"].tolist() == mixing(x).tolist()


def test_warm_up_sees_that_rows_are_not_the_input_s(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = load_model(read_package(toy_models.write_scale(tmp_path)), CPU)

    class Dropping:
        provider = "cpu"

        def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
            return {"y": inputs["x"][:2] * 2}

    dropping = Model(model.package, Dropping())
    assert dropping.signature.batched
    assert dropping.warm_up(64).batch_rows == 1
    assert not dropping.signature.batched
    assert "scale: each request runs alone" in caplog.text

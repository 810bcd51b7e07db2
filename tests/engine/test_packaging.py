"""`python -m engine.packaging`: what you have becomes a package, or is refused in one line."""

from __future__ import annotations

import gzip
from copy import deepcopy
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pytest
import yaml
from engine.packaging.options import Options
from engine.packaging.package import main, package
from engine.packaging.sklearn_onnx import EXPORTERS
from engine.packaging.write import LARGE_BYTES
from engine.serving.errors import PackageError
from engine.serving.inference.model import Model, load_model
from engine.serving.package.golden import write_golden
from engine.serving.package.reader import read_package
from engine.serving.settings import Settings
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LinearRegression, LogisticRegression

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("steps_of_tests")]

CPU = Settings(execution_providers=("cpu",))
F32 = TensorProto.FLOAT


def save(
    path: Path, nodes: list[Any], inputs: dict[str, Any], outputs: dict[str, Any], **more: Any
) -> Path:
    """Write a model; tensors are given as (element type, shape)."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, *each) for name, each in inputs.items()],
        [helper.make_tensor_value_info(name, *each) for name, each in outputs.items()],
        initializer=more.pop("weights", []),
    )
    versions = {"": more.pop("opset", 21), **more.pop("domains", {})}
    opsets = [helper.make_opsetid(*each) for each in versions.items()]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=more.pop("ir", 10))
    onnx.save(model, path)
    return path


def double(path: Path, **more: Any) -> Path:
    """`y = x + x`, FP32[rows, 3]."""
    nodes = [helper.make_node("Add", ["x", "x"], ["y"])]
    tensor = (F32, ["rows", 3])
    return save(path, nodes, {"x": tensor}, {"y": tensor}, **more)


def made(source: Path, folder: Path, **options: Any) -> tuple[Model, dict[str, Any], list[str]]:
    """Package, and load what was packaged: the model, its manifest, the remarks."""
    target, remarks = package(str(source), Options(name="made", **options), folder)
    manifest = yaml.safe_load((target / "model.yaml").read_text())
    return load_model(read_package(target), CPU), manifest, remarks


def refused(source: Path, folder: Path, **options: Any) -> str:
    """Why a source is refused: one line, and nothing was written."""
    with pytest.raises(PackageError) as error:
        package(str(source), Options(name="made", **options), folder)
    assert "\n" not in str(error.value)
    assert not folder.exists() or list(folder.iterdir()) == []
    return str(error.value)


class TestOnnx:
    """Any ONNX file."""

    def test_symbolic_dimensions_vary_and_the_golden_record_says_whose_it_is(
        self, tmp_path: Path
    ) -> None:
        _, manifest, remarks = made(double(tmp_path / "m.onnx"), tmp_path / "models")
        assert manifest["inputs"][0] == {"name": "x", "datatype": "FP32", "shape": [-1, 3]}
        assert manifest["training"]["golden"].startswith("ONNX Runtime itself")
        assert any("not a wrong export" in remark for remark in remarks)

    def test_answers_of_the_training_framework_are_the_measure(self, tmp_path: Path) -> None:
        x = np.ones((2, 3), np.float32)
        write_golden(tmp_path / "s.npz", {"x": x}, {"y": x * 2})
        source = double(tmp_path / "m.onnx")
        _, manifest, _ = made(source, tmp_path / "models", samples=tmp_path / "s.npz")
        assert manifest["training"]["golden"] == "given with the samples"
        write_golden(tmp_path / "s.npz", {"x": x}, {"y": x * np.float32(2.001)})
        words = refused(source, tmp_path / "others", samples=tmp_path / "s.npz")
        assert "golden check failed: output 'y' at [0, 0] is 2.0" in words
        assert "likely causes" in words

    @pytest.mark.parametrize("ir", [10, 14])
    def test_weights_in_a_file_beside_it_are_packaged_and_checked(
        self, tmp_path: Path, ir: int
    ) -> None:
        weights = np.full((3, 3), 2, np.float32)
        nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
        tensor = (F32, ["rows", 3])
        source = save(
            tmp_path / "m.onnx", nodes, {"x": tensor}, {"y": tensor},
            weights=[numpy_helper.from_array(weights, "w")], ir=ir,
        )  # fmt: skip
        onnx.save(
            onnx.load(source), source, save_as_external_data=True, location="weights.bin",
            size_threshold=0,
        )  # fmt: skip
        model, manifest, _ = made(source, tmp_path / "models")
        assert "weights.bin" in manifest["files"]
        answer = model.run({"x": np.ones((1, 3), np.float32)})
        assert answer["y"].tolist() == [[6, 6, 6]]
        with (tmp_path / "models" / "made" / "weights.bin").open("r+b") as file:
            file.truncate(8)
        with pytest.raises(PackageError, match=r"weights\.bin: has 8 bytes and the manifest"):
            read_package(tmp_path / "models" / "made")
        (tmp_path / "weights.bin").write_bytes(b"short")
        assert "is truncated: copy it again" in refused(source, tmp_path / "others")
        (tmp_path / "weights.bin").unlink()
        assert "weights.bin', which is not there" in refused(source, tmp_path / "others")

    @pytest.mark.parametrize("ir", [14, 20])
    def test_a_newer_version_of_the_ir_is_lowered_and_nothing_converted(
        self, tmp_path: Path, ir: int
    ) -> None:
        source = double(tmp_path / "m.onnx", ir=ir)
        model, _, remarks = made(source, tmp_path / "models")
        assert model.run({"x": np.ones((1, 3), np.float32)})["y"].tolist() == [[2, 2, 2]]
        written = onnx.load(tmp_path / "models" / "made" / "model.onnx")
        assert [each.version for each in written.opset_import] == [21]
        assert "converted" not in " ".join(remarks)

    def test_weights_outside_its_folder_are_refused(self, tmp_path: Path) -> None:
        source = double(tmp_path / "m.onnx")
        model = onnx.load(source)
        tensor = numpy_helper.from_array(np.ones(3, np.float32), "w")
        onnx.external_data_helper.set_external_data(tensor, "../secret")
        tensor.ClearField("raw_data")
        model.graph.initializer.append(tensor)
        source.write_bytes(model.SerializeToString())
        assert "a place beside the model is allowed only" in refused(source, tmp_path / "models")

    def test_bfloat16_is_carried_as_float32(self, tmp_path: Path) -> None:
        tensor = (TensorProto.BFLOAT16, ["rows", 2])
        nodes = [helper.make_node("Identity", ["x"], ["y"])]
        source = save(tmp_path / "m.onnx", nodes, {"x": tensor}, {"y": tensor})
        model, manifest, remarks = made(source, tmp_path / "models")
        assert manifest["inputs"][0]["datatype"] == "FP32"
        assert "y: bfloat16 is carried as FP32" in remarks
        answer = model.run({"x": np.array([[1.0, 1.00390625]], np.float32)})
        assert answer["y"].tolist() == [[1.0, 1.0]]

    def test_rows_that_depend_on_each_other_never_share_a_run(self, tmp_path: Path) -> None:
        tensor = (F32, ["steps", 3])
        nodes = [helper.make_node("CumSum", ["x", "axis"], ["y"])]
        source = save(
            tmp_path / "m.onnx", nodes, {"x": tensor}, {"y": tensor},
            weights=[numpy_helper.from_array(np.array(0), "axis")],
        )  # fmt: skip
        model, manifest, remarks = made(source, tmp_path / "models")
        assert manifest["independent_rows"] is False
        assert not model.signature.batched
        assert any("never share a run" in remark for remark in remarks)

    def test_operator_sets_that_the_runtime_lacks_are_converted(self, tmp_path: Path) -> None:
        nodes = [helper.make_node("Add", ["x", "x"], ["y"])]
        tensor = (F32, [1, 3])
        for opset, ir in ((26, 99), (6, 3)):
            source = tmp_path / f"{opset}.onnx"
            save(source, nodes, {"x": tensor}, {"y": tensor}, opset=opset, ir=ir)
            model, _, remarks = made(source, tmp_path / str(opset))
            assert f"converted from operator set {opset} to 25" in " ".join(remarks)
            assert model.run({"x": np.ones((1, 3), np.float32)})["y"].tolist() == [[2, 2, 2]]

    def test_made_up_inputs_that_cannot_be_run_ask_for_real_ones(self, tmp_path: Path) -> None:
        nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
        source = save(
            tmp_path / "m.onnx", nodes, {"x": (F32, ["a"])}, {"y": (F32, ["b", 77])},
            weights=[numpy_helper.from_array(np.array([-1, 77]), "shape")],
        )  # fmt: skip
        assert "give real ones with --samples" in refused(source, tmp_path / "models")

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
            (b"PK\x03\x04 a zip file", "is not an ONNX model, or is truncated"),
            (b"", "is not an ONNX model"),
        ],
    )
    def test_what_is_no_model_is_refused(self, tmp_path: Path, content: bytes, words: str) -> None:
        (tmp_path / "m.onnx").write_bytes(content)
        assert words in refused(tmp_path / "m.onnx", tmp_path / "models")

    def test_types_that_cannot_be_carried_are_refused(self, tmp_path: Path) -> None:
        tensor = (TensorProto.FLOAT8E5M2, [2])
        nodes = [helper.make_node("Identity", ["x"], ["y"])]
        source = save(tmp_path / "m.onnx", nodes, {"x": tensor}, {"y": tensor})
        assert "FLOAT8E5M2, which the Open Inference" in refused(source, tmp_path / "models")
        result = helper.make_tensor_sequence_value_info("y", F32, None)
        graph = helper.make_graph(
            [helper.make_node("SplitToSequence", ["x"], ["y"])],
            "graph",
            [helper.make_tensor_value_info("x", F32, ["rows", 3])],
            [result],
        )
        onnx.save(helper.make_model(graph, ir_version=10), source)
        assert "tensors only: export it as tensors" in refused(source, tmp_path / "models")

    def test_large_files_are_marked_for_git_lfs(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert LARGE_BYTES > 0
        monkeypatch.setattr("engine.packaging.write.LARGE_BYTES", 10)
        made(double(tmp_path / "m.onnx"), tmp_path / "models")
        attributes = (tmp_path / "models" / "made" / ".gitattributes").read_text()
        assert "model.onnx filter=lfs" in attributes


def random_model(folder: Path, operator: str, *more: str) -> Path:
    """A graph with one operator that may draw random numbers."""
    weights = [
        numpy_helper.from_array(np.array(0.5, np.float32), "ratio"),
        numpy_helper.from_array(np.array(True), "on"),
        numpy_helper.from_array(np.array(False), "off"),
    ]
    tensor = (F32, ["rows", 3])
    nodes = [helper.make_node(operator, ["x", *more], ["y"])]
    used = [each for each in weights if each.name in more]
    return save(folder / "random.onnx", nodes, {"x": tensor}, {"y": tensor}, weights=used)


@pytest.mark.parametrize(
    ("operator", "more"),
    [("Dropout", ("ratio", "on")), ("RandomUniformLike", ()), ("Bernoulli", ())],
)
@pytest.mark.parametrize("tolerance", [None, 100.0])
def test_a_model_that_draws_random_numbers_is_refused_with_its_operator(
    tmp_path: Path, operator: str, more: tuple[str, ...], tolerance: float | None
) -> None:
    source = random_model(tmp_path, operator, *more)
    np.save(tmp_path / "s.npy", np.full((40, 3), 0.5, np.float32))
    words = refused(source, tmp_path / "models", samples=tmp_path / "s.npy", tolerance=tolerance)
    assert "answers the same input differently each time (output 'y')" in words
    assert f"{operator} in it draws random numbers; export it for inference" in words


def test_random_numbers_that_do_not_show_are_named(tmp_path: Path) -> None:
    source = random_model(tmp_path, "Dropout", "ratio", "on")
    np.save(tmp_path / "s.npy", np.zeros((4, 3), np.float32))
    _, _, remarks = made(source, tmp_path / "models", samples=tmp_path / "s.npy")
    assert "Dropout draws random numbers, which the samples do not show" in remarks
    source = random_model(tmp_path, "Dropout", "ratio", "off")
    _, _, remarks = made(source, tmp_path / "models", samples=tmp_path / "s.npy")
    assert not [each for each in remarks if "draws" in each]


class Noisy(LinearRegression):  # type: ignore[misc]
    """Adds noise to what it predicts."""

    def predict(self, X: Any) -> Any:
        """Never the same."""
        return super().predict(X) + np.random.default_rng().normal(size=len(X))


def test_an_estimator_that_draws_random_numbers_is_refused(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(20, 2))
    joblib.dump(Noisy().fit(x, x[:, 0]), tmp_path / "m.joblib")
    np.save(tmp_path / "s.npy", x)
    words = refused(tmp_path / "m.joblib", tmp_path / "models", samples=tmp_path / "s.npy")
    assert "Noisy answers the same rows differently each time; fix the random_state" in words


@pytest.mark.parametrize("prefix", ["", "input/"])
def test_names_that_look_like_those_of_samples_are_taken(tmp_path: Path, prefix: str) -> None:
    """The tensor is called input/a:0, which is what samples put before a name."""
    tensor = (F32, ["rows", 3])
    nodes = [helper.make_node("Neg", ["input/a:0"], ["output/b:0"])]
    source = save(tmp_path / "m.onnx", nodes, {"input/a:0": tensor}, {"output/b:0": tensor})
    x = np.ones((4, 3), np.float32)
    after = "output/" if prefix else ""
    np.savez(tmp_path / "s.npz", **{f"{prefix}input/a:0": x, f"{after}output/b:0": -x})  # type: ignore[arg-type]
    model, manifest, _ = made(source, tmp_path / "models", samples=tmp_path / "s.npz")
    assert manifest["training"]["golden"] == "given with the samples"
    assert model.run({"input/a:0": x})["output/b:0"].tolist() == (-x).tolist()


class Unknown(LinearRegression):  # type: ignore[misc]
    """An estimator that skl2onnx has no converter for."""


class TestSklearn:
    """Pickled estimators."""

    @pytest.fixture
    def fitted(self, tmp_path: Path) -> Path:
        """A classifier of three columns."""
        x = np.random.default_rng(0).normal(size=(60, 3))
        estimator = LogisticRegression().fit(x, (x[:, 0] > 0).astype(int))
        joblib.dump(estimator, tmp_path / "m.joblib")
        np.save(tmp_path / "s.npy", x[:10].astype(np.float32).astype(np.float64))
        return tmp_path / "m.joblib"

    def test_labels_and_the_person_s_words_are_recorded(self, fitted: Path, tmp_path: Path) -> None:
        _, manifest, remarks = made(
            fitted, tmp_path / "models", samples=tmp_path / "s.npy", labels=("no", "yes"),
            licence="MIT", data="made up",
        )  # fmt: skip
        assert manifest["outputs"][0]["labels"] == ["no", "yes"]
        assert manifest["training"]["licence"] == "MIT"
        assert manifest["training"]["estimator"] == "LogisticRegression"
        # This project serves ONNX models, and its lock has no scikit-learn.
        version = manifest["training"]["packages"]["scikit-learn"]
        assert "nobody but scikit-learn" in remarks[0]
        assert remarks[1:] == [
            f"the model needs scikit-learn {version}, and serve-cpu.txt does not have it; add "
            f"scikit-learn=={version} to requirements/serve-cpu.in and run `make lock`"
        ]

    def test_the_conversion_answers_as_scikit_learn(self, fitted: Path, tmp_path: Path) -> None:
        model, manifest, _ = made(fitted, tmp_path / "m", samples=tmp_path / "s.npy", to="onnx")
        assert manifest["format"] == "onnx"
        x = np.load(tmp_path / "s.npy")
        answer = model.run({"features": x.astype(np.float32)})
        estimator = joblib.load(fitted)
        assert answer["label"].tolist() == estimator.predict(x).tolist()
        np.testing.assert_allclose(answer["probabilities"], estimator.predict_proba(x), atol=1e-6)

    def test_classes_that_are_true_and_false_stay_so_in_onnx(self, tmp_path: Path) -> None:
        x = np.random.default_rng(4).normal(size=(40, 3)).astype(np.float32)
        estimator = LogisticRegression().fit(x, x[:, 0] > 0)
        joblib.dump(estimator, tmp_path / "m.joblib")
        np.save(tmp_path / "s.npy", x[:9])
        model, _, _ = made(
            tmp_path / "m.joblib", tmp_path / "m", samples=tmp_path / "s.npy", to="onnx"
        )
        answer = model.run({"features": x})
        assert answer["label"].dtype == np.bool_
        assert answer["label"].reshape(-1).tolist() == estimator.predict(x).tolist()

    def test_another_minor_version_is_refused_before_anything_is_unpickled(
        self, fitted: Path, tmp_path: Path
    ) -> None:
        """Also inside a compressed file; the code that the pickle holds leaves no trace."""
        planted = tmp_path / "planted"
        code = f"cos\nsystem\n(S'touch {planted}'\ntR.".encode()
        content = b"\x80\x04\x8c\x10_sklearn_version\x94\x8c\x050.9.1\x94" + code
        for name, stored in (("a.pkl", content), ("b.joblib", gzip.compress(content))):
            (tmp_path / name).write_bytes(stored)
            words = refused(tmp_path / name, tmp_path / "models")
            assert "was pickled by scikit-learn 0.9.1" in words
            assert "scikit-learn==0.9.1" in words
        assert not planted.exists()

    def test_a_damaged_pickle_is_refused(self, fitted: Path, tmp_path: Path) -> None:
        content = fitted.read_bytes()
        (tmp_path / "half.joblib").write_bytes(content[: len(content) // 2])
        assert "is not a pickle, or is truncated" in refused(
            tmp_path / "half.joblib", tmp_path / "models"
        )
        (tmp_path / "zipped.joblib").write_bytes(gzip.compress(content)[:-20])
        assert "damaged, or truncated" in refused(tmp_path / "zipped.joblib", tmp_path / "models")

    def test_a_class_without_a_converter_is_named_without_the_converter_s_advice(
        self, fitted: Path, tmp_path: Path
    ) -> None:
        x = np.load(tmp_path / "s.npy")
        joblib.dump(Unknown().fit(x, x[:, 0]), tmp_path / "m.joblib")
        words = refused(
            tmp_path / "m.joblib", tmp_path / "o", samples=tmp_path / "s.npy", to="onnx"
        )
        assert words == (
            "Unknown cannot be converted to ONNX: skl2onnx has no converter for Unknown; or "
            "package it as joblib (without --to onnx)"
        )

    def test_a_conversion_that_answers_differently_is_refused_with_both_values(
        self, fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from engine.packaging import sklearn_onnx

        whole = sklearn_onnx._to_onnx

        def other(estimator: Any, *rest: Any) -> Any:
            changed = deepcopy(estimator)
            changed.intercept_ = changed.intercept_ + 9
            return whole(changed, *rest)

        monkeypatch.setattr(sklearn_onnx, "_to_onnx", other)
        words = refused(fitted, tmp_path / "o", samples=tmp_path / "s.npy", to="onnx")
        assert words.startswith("the conversion to ONNX answers differently: output 'label' at [")
        assert "and scikit-learn gives 0 (" in words
        assert words.endswith("; package it as joblib (without --to onnx)")

    def test_a_model_of_another_library_is_refused_with_its_own_exporter(
        self, fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert "onnxmltools.convert_lightgbm" in EXPORTERS["lightgbm"]
        monkeypatch.setitem(EXPORTERS, "tests", "tool.convert(model)")
        x = np.load(tmp_path / "s.npy")
        joblib.dump(Unknown().fit(x, x[:, 0]), tmp_path / "m.joblib")
        words = refused(
            tmp_path / "m.joblib", tmp_path / "o", samples=tmp_path / "s.npy", to="onnx"
        )
        assert words == (
            "Unknown cannot be converted to ONNX: skl2onnx has no converter for it; export it in "
            "the notebook with tool.convert(model), and package that file with samples that hold "
            "its answers; or package it as joblib (without --to onnx)"
        )

    def test_the_target_among_the_columns_is_noticed(self, fitted: Path, tmp_path: Path) -> None:
        (tmp_path / "s.csv").write_text("a,b,c,target\n1,2,3,0\n4,5,6,1\n")
        words = refused(fitted, tmp_path / "models", samples=tmp_path / "s.csv")
        assert "4 columns and the model was fitted on 3" in words


def test_the_command_prints_one_line_for_a_refusal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "nothing.onnx"), "--models-dir", str(tmp_path / "m")]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"error: {tmp_path / 'nothing.onnx'}: there is no such file or folder"
    ]
    (tmp_path / "notes.txt").write_text("x")
    assert main([str(tmp_path / "notes.txt"), "--models-dir", str(tmp_path / "m")]) == 1
    assert "this kind of file cannot be packaged" in capsys.readouterr().err


def test_the_command_says_what_was_packaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = double(tmp_path / "m.onnx")
    arguments = [str(source), "--name", "twice", "--models-dir", str(tmp_path / "models")]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "takes   x FP32[-1, 3]" in printed
    assert "wrote" in printed
    assert (tmp_path / "models" / "twice" / "model.yaml").exists()

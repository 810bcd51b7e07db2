"""A package that is not exactly what was packaged is refused, with one line that says why."""

from __future__ import annotations

import io
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from engine.packaging import write as packaging
from engine.packaging.write import file_entry
from engine.serving import check
from engine.serving.errors import PackageError, ProviderError, SettingsError
from engine.serving.inference.model import load_model, load_models
from engine.serving.package.digest import models_digest
from engine.serving.package.drift import check_drift
from engine.serving.package.golden import read_golden, write_golden
from engine.serving.package.reader import read_package
from engine.serving.settings import Settings

from tests.engine import toy_models

CPU = Settings(execution_providers=("cpu",))
Change = Callable[[Path], object]


@pytest.fixture
def folder(toy_dir: Path, tmp_path: Path) -> Path:
    """A copy of the package `scale`, free to be broken."""
    return Path(shutil.copytree(toy_dir / "scale", tmp_path / "scale"))


def edit(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest."""
    path = directory / "model.yaml"
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content))


def flip(path: Path, position: int = -1) -> None:
    """Change one bit of one byte."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def accept(directory: Path, name: str) -> None:
    """Write the file's present size and checksum into the manifest, as a careless person would."""
    edit(directory, lambda m: m["files"].update({name: file_entry(directory / name)}))


def wrong_golden(directory: Path) -> None:
    golden = directory / "golden.npz"
    x = np.ones((2, 3), np.float32)
    write_golden(golden, {"x": x}, {"y": x * 2 + np.array([0, 0, 1], np.float32)})
    accept(directory, "golden.npz")


def garbage(name: str) -> Change:
    """Bytes that nothing can read, with a matching checksum."""

    def change(directory: Path) -> None:
        (directory / name).write_bytes(b"x" * 9)
        accept(directory, name)

    return change


BROKEN: list[tuple[str, Change, str]] = [
    ("no model file", lambda d: (d / "model.onnx").unlink(), "model.onnx: cannot be read"),
    ("no golden record", lambda d: (d / "golden.npz").unlink(), "golden.npz: cannot be read"),
    ("truncated", lambda d: (d / "model.onnx").write_bytes(b"short"), "has 5 bytes"),
    ("one bit altered", lambda d: flip(d / "model.onnx"), "the file was altered"),
    ("golden altered", lambda d: flip(d / "golden.npz"), "the file was altered"),
    ("not YAML", lambda d: (d / "model.yaml").write_text("a: [1"), "is not YAML"),
    ("not a mapping", lambda d: (d / "model.yaml").write_text("- 1"), "must be a mapping"),
    ("unknown key", lambda d: edit(d, lambda m: m.update(colour="red")), "colour"),
    ("key missing", lambda d: edit(d, lambda m: m.pop("outputs")), "outputs: Field required"),
    ("wrong folder", lambda d: edit(d, lambda m: m.update(name="other")), "name is 'other'"),
    ("path outside", lambda d: edit(d, lambda m: m.update(model_file="../x")), "letters, digits"),
    ("zero size", lambda d: edit(d, lambda m: m["inputs"][0].update(shape=[0])), "dimensions are"),
    ("no datatype", lambda d: edit(d, lambda m: m["inputs"][0].update(datatype="F4")), "datatype"),
    ("other dtype", lambda d: edit(d, lambda m: m["outputs"][0].update(datatype="INT8")), "says"),
    ("other shape", lambda d: edit(d, lambda m: m["outputs"][0].update(shape=[-1, 4])), "says"),
    ("other name", lambda d: edit(d, lambda m: m["outputs"][0].update(name="z")), "differ in"),
    ("not ONNX", garbage("model.onnx"), "cannot load it: Protobuf parsing failed; package"),
    ("golden not npz", garbage("golden.npz"), "golden.npz: cannot be read"),
    ("wrong answers", wrong_golden, "output 'y' at [0, 2] is 2.0, in training"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"), [case[1:] for case in BROKEN], ids=[c[0] for c in BROKEN]
)
def test_a_broken_package_is_refused(folder: Path, change: Change, words: str) -> None:
    change(folder)
    with pytest.raises(PackageError) as refused:
        load_model(read_package(folder), CPU)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_check_command_names_every_broken_package(
    toy_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    models = Path(shutil.copytree(toy_dir, tmp_path / "models"))
    flip(models / "add" / "model.onnx")
    (models / "echo" / "golden.npz").unlink()
    monkeypatch.setenv("MODELS_DIR", str(models))
    assert check.main([]) == 1
    printed = capsys.readouterr()
    assert [line.split(":")[1].strip() for line in printed.err.splitlines()] == [
        "model 'add'",
        "model 'echo'",
    ]
    assert printed.out.count("answered as in training") == 3


def test_the_check_command_refuses_another_digest(
    toy_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELS_DIR", str(toy_dir))
    assert check.main(["--expect-digest", models_digest(toy_dir)]) == 0
    assert check.main(["--expect-digest", "0" * 64]) == 1
    assert "was expected" in capsys.readouterr().err


def test_an_empty_models_folder_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="make train"):
        load_models(Settings(models_dir=str(tmp_path)))


def test_an_unknown_default_model_is_refused(toy_dir: Path) -> None:
    with pytest.raises(SettingsError, match="DEFAULT_MODEL='nope'"):
        load_models(Settings(models_dir=str(toy_dir), default_model="nope"))


def test_the_digest_changes_with_any_file(toy_dir: Path, tmp_path: Path) -> None:
    models = Path(shutil.copytree(toy_dir, tmp_path / "models"))
    before = models_digest(models)
    accept(models / "add", "model.onnx")
    edit(models / "add", lambda m: m.update(version="2"))
    assert models_digest(models) != before


def test_a_failed_packaging_leaves_the_old_package_in_place(tmp_path: Path) -> None:
    before = toy_models.write_scale(tmp_path)
    content = {path.name: path.read_bytes() for path in before.iterdir()}
    source = packaging.Source(
        name="scale", version="2", description="", format="onnx",
        model=(before / "model.onnx").read_bytes(),
        inputs=[toy_models.tensor("x", "FP32", -1, 3)],
        outputs=[toy_models.tensor("y", "FP32", -1, 3)],
        golden_inputs={"x": np.ones((1, 3), np.float32)},
        golden_outputs={"y": np.ones((1, 3), np.float32)},
        training={}, libraries=(),
    )  # fmt: skip
    with pytest.raises(PackageError, match="golden check failed"):
        packaging.write_package(tmp_path, source)
    assert {path.name: path.read_bytes() for path in before.iterdir()} == content
    assert [path.name for path in tmp_path.iterdir()] == ["scale"]


def test_the_golden_record_is_read_back_as_it_was_written(toy_dir: Path) -> None:
    package = read_package(toy_dir / "echo")
    golden = read_golden(toy_dir / "echo", package.manifest)
    np.testing.assert_array_equal(golden.inputs["bytes"], toy_models.sample("BYTES"))


@pytest.mark.slow
class TestJoblib:
    """Pickles run code and hold library internals, so they are refused early."""

    @pytest.fixture
    def joblib_folder(self, tmp_path: Path) -> Path:
        """A scikit-learn model that doubles."""
        from sklearn.linear_model import LinearRegression

        x = np.arange(12, dtype=np.float32).reshape(4, 3)
        estimator = LinearRegression(fit_intercept=False).fit(x, x * 2)
        source = packaging.Source(
            name="scale", version="1", description="", format="joblib",
            model=pickle.dumps(estimator),
            inputs=[toy_models.tensor("x", "FP32", -1, 3)],
            outputs=[toy_models.tensor("y", "FP32", -1, 3)
                     | {"method": "predict", "tolerance": {"absolute": 1e-4, "relative": 1e-4}}],
            golden_inputs={"x": x}, golden_outputs={"y": x * 2},
            training={}, libraries=("scikit-learn", "numpy"),
        )  # fmt: skip
        return packaging.write_package(tmp_path, source)

    def test_it_is_served(self, joblib_folder: Path) -> None:
        model = load_model(read_package(joblib_folder), CPU)
        (values,) = model.run({"x": np.ones((1, 3), np.float32)}).values()
        np.testing.assert_allclose(values, [[2, 2, 2]], rtol=1e-4)

    def test_cuda_only_is_refused(self, joblib_folder: Path) -> None:
        with pytest.raises(ProviderError, match="scikit-learn runs on the CPU only"):
            load_model(read_package(joblib_folder), Settings(execution_providers=("cuda",)))

    def test_another_version_is_refused_before_anything_is_unpickled(
        self, joblib_folder: Path
    ) -> None:
        (joblib_folder / "model.joblib").write_bytes(b"\x80\x04cos\nsystem\n.")
        accept(joblib_folder, "model.joblib")
        edit(joblib_folder, lambda m: m["training"]["packages"].update({"scikit-learn": "0.1.0"}))
        with pytest.raises(PackageError, match=r"scikit-learn 0\.1\.0.*make lock"):
            load_model(read_package(joblib_folder), CPU)

    def test_altered_bytes_are_never_unpickled(self, joblib_folder: Path, tmp_path: Path) -> None:
        planted = tmp_path / "planted"
        size = (joblib_folder / "model.joblib").stat().st_size
        code = f"cos\nsystem\n(S'touch {planted}'\ntR.".encode()
        (joblib_folder / "model.joblib").write_bytes(code.ljust(size, b"\0"))
        with pytest.raises(PackageError, match="altered"):
            load_model(read_package(joblib_folder), CPU)
        assert not planted.exists()

    @pytest.mark.parametrize(
        ("installed", "words"),
        [
            ({"scikit-learn": "9.9.9"}, "this environment has 9.9.9"),
            ({}, "this environment does not have it"),
            ({"numpy": "1.0.0"}, "numpy"),
        ],
    )
    def test_drift_names_both_versions_and_the_way_out(
        self, joblib_folder: Path, installed: dict[str, str], words: str
    ) -> None:
        manifest = read_package(joblib_folder).manifest
        trained = manifest.training.packages
        have = {**trained, **installed} if installed else {"numpy": trained["numpy"]}
        with pytest.raises(PackageError) as refused:
            check_drift(manifest, have)
        assert words in str(refused.value)
        assert "requirements/serve-cpu.in" in str(refused.value)

    def test_a_patch_release_and_another_python_are_risky_not_refused(
        self, joblib_folder: Path
    ) -> None:
        manifest = read_package(joblib_folder).manifest
        trained = manifest.training.packages
        major, minor, *_ = trained["scikit-learn"].split(".")
        training = replace_python(manifest.training, "3.2.1")
        risky = check_drift(
            manifest.model_copy(update={"training": training}),
            {**trained, "scikit-learn": f"{major}.{minor}.99"},
        )
        assert len(risky) == 2
        assert "Python 3.2.1 in training" in risky[1]


def replace_python(training: Any, version: str) -> Any:
    return training.model_copy(update={"python": version, "holds_code": True})


def zipped(content: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return made.getvalue()


def huge_header() -> bytes:
    """An array of 16 TB, it says."""
    made = io.BytesIO()
    shape = {"descr": "<f4", "fortran_order": False, "shape": (1 << 42,)}
    np.lib.format.write_array_header_1_0(made, shape)
    return made.getvalue()


def broken_deflate() -> bytes:
    whole = zipped({"input/x.npy": bytes(5000)}, zipfile.ZIP_DEFLATED)
    return whole[:45] + b"\xff" * 4 + whole[49:]


MEGABYTE = 1024 * 1024
GOLDENS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "an array": lambda: b"\x93NUMPY\x01\x00",
    "an empty archive": lambda: zipped({}),
    "no array inside": lambda: zipped({"input/x.npy": b"nothing"}),
    "an empty array": lambda: zipped({"input/x.npy": b""}),
    "a huge header": lambda: zipped({"input/x.npy": huge_header()}),
    "broken inside": broken_deflate,
    "a bomb": lambda: zipped({"input/x.npy": bytes(MEGABYTE + 1)}, zipfile.ZIP_DEFLATED),
    "a pickle": lambda: zipped({"input/x.npy": b"\x80\x04N."}),
}


@pytest.mark.parametrize("name", GOLDENS)
def test_whatever_is_wrong_with_a_golden_record_is_one_error(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.serving.package.golden.MOST_BYTES", MEGABYTE)
    (folder / "golden.npz").write_bytes(GOLDENS[name]())
    accept(folder, "golden.npz")
    with pytest.raises(PackageError, match=r"golden\.npz") as refused:
        read_package(folder)
    assert "\n" not in str(refused.value)
    assert ("when unpacked" in str(refused.value)) is (name == "a bomb")


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 50_000,
        b"name: " + b"1" * 5000,
        b"a: &a [*a]",
        b"\xff\xfe",
        b"a: " + b"x" * 20_000_000,
    ],
    ids=["nested", "digits", "itself", "no text", "long"],
)
def test_whatever_is_wrong_with_a_manifest_is_one_error(folder: Path, text: bytes) -> None:
    (folder / "model.yaml").write_bytes(text)
    with pytest.raises(PackageError, match=r"model\.yaml"):
        read_package(folder)


def with_external_weights(folder: Path, location: str) -> None:
    """The constant of the model in a file of its own."""
    model = onnx.load(folder / "model.onnx")
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        (folder / location).write_bytes(values.tobytes())
        tensor.ClearField("float_data")
        tensor.raw_data = b""
        onnx.external_data_helper.set_external_data(tensor, location)
        tensor.ClearField("raw_data")
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    accept(folder, "model.onnx")


@pytest.mark.parametrize("location", ["weights.bin", "./weights.bin"])
def test_weights_that_the_manifest_does_not_list_are_refused(folder: Path, location: str) -> None:
    with_external_weights(folder, location)
    with pytest.raises(PackageError, match=r"weights\.bin: the model names this file"):
        load_model(read_package(folder), CPU)
    accept(folder, "weights.bin")
    load_model(read_package(folder), CPU)
    flip(folder / "weights.bin")
    with pytest.raises(PackageError, match="was altered"):
        read_package(folder)


def test_what_the_model_does_not_name_may_lie_beside_it(folder: Path) -> None:
    (folder / "README.md").write_text("a note")
    load_model(read_package(folder), CPU)


def test_weights_outside_of_the_package_are_not_loaded(folder: Path) -> None:
    """ONNX Runtime itself refuses them; this is what the check above rests on."""
    with_external_weights(folder, "weights.bin")
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    for outside in ("../weights.bin", str(folder.parent / "weights.bin")):
        for tensor in model.graph.initializer:
            tensor.raw_data = b""
            onnx.external_data_helper.set_external_data(tensor, outside)
            tensor.ClearField("raw_data")
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        accept(folder, "model.onnx")
        if not (folder.parent / "weights.bin").exists():
            (folder / "weights.bin").rename(folder.parent / "weights.bin")
        with pytest.raises(PackageError):
            load_model(read_package(folder), CPU)

"""Packaging beside and in place of other packages: what goes, what is kept, what is said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from engine.packaging import shipped
from engine.packaging.options import Options, package_name
from engine.packaging.package import main, package
from engine.serving.errors import PackageError
from engine.serving.package.digest import file_sha256
from engine.serving.package.golden import write_golden
from engine.serving.package.manifest import Manifest, read_manifest
from sklearn.linear_model import LogisticRegression

from tests.engine.project import ROOT
from tests.engine.test_packaging import F32, double, save

pytestmark = pytest.mark.slow


def git(folder: Path, *arguments: str) -> str:
    """Run git, without anybody's settings."""
    who = ("-c", "user.name=t", "-c", "user.email=t@example.invalid")
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository that holds the sample, as one that was just generated."""
    folder = tmp_path / "project"
    shutil.copytree(ROOT / "models" / "iris", folder / "models" / "iris")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "Generate the project")
    return folder


def packaged(project: Path, name: str) -> str:
    """Package a model beside what is there; the remarks."""
    source = double(project.parent / "m.onnx")
    _, remarks = package(str(source), Options(name=name, licence="MIT"), project / "models")
    return "\n".join(remarks)


def test_the_shipped_sample_is_known() -> None:
    assert file_sha256(ROOT / "models" / "iris" / "golden.npz") == shipped.GOLDEN_SHA256


def test_the_sample_steps_aside_for_the_first_model_and_git_brings_it_back(project: Path) -> None:
    remarks = packaged(project, "mine")
    assert [each.name for each in (project / "models").iterdir()] == ["mine"]
    (said,) = [each for each in remarks.splitlines() if "sample" in each and "iris" in each]
    command = said.split("`")[1].split()
    subprocess.run(command, cwd=project, check=True)
    # Who has brought it back wants both.
    assert "is removed" not in packaged(project, "mine") + packaged(project, "another")
    assert {each.name for each in (project / "models").iterdir()} == {"iris", "mine", "another"}


def test_the_sample_steps_aside_for_what_training_ends_with_too(project: Path) -> None:
    text = (ROOT / "training" / "train.py").read_text(encoding="utf-8")
    (project / "mine.py").write_text(text.replace('NAME = "iris"', 'NAME = "mine"'))
    done = subprocess.run(
        [sys.executable, "mine.py", "--models-dir", "models"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert [each.name for each in (project / "models").iterdir()] == ["mine"]
    assert "the sample models/iris is removed" in done.stdout


@pytest.mark.parametrize("change", ["no git", "not committed", "edited", "ignored file beside it"])
def test_a_sample_that_git_does_not_have_stays(project: Path, change: str) -> None:
    iris = project / "models" / "iris"
    if change == "no git":
        shutil.rmtree(project / ".git")
    elif change == "not committed":
        git(project, "rm", "-rq", "--cached", "models")
        git(project, "commit", "-qm", "without")
    elif change == "edited":
        with (iris / "model.yaml").open("a") as file:
            file.write("# mine\n")
    else:
        (project / ".git" / "info" / "exclude").write_text("notes.txt\n")
        (iris / "notes.txt").write_text("mine")
    assert f"`rm -r {iris}` removes it" in packaged(project, "mine")
    assert (iris / "model.yaml").exists()


def test_a_model_of_the_same_name_as_the_sample_is_not_taken_for_it(project: Path) -> None:
    packaged(project, "iris")
    assert "iris" not in packaged(project, "mine")
    assert (project / "models" / "iris" / "model.yaml").exists()


def test_a_package_that_is_replaced_leaves_what_is_not_said_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, models = double(tmp_path / "m.onnx"), tmp_path / "models"
    (tmp_path / "s.csv").write_text("a,b,c\n1,2,3\n4,5,6\n")
    call = [str(source), "--name", "mine", "--models-dir", str(models)]
    said = ["--description", "Doubles.", "--licence", "MIT", "--data", "none"]
    assert main([*call, *said, "--samples", str(tmp_path / "s.csv"), "--version", "2.0.0"]) == 0
    assert "replaced" not in capsys.readouterr().out
    assert main([*call, "--licence", "BSD"]) == 0
    note = f"note    replaced {models / 'mine'}, version 2.0.0; kept its description, "
    assert f"{note}names of the columns, data" in capsys.readouterr().out
    manifest = read_manifest(models / "mine")
    assert manifest.description == "Doubles."
    assert manifest.inputs[0].features == ("a", "b", "c")
    assert (manifest.training.licence, manifest.training.data) == ("BSD", "none")


def test_columns_of_another_number_are_not_kept(tmp_path: Path) -> None:
    models = tmp_path / "models"
    (tmp_path / "s.csv").write_text("a,b,c\n1,2,3\n4,5,6\n")
    options = Options(name="mine", samples=tmp_path / "s.csv")
    package(str(double(tmp_path / "m.onnx")), options, models)
    tensor = (F32, ["rows", 2])
    nodes = [_add()]
    other = save(tmp_path / "n.onnx", nodes, {"x": tensor}, {"y": tensor})
    folder, _ = package(str(other), Options(name="mine"), models)
    assert read_manifest(folder).inputs[0].features == ()


def _add() -> object:
    from onnx import helper

    return helper.make_node("Add", ["x", "x"], ["y"])


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("titanic-1.6.1", "titanic"),
        ("churn_v2", "churn"),
        ("model.v1.2", "model"),
        ("resnet50", "resnet50"),
        ("yolo-8", "yolo-8"),
        ("1.6.1", "1.6.1"),
        ("my model (1)", "my-model-1"),
    ],
)
def test_a_name_is_that_of_the_file_without_its_version(stem: str, name: str) -> None:
    assert package_name(Options(), stem) == name


def test_a_full_disk_is_one_sentence_and_what_was_there_stays(tmp_path: Path) -> None:
    """The kernel's limit on a file's size stands for the disk: writing fails in the middle."""
    source, models = double(tmp_path / "m.onnx"), tmp_path / "models"
    package(str(source), Options(name="mine"), models)
    before = {path: path.read_bytes() for path in models.rglob("*") if path.is_file()}
    code = "import resource, sys; from engine.packaging.package import main; "
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300)); sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        # Without -B, cut byte code of what is imported would stay in the environment.
        [sys.executable, "-B", "-c", code, str(source), "--name=mine", f"--models-dir={models}"],
        cwd=ROOT, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == f"error: {models}: cannot be written: File too large\n"
    assert {path: path.read_bytes() for path in models.rglob("*") if path.is_file()} == before


def classifier(folder: Path, classes: list[str] | list[int]) -> Path:
    """A classifier of two columns in a file, with samples beside it."""
    x = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32).astype(np.float64)
    y = np.array(classes)[(x[:, 0] > 0).astype(int)]
    joblib.dump(LogisticRegression().fit(x, y), folder / "m.joblib")
    np.save(folder / "s.npy", x[:8])
    return folder / "m.joblib"


def outputs(folder: Path, source: Path, **options: object) -> dict[str, tuple[str, ...]]:
    """Package, and read the labels of each output."""
    chosen = Options(name="made", samples=folder / "s.npy", **options)  # type: ignore[arg-type]
    made: Manifest = read_manifest(package(str(source), chosen, folder / "models")[0])
    return {each.name: each.labels for each in made.outputs}


class TestLabels:
    """Names of classes, wherever a model has them."""

    @pytest.mark.parametrize("to", ["as-is", "onnx"])
    def test_text_classes_name_the_columns(self, tmp_path: Path, to: str) -> None:
        source = classifier(tmp_path, ["survived", "died"])
        # scikit-learn sorts the classes.
        assert outputs(tmp_path, source, to=to) == {
            "label": ("died", "survived"),
            "probabilities": ("died", "survived"),
        }

    def test_numbers_that_are_not_counted_from_0_name_the_columns(self, tmp_path: Path) -> None:
        assert outputs(tmp_path, classifier(tmp_path, [3, 7]))["probabilities"] == ("3", "7")
        assert outputs(tmp_path, classifier(tmp_path, [0, 1]))["probabilities"] == ()

    def test_given_labels_go_to_the_output_that_counts_or_to_the_columns(
        self, tmp_path: Path
    ) -> None:
        network = double(tmp_path / "m.onnx")
        np.save(tmp_path / "s.npy", np.ones((4, 3), np.float32))
        names = ("cat", "dog", "bird")
        assert outputs(tmp_path, network, labels=names) == {"y": names}
        counting = classifier(tmp_path, [0, 1])
        assert outputs(tmp_path, counting, labels=("no", "yes")) == {
            "label": ("no", "yes"),
            "probabilities": ("no", "yes"),
        }

    def test_labels_that_fit_nothing_are_refused(self, tmp_path: Path) -> None:
        np.save(tmp_path / "s.npy", np.ones((4, 3), np.float32))
        with pytest.raises(PackageError, match=r"names 2 classes, and no output .*: y FP32\[-1, 3"):
            outputs(tmp_path, double(tmp_path / "m.onnx"), labels=("a", "b"))
        with pytest.raises(PackageError, match="--labels names 2 classes, which must be counted"):
            outputs(tmp_path, classifier(tmp_path, ["x", "y"]), labels=("a", "b"))


def test_answers_of_some_outputs_are_enough_where_code_adds_one(tmp_path: Path) -> None:
    source = double(tmp_path / "m.onnx")
    code = "def postprocess(outputs):\n    return {**outputs, 'sum': outputs['y'].sum(axis=1)}\n"
    (tmp_path / "code.py").write_text(code)
    x = np.ones((4, 3), np.float32)
    write_golden(tmp_path / "s.npz", {"x": x}, {"y": x * 2})
    options = Options(name="made", samples=tmp_path / "s.npz", code=tmp_path / "code.py")
    folder, _ = package(str(source), options, tmp_path / "models")
    manifest = read_manifest(folder)
    assert [each.name for each in manifest.outputs] == ["y", "sum"]
    assert manifest.training.golden.startswith("given with the samples; sum: ONNX Runtime itself")

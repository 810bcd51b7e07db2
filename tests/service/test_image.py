"""The CPU image: what is in it, what it says about itself, and what never becomes an image."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from .containers import (
    HARDENED,
    build_image,
    built_image,
    distributions,
    docker,
    docker_client,
    image_config,
    in_image,
    running,
    unused_image_name,
)

pytestmark = pytest.mark.slow

LABELLED_ROWS = Path(__file__).resolve().parents[1] / "workflows" / "worse_model.py"
MEGABYTE = 1_000_000
NO_DIGEST = "0" * 64
HOOK = """

@service.answer
def twice(model, inputs, outputs):
    return {"twice": 2 * outputs["label"]}
"""


def test_it_weighs_less_than_200_megabytes_compressed(
    cpu_image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    size = _compressed_bytes(cpu_image)
    with capsys.disabled():
        print(f"\n  CPU image: {size / MEGABYTE:.0f} MB compressed")
    assert 20 * MEGABYTE < size < 200 * MEGABYTE


def test_it_holds_exactly_one_onnxruntime_and_no_installer(cpu_image: str) -> None:
    names = distributions(cpu_image)
    assert [name for name in names if name.startswith("onnxruntime")] == ["onnxruntime"]
    assert not {"pip", "setuptools", "uv"} & set(names)


def test_it_holds_the_service_and_nothing_else_of_the_repository(cpu_image: str) -> None:
    files = in_image(cpu_image, "ls", "-A", "/service").split()
    assert files == ["answers", "engine", "models", "pyproject.toml", "service.py"]
    files = in_image(cpu_image, "ls", "-A", "/service/engine").split()
    assert files == ["__init__.py", "__pycache__", "client", "errors.py", "load", "serving"]
    files = in_image(cpu_image, "ls", "-A", "/service/engine/load").split()
    used = ["__init__.py", "__pycache__", "inside.py", "measured.py", "samples.py"]
    assert files == used


def test_it_runs_as_a_user_that_is_not_root(cpu_image: str) -> None:
    assert image_config(cpu_image)["User"] == "10001:10001"


def test_its_labels_name_the_release(cpu_image: str, rendered_service: Path) -> None:
    labels = image_config(cpu_image)["Labels"]
    printed = _output(rendered_service, sys.executable, "-m", "engine.serving.release")
    release = json.loads(printed)
    for name in ("title", "description", "version"):
        assert labels[f"org.opencontainers.image.{name}"] == release[name]
    assert labels["org.openinference.model.digest"] == release["model_digest"]
    commit = _output(rendered_service, "git", "rev-parse", "HEAD")
    changed = _output(rendered_service, "git", "status", "--porcelain", "--", ".")
    revision = f"{commit}-dirty" if changed else commit
    assert labels["org.opencontainers.image.revision"] == revision


def test_a_plain_docker_build_works_without_arguments(
    docker_engine: None, rendered_service: Path
) -> None:
    with unused_image_name() as tag:
        done = _plain_build(rendered_service, "--tag", tag)
        assert done.returncode == 0, done.stderr[-3000:]


def test_a_model_with_one_changed_byte_does_not_build(
    docker_engine: None, rendered_service: Path, tmp_path: Path
) -> None:
    copy = _copy(rendered_service, tmp_path)
    model = copy / "models" / "iris" / "model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    _assert_does_not_build(copy, "model.onnx: its sha256 is")


def test_a_model_that_answers_differently_from_training_does_not_build(
    docker_engine: None, rendered_service: Path, tmp_path: Path
) -> None:
    """Nothing is damaged and every digest is right: only the golden check can tell."""
    copy = _copy(rendered_service, tmp_path)
    _make_golden_disagree(copy / "models" / "iris")
    _assert_does_not_build(copy, "golden check failed")


def test_other_models_than_the_builder_meant_do_not_build(
    docker_engine: None, rendered_service: Path
) -> None:
    with unused_image_name() as tag:
        expected = f"MODEL_DIGEST={NO_DIGEST}"
        done = _plain_build(rendered_service, "--tag", tag, "--build-arg", expected)
        assert done.returncode != 0
        assert f"{NO_DIGEST} was expected" in done.stderr
        assert docker("image", "ls", "--quiet", tag) == ""


def test_what_service_py_answers_is_recorded_in_it_and_used_where_it_starts(
    docker_engine: None, rendered_service: Path, tmp_path: Path
) -> None:
    copy = _copy(rendered_service, tmp_path)
    with (copy / "service.py").open("a", encoding="utf-8") as file:
        file.write(HOOK)
    with built_image(copy, "cpu") as tag:
        (recorded,) = in_image(tag, "ls", "/service/answers").split()
        assert recorded.startswith("iris-")
        with running(tag, *HARDENED) as container:
            container.seconds_until_ready(90)
            answer = container.post("/predict", {"data": [[5.9, 3.0, 5.1, 1.8]]})[1]
            assert answer["outputs"]["twice"] == [4]
            assert "answered again" not in container.logs()


def test_a_service_without_the_file_builds(
    docker_engine: None, rendered_service: Path, tmp_path: Path
) -> None:
    copy = _copy(rendered_service, tmp_path)
    (copy / "service.py").unlink()
    with built_image(copy, "cpu") as tag:
        assert "service.py" not in in_image(tag, "ls", "/service").split()


def _assert_does_not_build(service: Path, cause: str) -> None:
    """The build fails, shows the cause, and leaves no image."""
    with unused_image_name() as tag:
        done = build_image(service, tag, "cpu")
        assert done.returncode == 1
        assert cause in done.stdout
        assert "image: docker build failed" in done.stdout.splitlines()[-1]
        assert docker("image", "ls", "--quiet", tag) == ""


def _plain_build(service: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [docker_client(), "build", *options, "."],
        cwd=service,
        env={**os.environ, "DOCKER_BUILDKIT": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def _compressed_bytes(image: str) -> int:
    size = 0
    with (
        subprocess.Popen([docker_client(), "save", image], stdout=subprocess.PIPE) as save,
        subprocess.Popen(["gzip"], stdin=save.stdout, stdout=subprocess.PIPE) as gzip,
    ):
        assert gzip.stdout is not None
        while chunk := gzip.stdout.read(1 << 20):
            size += len(chunk)
    assert save.returncode == gzip.returncode == 0
    return size


def _copy(service: Path, folder: Path) -> Path:
    ignored = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache")
    return Path(shutil.copytree(service, folder / "service", ignore=ignored))


def _make_golden_disagree(package: Path) -> None:
    """Shift the expected outputs by one value, and record the new file as genuine."""
    golden, manifest_file = package / "golden.npz", package / "model.yaml"
    with np.load(golden, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    name = next(each for each in arrays if each.startswith("output/"))
    arrays[name] = np.roll(arrays[name], 1)
    np.savez(golden, allow_pickle=False, **arrays)
    content = golden.read_bytes()
    manifest = yaml.safe_load(manifest_file.read_text(encoding="utf-8"))
    manifest["files"][golden.name] = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
    }
    manifest_file.write_text(yaml.safe_dump(manifest), encoding="utf-8")


def _output(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_its_models_are_compared_with_those_of_a_checkout(
    cpu_image: str, rendered_service: Path, service_python: Path, tmp_path: Path
) -> None:
    """The image answers in its container, and is gone afterwards."""
    data = tmp_path / "labelled.csv"
    subprocess.run([service_python, LABELLED_ROWS, "rows", data], check=True)
    identity = docker("image", "inspect", "--format", "{{.Id}}", cpu_image)
    done = subprocess.run(
        [service_python, "-m", "engine.comparing", "--other", identity, "--", data],
        cwd=_copy(rendered_service, tmp_path), capture_output=True, text=True, check=False,
        env={**os.environ, "DOCKER": docker_client()}, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # 146 of 150, as scikit-learn's own estimator.
    assert "Not distinguishable: accuracy is 0.9733, against 0.9733" in done.stdout
    assert not docker("ps", "--all", "--quiet", "--filter", "name=compared-")

"""Models that ship inside packages of PyPI, packaged as they are and served end to end.

Their own libraries are not run. What is expected comes from ONNX Runtime called directly, beside
the service, and from what the models are for: text lies upright, silence is no speech, Python is
Python.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from tests.models import asking
from tests.models.conftest import Packaged, Served

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
FONT = {
    "H": ("1   1", "1   1", "1   1", "11111", "1   1", "1   1", "1   1"),
    "E": ("11111", "1    ", "1    ", "1111 ", "1    ", "1    ", "11111"),
    "L": ("1    ", "1    ", "1    ", "1    ", "1    ", "1    ", "11111"),
    "P": ("1111 ", "1   1", "1   1", "1111 ", "1    ", "1    ", "1    "),
    "F": ("11111", "1    ", "1    ", "1111 ", "1    ", "1    ", "1    "),
    "R": ("1111 ", "1   1", "1   1", "1111 ", "1 1  ", "1  1 ", "1   1"),
}
SAMPLE_RATE = 16000
WINDOW = 512


def written(word: str, scale: int = 5) -> asking.Array:
    """A picture of a word, black on white, as rows of RGB points."""
    letters = [np.array([[c == "1" for c in row] for row in FONT[each]]) for each in word]
    line = np.concatenate([np.pad(each, ((2, 2), (1, 1))) for each in letters], axis=1)
    ink = np.kron(line, np.ones((scale, scale), bool))
    return np.where(ink[..., None], 20, 235).astype(np.uint8).repeat(3, axis=2)


def ppm(image: asking.Array) -> asking.Array:
    """The bytes of a PPM file."""
    head = f"P6\n{image.shape[1]} {image.shape[0]}\n255\n".encode()
    return np.frombuffer(head + image.tobytes(), np.uint8)


def magika_features(content: bytes, size: int = 1024, padding: int = 256) -> asking.Array:
    """A file's first and last bytes, as that model was trained on."""
    text = content.strip()
    first = list(text[:size]) + [padding] * (size - len(text[:size]))
    last = [padding] * (size - len(text[-size:])) + list(text[-size:])
    return np.array([first + last], np.int32)


@pytest.fixture(scope="module")
def models(model_files: Path, packaged: Packaged, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with all of them."""
    folder = tmp_path_factory.mktemp("real-models")
    samples = tmp_path_factory.mktemp("samples")
    np.savez(samples / "image.npz", image=ppm(written("HELP")))
    random = np.random.default_rng(3)
    np.savez(
        samples / "speech.npz",
        input=random.normal(0, 0.1, (4, WINDOW)).astype(np.float32),
        state=np.zeros((2, 4, 128), np.float32),
        sr=np.array(SAMPLE_RATE, np.int64),
    )
    np.savez(samples / "files.npz", bytes=magika_features(Path(__file__).read_bytes()))
    ocr = model_files / "rapidocr_onnxruntime" / "models"
    wanted: list[tuple[Path, list[str | Path]]] = [
        (
            ocr / "ch_ppocr_mobile_v2.0_cls_infer.onnx",
            ["--name", "direction", "--samples", samples / "image.npz",
             "--code", HERE / "direction_code.py", "--licence", "Apache-2.0"],
        ),
        (ocr / "ch_PP-OCRv4_det_infer.onnx", ["--name", "text-boxes", "--licence", "Apache-2.0"]),
        (
            model_files / "silero_vad" / "data" / "silero_vad.onnx",
            ["--name", "speech", "--samples", samples / "speech.npz", "--licence", "MIT"],
        ),
        (
            model_files / "magika" / "models" / "standard_v3_3" / "model.onnx",
            ["--name", "files", "--samples", samples / "files.npz", "--licence", "Apache-2.0"],
        ),
    ]  # fmt: skip
    for source, arguments in wanted:
        done = packaged(source, "--models-dir", folder, *arguments)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def url(models: Path, served: Served) -> Any:
    """The address of the service with all of them."""
    with served(models) as address:
        yield address


def directly(
    python: Path, model: Path, inputs: dict[str, asking.Array], folder: Path
) -> list[asking.Array]:
    """What ONNX Runtime answers without anything of ours."""
    program = (
        "import sys, numpy as np, onnxruntime as ort\n"
        "given = dict(np.load(sys.argv[2]))\n"
        "session = ort.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])\n"
        "np.savez(sys.argv[3], *session.run(None, given))\n"
    )
    np.savez(folder / "given.npz", **inputs)  # type: ignore[arg-type]
    paths = [model, folder / "given.npz", folder / "answers.npz"]
    subprocess.run([python, "-c", program, *paths], check=True)
    with np.load(folder / "answers.npz") as archive:
        return [archive[name] for name in archive.files]


def test_an_image_file_goes_in_and_a_word_comes_out(url: str) -> None:
    client = asking.client(url)
    for word in ("HELP", "FREE", "PEEL"):
        image = written(word)
        for picture, expected in ((image, "upright"), (image[::-1, ::-1], "upside down")):
            got = asking.ask(client, "direction", {"image": ppm(picture)}, binary=True)
            assert got["direction"].tolist() == [expected], word


def test_a_hook_s_refusal_is_the_client_s_fault_and_its_failure_is_ours(url: str) -> None:
    def ask(content: list[int]) -> httpx.Response:
        return httpx.post(f"{url}/predict/direction", json={"data": content})

    refused = ask(list(b"GIF89a"))
    assert refused.status_code == 422
    assert "not a binary PPM" in refused.json()["error"]
    assert refused.json()["field"] == "image"
    failed = ask(ppm(np.zeros((2, 2, 3), np.uint8)).tolist())
    assert failed.status_code == 500
    assert failed.json()["id"] == failed.headers["x-request-id"]
    assert "black image" not in failed.text
    assert ask(ppm(written("HELP")).tolist()).status_code == 200


def test_an_image_model_of_free_size_answers_as_onnx_runtime(
    url: str, models: Path, service_python: Path, tmp_path: Path
) -> None:
    client = asking.client(url)
    for height, width in ((64, 64), (96, 160)):
        inputs = {"x": np.random.default_rng(1).random((1, 3, height, width), np.float32)}
        (expected,) = directly(
            service_python, models / "text-boxes" / "model.onnx", inputs, tmp_path
        )
        (got,) = asking.ask(client, "text-boxes", inputs, binary=True).values()
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_several_inputs_with_a_state_that_travels(
    url: str, models: Path, service_python: Path, tmp_path: Path
) -> None:
    client = asking.client(url)
    state = np.zeros((2, 1, 128), np.float32)
    for _ in range(3):
        silence: dict[str, asking.Array] = {
            "input": np.zeros((1, WINDOW), np.float32),
            "state": state,
            "sr": np.array(SAMPLE_RATE, np.int64),
        }
        expected = directly(service_python, models / "speech" / "model.onnx", silence, tmp_path)
        got = asking.ask(client, "speech", silence, binary=True)
        np.testing.assert_allclose(got["output"], expected[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(got["stateN"], expected[1], rtol=1e-4, atol=1e-5)
        assert got["output"].item() < 0.1
        state = got["stateN"]


def test_python_is_recognised_as_python(url: str, model_files: Path) -> None:
    folder = model_files / "magika" / "models" / "standard_v3_3"
    labels = json.loads((folder / "config.min.json").read_text())["target_labels_space"]
    features = magika_features(Path(__file__).read_bytes())
    (got,) = asking.ask(asking.client(url), "files", {"bytes": features}, binary=False).values()
    assert labels[int(got.argmax())] == "python"


def test_the_packages_say_what_they_are(models: Path) -> None:
    manifests = {
        path.parent.name: yaml.safe_load(path.read_text()) for path in models.glob("*/model.yaml")
    }
    assert manifests["direction"]["code_file"] == "model_code.py"
    assert "model_code.py" in manifests["direction"]["files"]
    assert [each["name"] for each in manifests["speech"]["inputs"]] == ["input", "state", "sr"]
    assert all(each["training"]["licence"] for each in manifests.values())
    # One image is many bytes, and the state of a recording has its rows second.
    alone = {name for name, each in manifests.items() if not each["independent_rows"]}
    assert alone == {"direction", "speech"}

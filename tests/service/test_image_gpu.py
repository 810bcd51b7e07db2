"""The GPU image, on a machine without a GPU: how it is laid out, and that it says what it lacks.

A tier of its own: cold, the build downloads two gigabytes.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from .containers import HARDENED, built_image, distributions, docker, in_image, running

pytestmark = pytest.mark.slow

CUDA_LAYER = "COPY /opt/cuda /opt/cuda"
LOAD_CUDA = """
import ctypes, pathlib, onnxruntime
onnxruntime.preload_dlls()
provider = pathlib.Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
try:
    ctypes.CDLL(str(provider))
except OSError as error:
    print(error)
"""


def test_cuda_has_a_layer_of_its_own(gpu_image: str) -> None:
    layers = {created_by: size for created_by, size in _history(gpu_image) if size > 10**9}
    assert [name.removesuffix(" # buildkit") for name in layers] == [CUDA_LAYER]
    found = in_image(gpu_image, "find", "/opt/venv", "/service", "-name", "libcu*.so*")
    assert found == ""


def test_another_model_or_library_leaves_the_cuda_layer_as_it_is(
    gpu_image: str, gpu_service: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(gpu_service, tmp_path / "service"))
    for file in (
        copy / "engine" / "serving" / "__init__.py",
        copy / "requirements" / "serve-gpu.txt",
    ):
        file.write_text(file.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    with built_image(copy, "gpu") as changed:
        before, after = _layers(gpu_image), _layers(changed)
        names = [name for name, size in reversed(_history(gpu_image)) if size > 0]
        cuda = next(place for place, name in enumerate(names) if CUDA_LAYER in name)
        assert after[: cuda + 1] == before[: cuda + 1]
        assert after != before


def test_it_holds_exactly_one_onnxruntime(gpu_image: str) -> None:
    found = [name for name in distributions(gpu_image) if name.startswith("onnxruntime")]
    assert found == ["onnxruntime-gpu"]


def test_it_lacks_nothing_but_the_driver(gpu_image: str) -> None:
    """The host's driver brings libcuda.so.1; every other library of the provider is found."""
    printed = in_image(gpu_image, "python", "-c", LOAD_CUDA)
    assert printed.startswith("libcuda.so.1: cannot open shared object file"), printed
    assert len(printed.splitlines()) == 1, printed


def test_it_does_not_start_without_a_gpu_and_says_why_in_one_line(gpu_image: str) -> None:
    with running(gpu_image, *HARDENED) as refused:
        assert refused.exit_code() == 1
        (cause,) = refused.causes("EXECUTION_PROVIDERS=cuda")
        assert "no NVIDIA driver" in cause


def test_it_serves_on_the_cpu_where_that_is_allowed_and_says_so(gpu_image: str) -> None:
    with running(gpu_image, *HARDENED, "--env", "EXECUTION_PROVIDERS=cuda,cpu") as allowed:
        allowed.seconds_until_ready()
        assert allowed.get("/v2/models/iris")[1]["parameters"]["execution_provider"] == "cpu"
        status, answer = allowed.post("/predict", {"data": [[5.9, 3.0, 5.1, 1.8]]})
        assert (status, answer["predictions"]) == (200, [2])


def _history(image: str) -> list[tuple[str, int]]:
    """What made each layer and how many bytes it has, the newest first."""
    form = "{{json .CreatedBy}} {{.Size}}"
    lines = docker("history", "--no-trunc", "--human=false", "--format", form, image).splitlines()
    matches = [re.fullmatch(r"(\".*\") (\d+)", line) for line in lines]
    return [(json.loads(each[1]), int(each[2])) for each in matches if each]


def _layers(image: str) -> list[str]:
    """The digests of the layers, the oldest first."""
    layers: list[str] = json.loads(docker("image", "inspect", image))[0]["RootFS"]["Layers"]
    return layers

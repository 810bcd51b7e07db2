"""Code around a model that tells which way up a line of text is: an image file in, a word out.

It becomes ``model_code.py`` of a package. Images are PPM, which needs no library to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from engine.serving.errors import InvalidInput

Array = npt.NDArray[Any]
HEIGHT, WIDTH = 48, 192
NAMES = ("upright", "upside down")


def preprocess(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The bytes of a file, ``image`` UINT8[-1], to the tensor that the model was trained on."""
    image = _decode(inputs["image"].tobytes())
    width = min(WIDTH, max(1, round(HEIGHT * image.shape[1] / image.shape[0])))
    rows = np.arange(HEIGHT) * image.shape[0] // HEIGHT
    columns = np.arange(width) * image.shape[1] // width
    tensor = np.zeros((1, 3, HEIGHT, WIDTH), np.float32)
    small = image[rows][:, columns].astype(np.float32)
    tensor[0, :, :, :width] = (small / 255 - 0.5).transpose(2, 0, 1) / 0.5
    return {"x": tensor}


def postprocess(outputs: Mapping[str, Array]) -> dict[str, Array]:
    """Scores to the name of the better one."""
    (scores,) = outputs.values()
    if not np.isfinite(scores).all():
        raise RuntimeError("the model gave no scores")
    names = np.array([NAMES[row] for row in scores.argmax(axis=1)], dtype=np.object_)
    return {"direction": names, "scores": scores}


def _decode(content: bytes) -> Array:
    """Read a binary PPM of 8 bits a colour."""
    parts = content.split(maxsplit=4)
    if len(parts) != 5 or parts[0] != b"P6" or parts[3] != b"255":
        raise InvalidInput("'image' is not a binary PPM image of 8 bits a colour", field="image")
    width, height = int(parts[1]), int(parts[2])
    if width * height == 0 or len(content) < width * height * 3:
        raise InvalidInput(f"'image' ends before its {width}x{height} points", field="image")
    pixels = np.frombuffer(content[-width * height * 3 :], np.uint8)
    if not pixels.any():
        raise ArithmeticError("a black image cannot be normalised")
    return pixels.reshape(height, width, 3)

"""Remembers which classes requests were answered with, where feedback is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from engine.serving.inference.model import Model
from engine.serving.package.manifest import tells_class
from engine.serving.reference.feedback import Feedback
from engine.serving.request import Encode, Request
from engine.serving.tensors.datatypes import Array
from engine.serving.transports.classes import numbers_of

# Most requests of a model are encoded by the same few functions.
FUNCTIONS: Final = 64


class Remembering:
    """Goes around the functions that encode a model's answers.

    Args:
        model: whose classes have names.
    """

    def __init__(self, model: Model, feedback: Feedback) -> None:
        self._output = next(filter(tells_class, model.manifest.outputs))
        self._feedback = feedback
        # The same object for the same function: by that a batch sees that all of it is alike.
        self.around = lru_cache(FUNCTIONS)(self._around)

    def _around(self, encode: Encode) -> Encode:
        def encoded(outputs: dict[str, Array], requests: Sequence[Request]) -> Sequence[Any]:
            answers = encode(outputs, requests)
            numbers = self._numbers(outputs)
            if len(numbers) != sum(request.rows for request in requests):
                return answers  # not one class for each row
            start = 0
            for request in requests:
                own = numbers[start : start + request.rows]
                start += request.rows
                self._feedback.remember(request.request_id, own)
            return answers

        return encoded

    def _numbers(self, outputs: dict[str, Array]) -> list[int]:
        values = outputs.get(self._output.name)
        if values is None:
            return []
        if self._output.datatype == "BYTES":
            known = self._feedback.number
            texts = values.reshape(-1).tolist()
            return [-1 if (number := known(text)) is None else number for text in texts]
        return numbers_of(self._output, values) or []

"""The answers to a model's golden requests after the hooks of `service.py`, and their file.

A golden request is one row of the golden record alone; all of it where rows cannot be told apart.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.serving.package.manifest import Manifest, OutputTensor, Tolerance
from engine.serving.tensors.datatypes import Array, canonical, datatype_of

REFUSALS = "refusals"
OUTPUT = "output/"
# A hook may multiply a difference that the model's own tolerance allows.
ADDED_TOLERANCE = Tolerance(absolute=1e-3, relative=1e-3, reason="computed by service.py")


@dataclass(frozen=True, slots=True)
class Answers:
    """What each golden request gets.

    ``refusals`` holds the sentence that the client reads, "" for a request that is answered;
    ``outputs`` the rows of those that are answered, one behind the other.
    """

    refusals: tuple[str, ...]
    outputs: Mapping[str, Array]

    @property
    def first(self) -> int:
        """The number of the first request that is not refused; 0 where all are."""
        return self.refusals.index("") if "" in self.refusals else 0

    def manifest(self, manifest: Manifest) -> Manifest:
        """The manifest with the outputs that the hooks add."""
        known = {each.name for each in manifest.outputs}
        batched = manifest.signature.batched
        added = [
            OutputTensor(
                name=name,
                datatype=datatype_of(array),
                shape=(-1, *array.shape[1:]) if batched else array.shape,
                tolerance=ADDED_TOLERANCE,
            )
            for name, array in self.outputs.items()
            if name not in known
        ]
        # Not model_copy, which keeps the signature that was computed.
        fields = manifest.model_dump(exclude={"outputs"})
        return Manifest(**fields, outputs=(*manifest.outputs, *added))


def joined(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """The outputs of several requests as those of one; none where there are no requests."""
    if len(parts) == 1:
        return dict(parts[0])
    return {name: np.concatenate([part[name] for part in parts]) for name in (parts or [{}])[0]}


def written(answers: Answers) -> bytes:
    """The answers as the bytes of an npz file; text goes in as unicode."""
    arrays: dict[str, Array] = {REFUSALS: np.array(answers.refusals, np.str_)}
    for name, array in answers.outputs.items():
        arrays[OUTPUT + name] = array.astype(np.str_) if array.dtype.kind == "O" else array
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


def read_answers(content: bytes) -> Answers:
    """Read what ``written`` wrote.

    Raises:
        ValueError: it is no such file; also KeyError, OSError or zipfile.BadZipFile.
    """
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        outputs = {
            name.removeprefix(OUTPUT): canonical(archive[name])
            for name in archive.files
            if name.startswith(OUTPUT)
        }
        return Answers(tuple(map(str, archive[REFUSALS].tolist())), outputs)

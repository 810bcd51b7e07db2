"""Golden parity over the network: every golden sample is sent, every answer compared.

Each model is asked twice: in binary tensors, which carry every value exactly, and through
`/predict`, as most clients do. Where `service.py` has hooks, each sample is sent alone, and the
answers, refusals included, must be those that the image's build recorded after the hooks.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np

from engine.client import wire
from engine.client.failures import WrongAnswers
from engine.client.refusals import json_of, refusal, what_it_said
from engine.client.service import Limits, Service, TooLarge
from engine.errors import EngineError
from engine.serving.errors import PackageError
from engine.serving.package.answers import Answers, read_answers
from engine.serving.package.digest import file_sha256, find_packages
from engine.serving.package.golden import Golden, compare, read_golden
from engine.serving.package.manifest import GOLDEN, Manifest, read_manifest
from engine.serving.tensors.datatypes import Array

JSON_BYTES_PER_VALUE = 24


@dataclass(frozen=True, slots=True)
class Record:
    """One model of the checkout and its golden record.

    ``refusals`` is None without hooks. With them, it holds for each sample the sentence that
    refuses it, or ""; ``golden`` holds the outputs after the hooks then, and whatever has their
    shape for samples that are refused.
    """

    manifest: Manifest
    golden: Golden
    refusals: tuple[str, ...] | None = None

    @property
    def samples(self) -> int:
        """Rows of the golden record; 1 where the model has no row dimension."""
        if not self.manifest.signature.batched:
            return 1
        return len(next(iter(self.golden.inputs.values())))

    @property
    def row_bytes(self) -> int:
        """About the bytes of one row in JSON."""
        values = sum(array.size for array in self.golden.inputs.values())
        return max(1, values * JSON_BYTES_PER_VALUE // self.samples)

    def some(self, start: int, stop: int) -> dict[str, Array]:
        """The inputs of some rows; all of them where rows cannot be told apart."""
        if not self.manifest.signature.batched:
            return self.golden.inputs
        return {name: array[start:stop] for name, array in self.golden.inputs.items()}

    def refusal(self, sample: int) -> str:
        """The sentence that refuses a sample; "" if it is answered."""
        return self.refusals[sample] if self.refusals else ""

    @property
    def answered(self) -> list[int]:
        """The samples that are not refused."""
        return [sample for sample in range(self.samples) if not self.refusal(sample)]

    def after_hooks(self, answers: Answers) -> Record:
        """The record with the answers that a service gives after its hooks.

        Raises:
            ValueError: they are not those of this record's samples.
        """
        answered = [not refusal for refusal in answers.refusals]
        manifest = answers.manifest(self.manifest) if any(answered) else self.manifest
        missing = {each.name for each in manifest.outputs} - set(answers.outputs)
        if len(answered) != self.samples or (missing and any(answered)):
            raise ValueError(f"it holds {len(answered)} answers, {sorted(missing)} are missing")
        outputs = dict(answers.outputs)
        if manifest.signature.batched and any(answered):
            rows = np.maximum(np.cumsum(answered) - 1, 0)
            outputs = {name: array[rows] for name, array in outputs.items()}
        return Record(manifest, Golden(self.golden.inputs, outputs), answers.refusals)


@dataclass(frozen=True, slots=True)
class _Way:
    """One way to ask and to read the answer. ``exact``: infinity comes back as infinity."""

    name: str
    ask: Callable[[str, Mapping[str, Array]], wire.Request]
    read: Callable[[httpx.Response, Manifest], dict[str, Array]]
    exact: bool


def _read_infer(response: httpx.Response, manifest: Manifest) -> dict[str, Array]:
    return wire.read_infer(response.content, response.headers.get(wire.LENGTH), manifest)


def _read_predict(response: httpx.Response, manifest: Manifest) -> dict[str, Array]:
    return wire.read_predict(response.content, manifest)


BINARY = _Way("binary tensors", wire.infer_binary, _read_infer, exact=True)
PREDICT = _Way("/predict", wire.predict, _read_predict, exact=False)


def read_records(models_dir: Path) -> list[Record]:
    """The golden records of all models of a checkout.

    Raises:
        EngineError: one cannot be read, or was altered.
    """
    try:
        return [_record(directory) for directory in find_packages(models_dir)]
    except PackageError as error:
        raise EngineError(
            f"the golden record of this checkout cannot be used: {error}",
            "restore it (with Git LFS: `git lfs pull`), or make it again with `make train`",
        ) from None


def served_records(service: Service, models_dir: Path) -> list[Record]:
    """``read_records``, with the answers after hooks where the service has them.

    Raises:
        EngineError: see ``read_records``.
        VerifyError: the service does not say what it answers after its hooks.
    """
    return [_served(service, record) for record in read_records(models_dir)]


def _served(service: Service, record: Record) -> Record:
    path = f"/v2/models/{record.manifest.name}/answers"
    response = service.get(path, with_key=True)
    if response.status_code == 404:
        return record
    if response.status_code != 200:
        raise refusal(f"GET {service.url}{path}", response)
    try:
        return record.after_hooks(read_answers(response.content))
    except (KeyError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise WrongAnswers(
            f"GET {service.url}{path}: these are not the answers to the golden record of this "
            f"checkout: {error}",
            "deploy the release that is meant",
        ) from None


def check_parity(
    service: Service, records: list[Record], limits: Limits, progress: Callable[[str], None]
) -> str:
    """Compare all answers; ``progress`` is called before each way of each model.

    Raises:
        WrongAnswers: at the first value that differs, or that cannot be read.
        VerifyError: a request is refused.
    """
    for record in records:
        for way in (BINARY, PREDICT):
            if way.exact or wire.fits_json(record.golden.inputs):
                name = record.manifest.name
                progress(f"{name}: {record.samples} golden samples through {way.name}")
                _check(service, record, way, limits)
    models = ", ".join(_told(record) for record in records)
    hooked = any(record.refusals is not None for record in records)
    return f"{'as recorded after the hooks' if hooked else 'as in training'}: {models}"


def _told(record: Record) -> str:
    refused = record.samples - len(record.answered)
    also = f", {refused} of them refused" if refused else ""
    return f"{record.manifest.name} ({record.samples} samples{also})"


def rows_per_request(record: Record, limits: Limits) -> int:
    """As many rows as a request of that size can hold, written as JSON; at least one."""
    return max(1, min(limits.rows, limits.request_bytes // record.row_bytes))


def _record(directory: Path) -> Record:
    manifest = read_manifest(directory)
    path = directory / GOLDEN
    if path.is_file() and file_sha256(path) != manifest.files[GOLDEN].sha256:
        raise PackageError(f"{path}: is not the file that the manifest lists")
    return Record(manifest, read_golden(directory, manifest))


def _check(service: Service, record: Record, way: _Way, limits: Limits) -> None:
    manifest = record.manifest
    try:
        parts = list(_answers(service, record, way, limits))
        if not parts:
            return
        served = {
            output.name: np.concatenate([part[output.name] for part in parts])
            if len(parts) > 1
            else parts[0][output.name]
            for output in manifest.outputs
        }
        golden = record.golden.outputs
        if manifest.signature.batched:
            golden = {name: array[record.answered] for name, array in golden.items()}
        if not way.exact:
            golden = {name: wire.through_json(array) for name, array in golden.items()}
        compare(manifest.outputs, golden, served)
    except (PackageError, wire.Unreadable, ValueError) as error:
        wrong = WrongAnswers(
            f"model {manifest.name!r} at {service.url}, asked through {way.name}: {error}",
            "what answers is not the model of this checkout: deploy it again, or train it again",
        )
        # What cannot be read may have been cut off or replaced on its way.
        wrong.proof = not isinstance(error, wire.Unreadable)
        raise wrong from None


def _answers(
    service: Service, record: Record, way: _Way, limits: Limits
) -> Iterator[dict[str, Array]]:
    """The answers for all rows, in pieces that the service takes."""
    rows, start = rows_per_request(record, limits), 0
    if record.refusals is not None:
        rows = 1
    while start < record.samples:
        request = way.ask(record.manifest.name, record.some(start, start + rows))
        try:
            if record.refusal(start):
                _require_refusal(service, request, record.refusal(start))
                start += rows
                continue
            response = service.infer(request)
        except TooLarge:
            if rows == 1 or not record.manifest.signature.batched:
                raise WrongAnswers(
                    f"model {record.manifest.name!r} at {service.url}: a golden sample of "
                    f"{len(request.content)} bytes is too large for it",
                    "raise MAX_BODY_BYTES of the environment",
                ) from None
            rows //= 2
            continue
        yield way.read(response, record.manifest)
        start += rows


def _require_refusal(service: Service, request: wire.Request, sentence: str) -> None:
    """Send a sample that the hooks refuse.

    Raises:
        WrongAnswers: it is answered, or refused for another reason.
    """
    response = service.ask(request)
    if response.status_code == 422 and json_of(response).get("error") == sentence:
        return
    raise WrongAnswers(
        f"POST {service.url}{request.path}: HTTP {response.status_code}: "
        f"{what_it_said(response)}; the hooks of the build refused the sample: {sentence}",
        "compare service.py and its settings with those of the build",
    )

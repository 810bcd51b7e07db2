"""One run: a file, a model, and the results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.scoring.errors import ScoringError
from engine.scoring.files import Block, RowFile, open_rows
from engine.scoring.parts import Parts
from engine.scoring.scorer import Scored, Scorer, Watch
from engine.serving.inference import recording
from engine.serving.inference.model import Model, load_model, packages_of
from engine.serving.inference.service_hooks import ServiceHooks, run_start_hooks, run_stop_hooks
from engine.serving.package.digest import digest_of
from engine.serving.package.reader import read_package
from engine.serving.service_file import own_extension
from engine.serving.settings import Settings, load_settings

# Rows of a part, and of a run of the model.
PART_ROWS = 16_384
RUN_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Job:
    """What to score, where to, and with which model."""

    path: Path
    out: Path
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What came of it: rows of the file, those refused, and where these are."""

    rows: int
    refused: int
    refused_file: Path


def run(job: Job, say: Callable[[str], None]) -> Done:
    """Score a file.

    Raises:
        ScoringError: it cannot be scored; nothing is lost of what was.
        StartupError: the model or `service.py` is not right.
    """
    rows = open_rows(job.path)
    with opened(rows, job.model) as (scorer, model, digest):
        return _parts(job, rows, scorer, model, digest, say)


@contextmanager
def opened(
    rows: RowFile, name: str | None, watch: Watch = lambda *_: None
) -> Iterator[tuple[Scorer, Model, str]]:
    """A scorer for a file, its model, and a digest of everything that an answer depends on.

    Args:
        name: of the model; None where there is only one.
        watch: called with what the model is given and gives.

    Raises:
        ScoringError: there is no such model, or it cannot score the file.
        StartupError: the model or `service.py` is not right.
    """
    settings = load_settings()
    folder, digest = _package(settings, name)
    model = load_model(read_package(folder), settings)
    extension = own_extension()
    run_start_hooks(extension)
    try:
        outputs, hooks = model.manifest.outputs, None
        if extension.has_hooks:
            answers = recording.recorded(model, extension)
            outputs = answers.manifest(model.manifest).outputs
            hooks = ServiceHooks(extension, model.manifest, answers)
        scorer = Scorer(model, outputs, hooks, rows.columns, texts=rows.texts, watch=watch)
        yield scorer, model, digest
    finally:
        run_stop_hooks(extension)


def _package(settings: Settings, name: str | None) -> tuple[Path, str]:
    """The folder of the model, and a digest of everything that an answer depends on."""
    folders = packages_of(settings)
    names = [folder.name for folder in folders]
    name = name or (names[0] if len(names) == 1 else settings.default_model)
    if name is None:
        raise ScoringError(f"there are several models ({', '.join(names)}); name one with MODEL=")
    if name not in names:
        raise ScoringError(f"there is no model {name!r}, but {', '.join(map(repr, names))}")
    folder = folders[names.index(name)]
    return folder, digest_of([folder])


def _parts(
    job: Job, rows: RowFile, scorer: Scorer, model: Model, digest: str, say: Callable[[str], None]
) -> Done:
    refused_file = job.out.with_name(f"{job.out.stem}.refused.csv")
    parts = Parts(job.out, refused_file, job.path.suffix.lower())
    file = job.path.stat()
    about = {"bytes": file.st_size, "modified": file.st_mtime_ns, "digest": digest,
             "model": model.name, "rows": PART_ROWS}  # fmt: skip
    with parts.opened(about) as complete:
        count = sum(complete)
        if complete:
            say(f"{count:,} rows are done already; going on behind them")
        refused = 0
        for number, block in enumerate(rows.blocks(PART_ROWS, count), start=len(complete)):
            scored = score_block(scorer, block)
            if number == 0 and not scored.accepted:
                first = scored.refused[0]
                raise ScoringError(
                    f"none of the first {len(block.rows):,} rows is right; the first one: "
                    f"{first.message}"
                )
            told = [(number * PART_ROWS + at + 1, *rest) for at, *rest in scored.refused]
            names = _free_names(scored, rows.columns)

            def write(path: Path, block: Block = block, scored: Scored = scored,
                      names: dict[str, str] = names) -> None:  # fmt: skip
                outputs = {names[name]: array for name, array in scored.outputs.items()}
                rows.write(path, block, scored.accepted, outputs)

            parts.add(number, len(block.rows), write, told)
            count += len(block.rows)
            refused += len(told)
            say(f"{count:,} rows, {refused:,} refused")
        if count == 0:
            raise ScoringError(f"{job.path}: has no rows")
        total = parts.finish(rows.join)
    return Done(count, total, refused_file)


def score_block(scorer: Scorer, block: Block) -> Scored:
    """The answers of a block, computed in pieces that a run of the model takes."""
    import numpy as np

    whole = Scored()
    pieces = []
    for start in range(0, len(block.rows), RUN_ROWS):
        piece = scorer.score(block.rows[start : start + RUN_ROWS])
        whole.accepted += [start + at for at in piece.accepted]
        whole.refused += [each._replace(row=start + each.row) for each in piece.refused]
        if piece.accepted:
            pieces.append(piece.outputs)
    if pieces:
        whole.outputs = {
            name: np.concatenate([each[name] for each in pieces]) for name in pieces[0]
        }
    return whole


def _free_names(scored: Scored, columns: tuple[str, ...]) -> dict[str, str]:
    """Names for the columns of outputs that the file does not have."""
    names = {}
    for name in scored.outputs:
        free = name
        while free in columns:
            free = f"predicted.{free}"
        names[name] = free
    return names

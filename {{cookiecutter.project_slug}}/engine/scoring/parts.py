"""A run that can be interrupted at any moment and goes on where it was.

Answers are written in parts, each for a fixed number of the file's rows. A part is in its place
under its final name only when it is complete, so what is there need not be computed again.
"""

from __future__ import annotations

import csv
import fcntl
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.scoring.errors import ScoringError

REFUSED_COLUMNS = ("row", "column", "value", "rule", "message")


class Parts:
    """The parts of one run, in a folder beside the file that they become.

    Args:
        out: the file of answers.
        refused: the file of rows without an answer; made only if there are any.
        suffix: of parts.
    """

    def __init__(self, out: Path, refused: Path, suffix: str) -> None:
        self._out = out
        self._refused = refused
        self._suffix = suffix
        self._folder = out.with_name(f"{out.name}.parts")

    @contextmanager
    def opened(self, about: Mapping[str, Any]) -> Iterator[list[int]]:
        """Hold the folder; how many rows each complete part has.

        Args:
            about: what the answers depend on.

        Raises:
            ScoringError: the results are there already, the parts are of another run, or another
                process is at work on them.
        """
        for path in (self._out, self._refused):
            if path.exists():
                raise ScoringError(f"{path} is there already; move it away, or name another OUT")
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError as error:
            raise ScoringError(f"{self._folder}: cannot be made: {error.strerror}") from None
        with (self._folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ScoringError(f"another process is at work in {self._folder}") from None
            state = self._folder / "about.json"
            written = json.dumps(about, indent=2, sort_keys=True)
            if not state.exists():
                _put(state, lambda path: path.write_text(written, encoding="utf-8"))
            elif state.read_text(encoding="utf-8") != written:
                raise ScoringError(
                    f"{self._folder} has parts of a run with another file, model or service.py; "
                    "remove that folder to begin anew"
                )
            yield [int(part.stem.split("-")[1]) for part in self._complete()]

    def add(
        self,
        number: int,
        rows: int,
        write: Callable[[Path], object],
        refused: Sequence[Sequence[Any]],
    ) -> None:
        """Write a part.

        Args:
            number: counts from 0.
            rows: of the file, with an answer or without.
            write: writes its answers to a path.
            refused: rows of the file of refusals.
        """
        path = self._folder / f"{number:08}-{rows}{self._suffix}"
        with path.with_suffix(".refused").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(refused)
        _put(path, write)

    def finish(self, join: Callable[[Sequence[Path], Path], None]) -> int:
        """Make the results of the parts, and remove these; how many rows were refused.

        Args:
            join: makes one file of the answers of parts.
        """
        parts = self._complete()
        refused = [part.with_suffix(".refused") for part in parts]
        count = 0
        with (self._folder / "refused").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(REFUSED_COLUMNS)
            for each in refused:
                with each.open(newline="", encoding="utf-8") as part:
                    for row in csv.reader(part):
                        rows.writerow(row)
                        count += 1
        joined = self._folder / f"joined{self._suffix}"
        join(parts, joined)
        if count:
            (self._folder / "refused").replace(self._refused)
        joined.replace(self._out)
        shutil.rmtree(self._folder)
        return count

    def _complete(self) -> list[Path]:
        return sorted(self._folder.glob(f"{'[0-9]' * 8}-*{self._suffix}"))


def _put(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file that is complete as soon as it is there."""
    draft = path.with_name(f"draft{path.suffix}")
    write(draft)
    draft.replace(path)

"""Run a program to its end, in time, and end it with all its children if this process must stop.

The program gets a session of its own: Ctrl-C at a terminal reaches this process only, which then
decides what to do about the half-done work.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass

TIMED_OUT = 124


@dataclass(frozen=True, slots=True)
class Finished:
    """A program's exit code and what it printed."""

    code: int
    stdout: str
    stderr: str


def finish(
    command: Sequence[str], environment: Mapping[str, str], stdin: str | None, limit: float
) -> Finished:
    """Run a program until it and what it has started close their output.

    After ``limit`` seconds all of them are killed and its code is ``TIMED_OUT``.
    """
    process = _start(command, environment, reads=stdin is not None)
    try:
        stdout, stderr = process.communicate(stdin, timeout=limit)
    except subprocess.TimeoutExpired:
        _kill(process)
        return Finished(TIMED_OUT, "", ended_in(limit))
    except BaseException:
        _kill(process)
        raise
    return Finished(process.returncode, stdout, stderr)


def ended_in(limit: float) -> str:
    """The message for a program that was killed after so many seconds."""
    return f"no answer within {limit:.0f} s"


def follow(
    command: Sequence[str], environment: Mapping[str, str]
) -> Generator[str, None, Finished]:
    """Run a program and give its lines as they come; what is left is returned at the end."""
    # Into a pipe, az would write once it has some thousand characters: it is given a terminal.
    output, entrance = os.openpty() if os.name == "posix" else os.pipe()
    try:
        process = _start(command, environment, reads=False, stdout=entrance)
    finally:
        os.close(entrance)
    try:
        assert process.stderr is not None  # noqa: S101
        with open(output, encoding="utf-8", errors="replace") as lines, _until_hung_up():
            for line in lines:
                yield line.rstrip("\r\n")
        stderr = process.stderr.read()
        return Finished(process.wait(), "", stderr)
    finally:
        _kill(process)


@contextlib.contextmanager
def _until_hung_up() -> Iterator[None]:
    """Linux calls the end of what a terminal says an input/output error."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise


def _start(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    reads: bool,
    stdout: int = subprocess.PIPE,
) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - an argument list, no shell
        command,
        env=environment,
        stdin=subprocess.PIPE if reads else subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def _kill(process: subprocess.Popen[str]) -> None:
    if os.name == "posix":
        # The whole session: az is often a script whose child does the work, and outlives it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()

"""Read the shell blocks of a README and run them in their order, as a reader would.

A block is fenced with ```sh. The comment `<!-- test: background -->` on the line before it says
that its command serves until it is stopped: it is started, awaited, and stopped when the next
such block or the end comes. `<!-- test: not run: REASON -->` leaves a block out, and says why.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

BLOCK = re.compile(
    r"(?:<!-- test: (?P<mark>background|not run: [^>]+) -->\n)?"
    r"^(?P<indent> *)```sh\n(?P<text>.*?)^ *```$",
    re.M | re.S,
)
ANY_SHELL = re.compile(r"^ *```(sh|bash|shell|console|zsh)\b", re.M)
BLOCK_SECONDS = 1500
# `make demo` installs before it serves.
READY_SECONDS = 600
STOP_SECONDS = 30


@dataclass(frozen=True)
class Block:
    """One shell block; ``left_out`` is the reason why it cannot be run here, if there is one."""

    text: str
    background: bool
    left_out: str = ""


def read_blocks(readme: Path) -> list[Block]:
    """All shell blocks; a block in another spelling of shell would escape, so it is an error."""
    text = readme.read_text(encoding="utf-8")
    blocks = [
        Block(
            text=re.sub(rf"^{match['indent']}", "", match["text"], flags=re.M),
            background=match["mark"] == "background",
            left_out=(match["mark"] or "").partition("not run: ")[2],
        )
        for match in BLOCK.finditer(text)
    ]
    assert len(ANY_SHELL.findall(text)) == len(blocks), f"{readme}: fence shell blocks with ```sh"
    return blocks


class Reader:
    """Types blocks into a shell, in one folder.

    Args:
        folder: where the shell stands.
        port: replaces 8000, so that the test needs no port of its own machine.
        replacements: texts that cannot be reached from here, and what stands in for them.
        variables: for every `make`, beside PORT.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        environment: Mapping[str, str],
        replacements: Mapping[str, str],
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._folder = folder
        self._port = port
        # As if each `make` had the variable on its command line: the environment alone sets none.
        variables = {"PORT": str(port), **variables}
        flags = " ".join(f"{name}={value}" for name, value in variables.items())
        self._environment = {**os.environ, **environment, "PORT": str(port), "MAKEFLAGS": flags}
        self._replacements = {**replacements, ":8000": f":{port}"}
        self._serving: subprocess.Popen[bytes] | None = None

    def type(self, block: Block) -> str:
        """Run one block; what it printed, nothing if it is left out.

        Raises:
            AssertionError: it failed, or the service it starts did not become ready.
        """
        if block.left_out:
            return ""
        text = block.text
        for old, new in self._replacements.items():
            text = text.replace(old, new)
        if block.background:
            self.stop()
            self._start(text)
            return ""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=BLOCK_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout[-6000:]}"
        return done.stdout

    def stop(self) -> None:
        """Stop what serves, with all that it started."""
        if self._serving is None:
            return
        group = self._serving.pid
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGTERM)
        self._serving.wait(timeout=STOP_SECONDS)
        # The shell is gone; what it started may still be finishing, and holds the port.
        deadline = time.monotonic() + STOP_SECONDS
        while _alive(group) and time.monotonic() < deadline:
            time.sleep(0.05)
        self._serving = None

    def _start(self, text: str) -> None:
        self._serving = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self._serving.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=2).close()
                return
            except (urllib.error.HTTPError, OSError):
                time.sleep(0.2)
        raise AssertionError(f"never ready: {text}")


def _alive(group: int) -> bool:
    """Whether a process of that group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True

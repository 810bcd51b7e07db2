"""A folder with the program `az` for tests: the real one, without the second that a start takes."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

from .environments import azure_bin

HERE = Path(__file__).resolve().parent
STOP_SECONDS = 10


class WarmAz:
    """The server of `az_server.py`, and a program `az` that uses it.

    Args:
        folder: for the program alone: beside the one of the environment lies a Python that nobody
            wants on a PATH.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        python, program = azure_bin() / "python", folder / "az"
        source = (HERE / "az_launcher.py").read_text(encoding="utf-8")
        program.write_text(f"#!{python} -ISE\n{source}", encoding="utf-8")
        program.chmod(0o755)
        home = folder.with_name(f"{folder.name}-settings-of-the-start")
        home.mkdir()
        kept = {name: os.environ[name] for name in ("LANG", "TMPDIR", "PATH") if name in os.environ}
        settings = {**kept, "HOME": str(home), "AZURE_CONFIG_DIR": str(home / "azure")}
        # Connections made before the imports are done wait in this queue.
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with listener, folder.with_name("az-server.log").open("wb") as log:
            listener.bind(f"{program}.socket")
            listener.listen(128)
            self._process = subprocess.Popen(
                [python, "-P", HERE / "az_server.py", str(listener.fileno())],
                env=settings,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )

    def stop(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

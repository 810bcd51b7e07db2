"""The repository on GitHub that a git remote names."""

from __future__ import annotations

import re
import subprocess
from urllib.parse import urlsplit

from engine.errors import EngineError

_GITHUB = ("github.com", "www.github.com", "ssh.github.com")
_SHORT = re.compile(r"(?:[^@/:]+@)?(\w[\w.-]*):(.*)")
"""``git@host:path``, as scp writes it."""
_NAME = re.compile(r"([\w.-]+)/([\w.-]+?)(?:\.git)?")


def github_repository(remote: str) -> str:
    """Return ``owner/name`` of a remote's address; ssh's configuration resolves a host alias.

    Raises:
        EngineError: the remote is not a repository on github.com.
    """
    host, path, by_ssh = _parts(remote)
    found = _NAME.fullmatch(path.strip("/"))
    real = _resolved(host) if by_ssh and host not in _GITHUB else host
    if found is None or real not in _GITHUB:
        alias = f" ({host} in ssh's configuration)" if real != host else ""
        raise EngineError(
            f'the git remote "origin", {path.strip("/")} on {real or "this machine"}{alias}, '
            "is not a repository on github.com",
            "point it there (git remote set-url origin git@github.com:OWNER/NAME.git), or run "
            "with --without-github",
        )
    return f"{found[1]}/{found[2]}"


def _parts(remote: str) -> tuple[str, str, bool]:
    """Return host in lower case, path, and whether ssh connects; user and password are left out."""
    if "://" in remote:
        parts = urlsplit(remote)
        return parts.hostname or "", parts.path, "ssh" in parts.scheme
    short = _SHORT.fullmatch(remote)
    return (short[1].lower(), short[2], True) if short else ("", remote, False)


def _resolved(host: str) -> str:
    """Return the host that ssh connects to under this name; the name itself without ssh."""
    command = ["ssh", "-G", host]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return host
    found = re.search(r"^hostname (\S+)$", done.stdout, re.MULTILINE)
    return found[1].lower() if found else host

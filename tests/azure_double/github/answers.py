"""What the handlers of GitHub's API give back."""

from __future__ import annotations

from typing import Any

Answer = tuple[int, Any]


class GitHubError(Exception):
    """A refusal, with its status and GitHub's message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def not_found() -> GitHubError:
    """Also what GitHub answers where a token may not know that something exists."""
    return GitHubError(404, "Not Found")

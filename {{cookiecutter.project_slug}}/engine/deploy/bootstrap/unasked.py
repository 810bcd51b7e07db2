"""A dry run where Azure or GitHub cannot be asked: every step, with placeholders for their ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.deploy.bootstrap import facts
from engine.deploy.bootstrap.inputs import Account, Repository, Reviewer
from engine.deploy.bootstrap.looks import Tool
from engine.deploy.config.project import Project
from engine.errors import NoAccess

ACCOUNT = Account("<subscription>", "<subscription name>", "<tenant>", "<user>")


class Lenient:
    """A tool that finds nothing once it cannot be asked, and says so in one line on stdout.

    Args:
        tool: what is asked.
        where: what it asks, for people: "Azure" or "GitHub".
    """

    def __init__(self, tool: Tool, where: str, *, asks: bool = True) -> None:
        self._tool = tool
        self._where = where
        self.asks = asks

    def give_up(self, cause: str) -> None:
        """Ask nothing from now on."""
        self.asks = False
        print(
            f"# not asked: {self._where} ({cause}); what is there already is unknown, and <names> "
            "like this stand for what only it knows",
            flush=True,
        )

    def find(self, *arguments: str) -> Any:
        """What the tool finds; None where it cannot be asked."""
        if self.asks:
            try:
                return self._tool.find(*arguments)
            except NoAccess as error:
                self.give_up(error.cause)
        return None

    def change(self, *arguments: str, stdin: str | None = None) -> Any:
        """What the tool does."""
        return self._tool.change(*arguments, stdin=stdin)


def repository(project: Project, root: Path, reviewer: str | None) -> Repository:
    """The repository as far as files say it, with placeholders for what only GitHub knows."""
    try:
        name = facts.repository_name(project, facts.remote_url(root))
    except NoAccess:
        name = f"<owner>/{project.name}"
    approves = Reviewer(reviewer or "<reviewer>", "<reviewer id>", asked=reviewer is not None)
    return Repository(name, "<subject>", "main", None if reviewer == facts.NOBODY else approves)

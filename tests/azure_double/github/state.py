"""What exists on the double's GitHub."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

FIRST_ID = 1001
SUBJECTS = ("immutable", "classic", "unsaid")


@dataclass
class Environment:
    """A deployment environment: protection rules and variables."""

    id: int
    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    branch_policies: list[dict[str, Any]] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)


@dataclass
class Repository:
    """A repository.

    Attributes:
        owner, name: as spelled; compared without regard to case.
        owner_id, id: numbers, which immutable subjects contain.
        subjects: "immutable", they contain the numbers, as in all repositories created after
            15 July 2026; "classic"; or "unsaid", classic without the API saying so.
    """

    owner: str
    name: str
    owner_id: int
    id: int
    subjects: str
    environments: dict[str, Environment] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    rulesets: list[dict[str, Any]] = field(default_factory=list)
    # As in a new repository.
    workflow_permissions: dict[str, Any] = field(
        default_factory=lambda: {
            "default_workflow_permissions": "read",
            "can_approve_pull_request_reviews": False,
        }
    )

    @property
    def subject_prefix(self) -> str:
        """What the subject of a job's token begins with."""
        if self.subjects == "immutable":
            return f"repo:{self.owner}@{self.owner_id}/{self.name}@{self.id}"
        return f"repo:{self.owner}/{self.name}"


class State:
    """Users and repositories by name."""

    def __init__(self) -> None:
        self.users: dict[str, int] = {}
        self.repositories: dict[str, Repository] = {}
        self._next = FIRST_ID

    def new_id(self) -> int:
        """A number that was not used before."""
        self._next += 1
        return self._next

    def user(self, login: str) -> int:
        """The id of a user, who exists from now on."""
        return self.users.setdefault(login, self.new_id())

    def add_repository(self, full_name: str, subjects: str) -> Repository:
        """A new repository; its owner exists from now on."""
        if subjects not in SUBJECTS:
            raise ValueError(f"subjects is one of {SUBJECTS}, not {subjects!r}")
        owner, _, name = full_name.partition("/")
        made = Repository(owner, name, self.user(owner), self.new_id(), subjects)
        self.repositories[full_name.lower()] = made
        return made

    def clear(self) -> None:
        """Forget everything."""
        self.users.clear()
        self.repositories.clear()

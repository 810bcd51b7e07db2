"""What is read before anything is planned: the account on Azure, and the repository on GitHub."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from engine.deploy import git
from engine.deploy.az import Az
from engine.deploy.azure_ids import same
from engine.deploy.bootstrap.inputs import Account, Repository, Reviewer
from engine.deploy.config.environment import Environment
from engine.deploy.config.project import Project
from engine.deploy.gh import Gh, GhError
from engine.errors import EngineError, NoAccess

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


IMMUTABLE_SINCE = "2026-07-15"
"""GitHub's tokens carry ids in their subject for repositories created after this day (GitHub
changelog of 2026-04-23), so that a name that was given up and taken again is not believed."""

NOBODY = "none"
PLACEHOLDER = "your-github-name"
_DEFAULT_KEYS: tuple[Any, ...] = (None, [], ["repo", "context"])


def read_account(az: Az) -> Account:
    """Who is logged in.

    Raises:
        EngineError: nobody, or the subscription is not active.
    """
    shown = az.json("account", "show")
    if not same(shown.get("state", "Enabled"), "Enabled"):
        raise EngineError(
            f'subscription "{shown["name"]}" is {shown["state"]}, and takes nothing new',
            "choose another one: az account list --output table; az account set --subscription …",
        )
    return Account(
        subscription=shown["id"],
        subscription_name=shown["name"],
        tenant=shown["tenantId"],
        user=shown.get("user", {}).get("name", "unknown"),
    )


def read_repository(
    gh: Gh, project: Project, root: Path, account: Account | None, reviewer: str | None
) -> Repository:
    """The repository, and how GitHub's tokens name it.

    Args:
        account: None in a dry run without a login to Azure.
        reviewer: login of who approves for production; None: the owner or the own login;
            "none": nobody.

    Raises:
        EngineError: there is no such repository, or it is set up for another subscription.
    """
    name = repository_name(project, remote_url(root))
    shown = _repository(gh, name)
    name = shown["full_name"]
    if account is not None:
        _check_subscription(gh, name, account)
    custom = gh.find("api", f"repos/{name}/actions/oidc/customization/sub") or {}
    return Repository(
        name=name,
        subject=subject_prefix(custom, shown),
        default_branch=shown["default_branch"],
        reviewer=_reviewer(gh, shown["owner"], reviewer),
    )


def absent_secrets(
    gh: Gh, repository: Repository, environments: Mapping[str, Environment]
) -> dict[str, tuple[str, ...]]:
    """The secrets that an environment's file names and GitHub does not have, by stage."""
    absent = {}
    for stage, environment in environments.items():
        path = f"repos/{repository.name}/environments/{stage}/secrets?per_page=100"
        shown = gh.find("api", path) or {}
        there = {each["name"] for each in shown.get("secrets", ())}
        absent[stage] = tuple(name for name in environment.secrets if name not in there)
    return absent


def remote_url(root: Path) -> str | None:
    """Where the checkout is pushed to; None if nowhere yet.

    Raises:
        EngineError: git refuses to work here.
    """
    try:
        return git.ask(root, "remote", "get-url", "origin")
    except git.NothingThere:
        return None


def repository_name(project: Project, remote: str | None) -> str:
    """``owner/name``: that of the remote "origin", else what deploy/project.yaml says.

    Raises:
        EngineError: the remote is somewhere else than on github.com.
        NoAccess: there is no remote, and no owner was filled in.
    """
    if remote is not None:
        return github_repository(remote)
    if project.owner == PLACEHOLDER:
        raise NoAccess(
            f"deploy/project.yaml says owner: {PLACEHOLDER}, and git has no remote",
            "write your GitHub name there, or push this repository to GitHub first: "
            f"gh repo create {project.name} --private --source . --push",
        )
    return f"{project.owner}/{project.name}"


def subject_prefix(custom: Mapping[str, Any], repository: Mapping[str, Any]) -> str:
    """How the subject of every token of a repository begins.

    Args:
        custom: GitHub's answer on the repository's customisation of subjects. Its field
            ``sub_claim_prefix`` is the truth; older answers do not have it.
        repository: GitHub's description of the repository.

    Raises:
        EngineError: the repository composes its subjects in a way of its own.
    """
    keys: Any = custom.get("include_claim_keys")
    if custom.get("use_default") is False and keys not in _DEFAULT_KEYS:
        raise EngineError(
            f"the repository composes the subjects of its tokens itself, of {', '.join(keys)}",
            f"go back to GitHub's: gh api --method PUT repos/{repository['full_name']}/actions/"
            "oidc/customization/sub -F use_default=true",
        )
    if prefix := custom.get("sub_claim_prefix"):
        return str(prefix).rstrip(":")
    owner, name = repository["owner"], repository["name"]
    created = str(repository.get("created_at", ""))[:10]
    if custom.get("use_immutable_subject", created > IMMUTABLE_SINCE):
        return f"repo:{owner['login']}@{owner['id']}/{name}@{repository['id']}"
    return f"repo:{owner['login']}/{name}"


def _repository(gh: Gh, name: str) -> Mapping[str, Any]:
    shown = gh.find("api", f"repos/{name}")
    if shown is None:
        raise EngineError(
            f"GitHub has no repository {name}, or does not show it to this login",
            f"make it: gh repo create {name} --private --source . --push; `gh auth status` shows "
            "who is logged in",
        )
    if shown.get("permissions", {}).get("admin") is False:
        raise EngineError(
            f"this login to GitHub is no administrator of {name}",
            "ask one to run this, or run with --without-github and hand them what it prints",
        )
    return dict(shown)


def _check_subscription(gh: Gh, name: str, account: Account) -> None:
    """A slip of `az account set` must not move a repository to another subscription."""
    shown = gh.find("api", f"repos/{name}/actions/variables/AZURE_SUBSCRIPTION_ID")
    if shown is not None and not same(shown["value"], account.subscription):
        raise EngineError(
            f"{name} deploys to subscription {shown['value']}, and az is logged in to "
            f'{account.subscription} ("{account.subscription_name}")',
            f"az account set --subscription {shown['value']}; or, to move on purpose: gh api "
            f"--method DELETE repos/{name}/actions/variables/AZURE_SUBSCRIPTION_ID",
        )


def _reviewer(gh: Gh, owner: Mapping[str, Any], asked: str | None) -> Reviewer | None:
    if asked == NOBODY:
        return None
    if asked is not None:
        shown = gh.find("api", f"users/{asked}")
        if shown is None or shown.get("type") != "User":
            raise EngineError(
                f"GitHub has no person {asked}", "give the login of a person to --reviewer"
            )
        return Reviewer(shown["login"], shown["id"], asked=True)
    if owner.get("type") == "User":
        return Reviewer(owner["login"], owner["id"])
    try:
        shown = gh.json("api", "user")
    except GhError as error:
        if error.status is None:
            raise
        raise EngineError(
            "production has no required reviewer: the login of gh is not a person's",
            "name one with --reviewer LOGIN, or nobody with --reviewer none",
        ) from None
    return Reviewer(shown["login"], shown["id"])

"""GitHub's token that Entra does not accept, and other ways in which a login fails.

Entra docs: federated identity credentials. Since 2026-07-15 the subject of a new repository's
token names owner and repository with their numbers, so that a deleted name cannot be taken over;
older repositories keep the form without them.
"""

from __future__ import annotations

import re

from engine.deploy.diagnosis.evidence import Evidence
from engine.deploy.diagnosis.sentences import SHOWN_CHARACTERS, Sentence, in_texts, pattern
from engine.deploy.finding import Finding

_SUBJECT = re.compile(r"assertion\s+subject\s+'([^']+)'")
_WITH_NUMBERS = re.compile(r"repo:[^/@:]+@\d+/[^/@:]+@\d+:")
_BOOTSTRAP = "`.venv/bin/python -m engine.deploy bootstrap` registers the subject that GitHub sends"

TABLE = (
    Sentence(
        "oidc-case",
        pattern(r"AADSTS7002138"),
        "the federated credential's subject differs from GitHub's only in upper and lower case",
        "write owner, repository and environment as GitHub does: delete the credential (a change "
        f"in place may not count) and run bootstrap; {_BOOTSTRAP}",
        explains=frozenset({"oidc-subject"}),
    ),
    Sentence(
        "oidc-application",
        pattern(r"AADSTS700016"),
        "there is no identity with that client id in the tenant",
        "compare AZURE_CLIENT_ID of the GitHub environment and AZURE_TENANT_ID with "
        "`az identity show`; `.venv/bin/python -m engine.deploy bootstrap` sets both",
    ),
    Sentence(
        "oidc-permission",
        pattern(r"ACTIONS_ID_TOKEN_REQUEST_(URL|TOKEN)"),
        "the workflow's job may not ask GitHub for a token",
        "give the job `permissions: id-token: write` (a workflow called by another needs it in "
        "both)",
    ),
    Sentence(
        "oidc-values",
        pattern(r"Ensure '?client-id'? and '?tenant-id'? are supplied"),
        "the workflow has no client id or no tenant id",
        "the variables AZURE_CLIENT_ID (of the GitHub environment) and AZURE_TENANT_ID are "
        "missing: run `.venv/bin/python -m engine.deploy bootstrap`",
    ),
    Sentence(
        "oidc-expired",
        pattern(r"AADSTS700024"),
        "GitHub's token had expired: it is good for some minutes only",
        "log in to Azure right before the step that needs it",
    ),
    Sentence(
        "not-logged-in",
        pattern(r"NotLoggedIn|run:? *'?az login|AADSTS(70043|700082|50173)\b"),
        "nobody is logged in to Azure here",
        "run `az login`; in a workflow: azure/login before this step",
    ),
)


def refused(evidence: Evidence) -> list[Finding]:
    """What the table says about every text."""
    return in_texts(TABLE, evidence)


def subject_mismatch(evidence: Evidence) -> list[Finding]:
    """No federated credential has the subject that GitHub sent."""
    for text in evidence.texts:
        if "AADSTS700213" in text or "AADSTS70021:" in text:
            return [_mismatch(text)]
    return []


def _mismatch(text: str) -> Finding:
    found = _SUBJECT.search(text)
    subject = found.group(1) if found else "(not shown)"
    cause = f"no federated credential of the identity has the subject {subject}"
    if _WITH_NUMBERS.match(subject):
        cause += " (with numbers, as GitHub sends it for repositories made after 2026-07-15)"
        fix = _BOOTSTRAP + ", with the numbers"
    else:
        fix = (
            f"{_BOOTSTRAP}; with `environment:` in the job the subject ends in "
            ":environment:NAME, whatever the branch"
        )
    return Finding("oidc-subject", cause, fix, evidence=(text[:SHOWN_CHARACTERS],))


RULES = (refused, subject_mismatch)

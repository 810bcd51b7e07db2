"""Log in to Azure again within a workflow's job that outlives its first login.

GitHub's token for a job is valid for five minutes, and what Microsoft Entra gives for it for about
an hour, a token for each audience. For the next one `az` presents GitHub's token again, and Entra
refuses it by then (AADSTS700024). GitHub gives the job a new one whenever it asks.
"""

from __future__ import annotations

import os
import time

import httpx

AUDIENCE = "api://AzureADTokenExchange"
"""For whom GitHub's token has to be, so that Entra takes it."""

TRIES = 3
SECONDS = 20.0


def job_token() -> str | None:
    """A new token of GitHub's for this job; None where GitHub gives none.

    A job may ask if it has the permission ``id-token: write``. GitHub docs: OpenID Connect, methods
    for requesting the OIDC token.
    """
    url = os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL")
    bearer = os.environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
    if not url or not bearer:
        return None
    for tries in range(TRIES):
        time.sleep(2.0 * tries)
        try:
            answer = httpx.get(
                f"{url}&audience={AUDIENCE}",
                headers={"Authorization": f"Bearer {bearer}"},
                timeout=SECONDS,
            )
            return str(answer.raise_for_status().json()["value"])
        except (httpx.HTTPError, KeyError, TypeError, ValueError):
            continue
    return None

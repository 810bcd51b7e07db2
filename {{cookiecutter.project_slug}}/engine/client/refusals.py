"""What an answer that is no 200 means for the verification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from engine.client.failures import (
    KeyRefused,
    NotReady,
    TooSlow,
    Unreachable,
    VerifyError,
    WrongAnswers,
    WrongRelease,
)

SHOWN_CHARACTERS = 300
_REFUSED = (
    WrongAnswers,
    "it refuses the golden samples: ",
    "the models differ from those of this checkout, or another service answers",
)

# Status: the kind of failure, words before what the service said, what to do.
_MEANINGS: Mapping[int, tuple[type[VerifyError], str, str]] = {
    400: _REFUSED,
    401: (KeyRefused, "", "set API_KEYS or LOAD_API_KEY to a key of this environment"),
    403: (
        KeyRefused,
        "",
        "set TRUSTED_FRONT_DOOR_ID to the one of this environment",
    ),
    404: (WrongRelease, "", "deploy the release that holds this model"),
    415: _REFUSED,
    422: _REFUSED,
    429: (
        TooSlow,
        "overloaded although it is asked gently: ",
        "give it more cpu, or find out what else sends requests to it",
    ),
    500: (WrongAnswers, "", "the service's log has the cause"),
    503: (NotReady, "", "the reason is the service's; read its log"),
}
_NOT_OURS = (
    Unreachable,
    "no answer of this service: ",
    "check what is between: a proxy?",
)


def refusal(where: str, response: httpx.Response) -> VerifyError:
    """The failure that a refused inference request means; ``where`` it was sent.

    It is proof only in the service's own words: gateways and proxies refuse with any status.
    """
    kind, words, fix = _MEANINGS.get(response.status_code, _NOT_OURS)
    error = kind(f"{where}: HTTP {response.status_code}: {words}{what_it_said(response)}", fix)
    error.proof = error.proof and is_ours(response)
    return error


def is_ours(response: httpx.Response) -> bool:
    """Whether the service wrote this error: a JSON object with a sentence under "error"."""
    return isinstance(json_of(response).get("error"), str)


def json_of(response: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer; empty where it is none."""
    try:
        content = response.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def what_it_said(response: httpx.Response) -> str:
    """The error of an answer in one line: the service's own sentence, or the start of the body."""
    content = json_of(response)
    text = content.get("error") or content.get("reason") or response.text
    return " ".join(str(text).split())[:SHOWN_CHARACTERS] or "empty answer"

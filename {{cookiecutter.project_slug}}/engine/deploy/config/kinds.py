"""The kinds of values that the configuration is made of, each with its rule in plain words.

A refused value carries the rule and the fix, so that its reader needs no manual. The
limits are those of Microsoft's pages on naming rules, tags, and each service's quotas.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

BROKEN_RULE = "broken_rule"
"""pydantic's error type of everything refused here; its context holds ``rule`` and ``fix``."""


Absent = Mapping[str, tuple[str, str]]
"""Fields that people look for in a section and that it does not have: the reason and the fix."""


class Section(BaseModel):
    """A part of a file: nothing unknown in it, no value of another type, never changed."""

    absent: ClassVar[Absent] = {}
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def refuse(rule: str, fix: str) -> PydanticCustomError:
    """The error of a value that breaks a rule."""
    return PydanticCustomError(BROKEN_RULE, "{rule}; {fix}", {"rule": rule, "fix": fix})


def matching(pattern: str, rule: str, example: str) -> AfterValidator:
    """Text that matches the pattern from end to end."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise refuse(rule, f"write for example {example}")
        return value

    return AfterValidator(check)


def between(low: float, high: float, unit: str = "") -> AfterValidator:
    """A number from ``low`` to ``high``, both included."""
    words = f"from {low:g} to {high:g}{' ' if unit else ''}{unit}"

    def check(value: float) -> float:
        if not low <= value <= high:
            raise refuse(f"must be {words}", f"take a number {words}")
        return value

    return AfterValidator(check)


HYPHENATED = r"[a-z0-9]+(-[a-z0-9]+)*"
_LOWER = "lower-case letters, digits and single hyphens inside"

Slug = Annotated[
    str, matching(rf"(?=.{{5,40}}$){HYPHENATED}", f"must be 5 to 40 {_LOWER}", "iris-service")
]
GroupName = Annotated[
    str, matching(rf"(?=.{{1,63}}$){HYPHENATED}", f"must be 1 to 63 {_LOWER}", "iris-staging")
]
DNS_LABEL = r"(?=.{5,63}$)[a-z][a-z0-9]*(-[a-z0-9]+)*"
DnsLabel = Annotated[
    str, matching(DNS_LABEL, f"must be 5 to 63 {_LOWER}, and begin with a letter", "iris-staging")
]
ResourceGroup = Annotated[
    str,
    matching(
        r"[\w().-]{0,89}[\w()-]",
        "must be 1 to 90 letters, digits, and _ ( ) - . but no . at the end",
        "iris-staging",
    ),
]
RegistryName = Annotated[
    str, matching(r"[a-z0-9]{5,50}", "must be 5 to 50 lower-case letters and digits", "irisservice")
]
Region = Annotated[
    str,
    matching(
        r"[a-z]{4,}[a-z0-9]{0,26}",
        "must be written as the Azure command line writes it: lower-case letters, then digits",
        "westeurope",
    ),
]
Title = Annotated[str, matching(r"[^\r\n]{1,80}", "must be one line of 1 to 80 characters", "Iris")]
GitHubLogin = Annotated[
    str,
    matching(
        r"(?=.{1,39}$)[A-Za-z0-9]+(-[A-Za-z0-9]+)*(_[A-Za-z0-9]+)?",
        "must be a GitHub login: 1 to 39 letters, digits and single hyphens inside",
        "octo-org",
    ),
]
VariableName = Annotated[
    str,
    matching(
        r"[A-Za-z0-9](\w{0,61}[A-Za-z0-9])?",
        "must be 1 to 63 letters, digits and underscores, with no underscore at either end",
        "LOG_LEVEL",
    ),
]
VariableValue = Annotated[
    str,
    matching(
        r"[^\0\ud800-\udfff]+",
        "must be text and not empty: an empty variable means the same to the service as none",
        '"info", or remove the line',
    ),
]
TagName = Annotated[
    str,
    matching(
        r"(?i)(?!microsoft|azure|windows)[^<>%&\\?/\x00-\x1f]{1,512}",
        "must be at most 512 characters without < > % & \\ ? /, and not begin with microsoft, "
        "azure or windows",
        "cost-center",
    ),
]
TagValue = Annotated[str, matching(r"[^\r\n]{0,256}", "must be at most 256 characters", '"1234"')]
# The last part of a name: letters, or those of another script as DNS has them.
_TOP = r"([A-Za-z]{2,63}|xn--[A-Za-z0-9-]{1,59})"
# Who may be written to; whether somebody reads it only a mail can tell.
Email = Annotated[
    str,
    matching(
        rf"[^@\s<>,;:\"()\[\]\\]{{1,64}}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.{_TOP}",
        "must be one e-mail address without a name around it",
        "oncall@example.org",
    ),
]
Domain = Annotated[
    str,
    matching(
        rf"(?=[^A-Z]{{4,253}}$)([a-z0-9]([a-z0-9-]{{0,61}}[a-z0-9])?\.)+{_TOP}",
        "must be a whole domain name in lower-case letters, without https:// and without *",
        "api.example.org",
    ),
]
SubnetId = Annotated[
    str,
    matching(
        r"(?i)/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Network"
        r"/virtualNetworks/[^/]+/subnets/[^/]+",
        "must be Azure's whole id of a subnet",
        "/subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.Network/virtualNetworks/NAME/"
        "subnets/NAME",
    ),
]


def _range(value: str) -> str:
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError:
        network = None
    if network is None or not network.is_private or not 8 <= network.prefixlen <= 27:
        raise refuse(
            "must be a range of private IPv4 addresses, from /8 to /27", "write 10.20.0.0/24"
        )
    return value


PrivateRange = Annotated[str, AfterValidator(_range)]
HttpsUrl = Annotated[
    str, matching(r"https://[!-~]+", "must begin with https://", "https://acme.example.org/dir")
]
HttpPath = Annotated[
    str, matching(r"/[!-~]*", "must be a path that begins with /, without spaces", "/readyz")
]
Port = Annotated[int, between(1, 65535)]

"""Refuse the answers that Azure, GitHub or the service could not live with, all of them at once.

cookiecutter runs this file in the still empty project folder and removes that folder when the
exit code is not 0, so a refusal leaves nothing behind. It runs under the Python that cookiecutter
itself runs under (3.9 or newer) and therefore needs the standard library only.
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

# The answers arrive as data. `tojson` writes every single quote as \u0027 and every line break as
# \n, so no answer can end this raw literal and become code.
CONTEXT: dict[str, object] = json.loads(r'{{ cookiecutter | tojson }}')  # fmt: skip
# {% raw %} From here on braces are Python's.

# A slug that is no folder name would make cookiecutter fail, or write outside the output folder,
# before this hook could explain: cookiecutter.json puts this stand-in in its place.
STAND_IN_SLUG = "refused-answers"

CHOICES = {
    "runs_on": ("aci-cpu", "containerapps-t4", "containerapps-a100", "aci-gpu"),
    "python_version": ("3.13", "3.12", "3.11"),
    "model_format": ("onnx", "joblib"),
}

# What Azure refuses as the name of anything with a public address, as the registry has one (of the
# reserved words those that the slug rule would let through).
RESERVED = re.compile(
    "login.*|.*microsoft.*|.*windows.*|access|azure|bizspark|biztalk|cortana|directx|dotnet"
    "|dynamics|excel|exchange|forefront|groove|hololens|hyperv|kinect|office|office365|onedrive"
    "|onenote|outlook|powerpoint|sharepoint|skype|visio|visualstudio"
)


class Rule(NamedTuple):
    """One demand on one answer, with the words that a refusal needs."""

    answer: str
    passes: Callable[[str], bool]
    demand: str
    example: str
    reason: str
    mend: Callable[[str], str] = str


class Fault(NamedTuple):
    """One refused answer, ready to be printed."""

    answer: str
    value: str
    demand: str
    example: str
    reason: str


def is_printable(text: str, allowed: str = "") -> bool:
    """Tell whether every character may stand in a TOML and in a YAML file.

    Control characters, line separators, halves of surrogate pairs and U+FFFE/U+FFFF may not,
    unless they are among `allowed`.
    """
    return all(
        char in allowed
        or not (unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in "\ufffe\uffff")
        for char in text
    )


def is_plain(text: str) -> bool:
    """Tell whether the text is free of the marks that begin a Jinja expression."""
    return not any(mark in text for mark in ("{{", "{%", "{#"))


def is_title(text: str) -> bool:
    """Tell whether the text fits on one line of at most 80 characters."""
    return bool(text.strip()) and len(text) <= 80 and is_printable(text)


def is_description(text: str) -> bool:
    """Tell whether the text has at most 500 characters; newline and tab count among them."""
    return len(text) <= 500 and is_printable(text, allowed="\n\t")


def is_slug(text: str) -> bool:
    """Tell whether the container groups, DNS labels and registry can be named after the text."""
    well_formed = re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", text) is not None
    return well_formed and len(text) <= 40 and len(text.replace("-", "")) >= 5


def is_free_in_azure(slug: str) -> bool:
    """Tell whether Azure takes the name of the registry for neither a trademark nor reserved."""
    return RESERVED.fullmatch(slug.replace("-", "")) is None


def is_github_login(text: str) -> bool:
    """Tell whether GitHub could have given this name to a user or an organisation."""
    pattern = r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*(_[A-Za-z0-9]+)?"
    return len(text) <= 39 and re.fullmatch(pattern, text) is not None


def is_region(text: str) -> bool:
    """Tell whether the text has the form of a region's programmatic name."""
    return re.fullmatch(r"[a-z]{4,}[a-z0-9]{0,26}", text) is not None


def slug_from(text: str) -> str:
    """Return the nearest text that looks like a slug."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-")


def login_from(text: str) -> str:
    """Return the login at the end of a pasted address or mention."""
    return re.sub(r"^@|/$", "", text.strip()).rsplit("/", 1)[-1]


def region_from(text: str) -> str:
    """Return the programmatic name of a region given by its display name."""
    return re.sub(r"[\s_-]+", "", text).lower()


JINJA_DEMAND = "without {{, {% and {#"
JINJA_REASON = "`cruft update` gives the stored answers to Jinja, which would run them as code"

RULES = (
    Rule(
        "project_name",
        is_title,
        "one line of 1 to 80 characters, not all blank, without control characters",
        "Iris Service",
        "it is the title of the README, of the API and of the image",
    ),
    Rule("project_name", is_plain, JINJA_DEMAND, "Iris Service", JINJA_REASON),
    Rule(
        "project_slug",
        is_slug,
        "5 to 40 lower-case letters, digits and single hyphens inside; a letter first; "
        "at least 5 of them letters or digits",
        "iris-service",
        "container groups, DNS labels and (without its hyphens) the registry are named after it",
        slug_from,
    ),
    Rule(
        "project_slug",
        is_free_in_azure,
        "without `microsoft` and `windows`, not beginning with `login`, not a reserved word",
        "iris-service",
        "Azure answers ReservedResourceName to such a name",
    ),
    Rule(
        "description",
        is_description,
        "at most 500 characters; newline and tab, but no other control characters",
        "Classifies iris flowers from four measurements.",
        "it is written into pyproject.toml, the README and the labels of the image",
    ),
    Rule(
        "description",
        is_plain,
        JINJA_DEMAND,
        "Classifies iris flowers from four measurements.",
        JINJA_REASON,
    ),
    Rule(
        "github_owner",
        is_github_login,
        "a GitHub login: 1 to 39 letters, digits and single hyphens inside "
        "(_ and a short code at the end where an enterprise manages the accounts)",
        "octo-org",
        "Azure trusts the workflows of exactly this owner's repository",
        login_from,
    ),
    Rule(
        "azure_region",
        is_region,
        "a region as the Azure command line writes it: lower-case letters, then digits, no spaces",
        "westeurope",
        "`West Europe` is the display name; `az account list-locations -o table` shows both",
        region_from,
    ),
)


def read_answers(context: dict[str, object]) -> dict[str, str]:
    """Return every answer as text, the slug as the person typed it."""
    answers = {name: str(value) for name, value in context.items() if not name.startswith("_")}
    if answers["project_slug"] == STAND_IN_SLUG:
        answers["project_slug"] = str(context["__slug_as_answered"])
    return answers


def example_for(rule: Rule, value: str) -> str:
    """Return the answer's own mended form where that passes, else the rule's example."""
    mended = rule.mend(value)
    every = [other.passes for other in RULES if other.answer == rule.answer]
    return mended if all(passes(mended) for passes in every) else rule.example


def broken_rules(answers: dict[str, str]) -> list[Fault]:
    """Return a fault for each rule that an answer breaks."""
    return [
        Fault(rule.answer, value, rule.demand, example_for(rule, value), rule.reason)
        for rule, value in ((rule, answers[rule.answer]) for rule in RULES)
        if not rule.passes(value)
    ]


def unknown_choices(answers: dict[str, str]) -> list[Fault]:
    """Return a fault for each choice that is not offered; a replay file can hold one."""
    return [
        Fault(name, answers[name], " | ".join(offered), offered[0], "nothing else is offered")
        for name, offered in CHOICES.items()
        if answers[name] not in offered
    ]


def idle_gpu(answers: dict[str, str]) -> list[Fault]:
    """Return a fault where a joblib model would leave a paid GPU idle."""
    place, model_format = answers["runs_on"], answers["model_format"]
    if model_format != "joblib" or place not in CHOICES["runs_on"] or place == "aci-cpu":
        return []
    return [
        Fault(
            "model_format",
            model_format,
            f"onnx where runs_on is {place}; joblib only where runs_on is aci-cpu",
            "onnx (or keep joblib and answer runs_on with aci-cpu)",
            "scikit-learn has no CUDA path, so the GPU would be paid for and stay idle",
        )
    ]


def find_faults(answers: dict[str, str]) -> list[Fault]:
    """Return everything that is wrong with the answers, in the order of the questions."""
    faults = broken_rules(answers) + unknown_choices(answers) + idle_gpu(answers)
    order = [rule.answer for rule in RULES] + list(CHOICES)
    return sorted(faults, key=lambda fault: order.index(fault.answer))


def shown(value: str) -> str:
    """Return the value as one readable line of bounded length."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:80]}... ({len(value)} characters)"


def describe(faults: list[Fault]) -> str:
    """Return the message for the person who gave the answers."""
    count = "1 answer is" if len(faults) == 1 else f"{len(faults)} answers are"
    lines = [f"{count} refused, and nothing was written:"]
    for fault in faults:
        lines += [
            "",
            f"  {fault.answer} = {shown(fault.value)}",
            f"    rule:    {fault.demand}",
            f"    reason:  {fault.reason}",
            f"    passes:  {fault.example}",
        ]
    return "\n".join(lines)


def warn_of_retired_gpu(answers: dict[str, str]) -> None:
    """Say plainly that a GPU on Azure Container Instances no longer exists."""
    if answers["runs_on"] == "aci-gpu":
        print(
            "WARNING: runs_on = aci-gpu. Microsoft retired GPUs on Azure Container Instances on"
            " 2025-07-14, and the deploy of this project will refuse to ask for one. For a GPU,"
            " generate it again with runs_on = containerapps-t4 or containerapps-a100.",
            file=sys.stderr,
        )


def main() -> int:
    """Check all answers; return 0 if the project may be written, else 1."""
    answers = read_answers(CONTEXT)
    faults = find_faults(answers)
    if faults:
        print(f"\n{describe(faults)}\n", file=sys.stderr, flush=True)
        return 1
    warn_of_retired_gpu(answers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
# {% endraw %}

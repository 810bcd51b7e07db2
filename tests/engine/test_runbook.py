"""The runbook covers every alert; commands, settings, addresses and links in it exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import httpx
import pytest
import yaml
from engine.deploy.__main__ import COMMANDS, _parser
from engine.serving.settings import Settings

from tests.engine.project import ROOT

TEXT = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
ALERTS = re.findall(r"- alert: (\w+)", (ROOT / "engine" / "monitoring" / "alerts.yml").read_text())
AZURE_ONLY = ["BudgetNearLimit"]
SECTION = re.compile(r"^## (.+)\n((?:(?!^## ).*\n?)*)", re.M)
PARTS = ("**Means**", "**See**", "**Fix**", "**Go back**")
BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```$", re.M | re.S)
INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
DEPLOY = re.compile(r"python -m engine.deploy ([^|#;&]+)")
MAKE = re.compile(r"(?:^|\s)make ([^|#;&]+)")
MAKEFILE = (ROOT / "engine" / "make.mk").read_text(encoding="utf-8")
# Not settings: what the reader puts in.
OTHER_NAMES = {"REVISION", "NAME"}


def commands() -> Iterator[str]:
    """Every line of a block, and everything else that is set as code."""
    without = TEXT
    for block in BLOCK.finditer(TEXT):
        yield from (line.strip() for line in block[1].splitlines())
        without = without.replace(block[0], "")
    yield from (" ".join(found[1].split()) for found in INLINE.finditer(without))


def test_there_are_commands() -> None:
    assert len([each for each in commands() if DEPLOY.search(each)]) > 10


@pytest.mark.parametrize("alert", [*ALERTS, *AZURE_ONLY])
def test_every_alert_has_a_section_that_leads_out(alert: str) -> None:
    sections = dict(SECTION.findall(TEXT))
    assert alert in sections
    places = [sections[alert].find(part) for part in PARTS]
    assert -1 not in places
    assert places == sorted(places)


def test_the_addresses_in_the_alerts_are_those_of_the_sections() -> None:
    content = yaml.safe_load(
        (ROOT / "engine" / "monitoring" / "alerts.yml").read_text(encoding="utf-8")
    )
    for rule in content["groups"][0]["rules"]:
        _, _, anchor = rule["annotations"]["runbook_url"].partition("/docs/runbook.md#")
        assert anchor in {slug(title) for title, _ in SECTION.findall(TEXT)}


def test_every_deploy_command_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    for line in commands():
        for found in DEPLOY.findall(line):
            try:
                _parser().parse_args(shlex.split(found))
            except SystemExit:
                # A command may be named alone; with arguments it has to be right.
                error = capsys.readouterr().err
                alone = found.split()[0] in COMMANDS and "required" in error
                assert alone and len(found.split()) == 1, f"{line}\n{error}"


def test_every_make_target_and_variable_is_one() -> None:
    targets = set(re.findall(r"^([a-z-]+|\$\(VENV\)/\.\w+):", MAKEFILE, re.M))
    targets = {each.replace("$(VENV)", ".venv") for each in targets}
    seen = 0
    for line in commands():
        for found in MAKE.findall(line):
            target, *variables = found.split()
            assert target in targets, line
            for each in variables:
                name = each.partition("=")[0]
                assert re.search(rf"\$\(call (option,--\w+|argument),{name}\)", MAKEFILE), line
            seen += 1
    assert seen > 5


def test_every_setting_is_one() -> None:
    known = {name.upper() for name in Settings.model_fields} | OTHER_NAMES
    named = {
        each.partition("=")[0]
        for each in commands()
        if re.fullmatch(r"[A-Z][A-Z_]{3,}(=\S*)?", each)
    }
    assert named - known == set()
    assert len(named) > 10


def test_every_address_answers(sample: httpx.Client) -> None:
    paths = {path for each in commands() for path in re.findall(r'"\$URL(/[\w/]*)"', each)}
    assert len(paths) > 4
    for path in paths:
        assert sample.get(path.replace("NAME", "sides")).status_code != 404, path


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert links
    for link in links:
        file, _, anchor = link.partition("#")
        target = ROOT / "docs" / file if file else ROOT / "docs" / "runbook.md"
        headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.M)
        assert not anchor or anchor in {slug(heading) for heading in headings}, link


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")

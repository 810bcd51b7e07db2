"""Exceptions of the vulnerability scan: with a reason and a last day, or one sentence."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from engine.upkeep import vulnerabilities
from engine.upkeep.vulnerabilities import FILE, today

SOON = (today() + timedelta(days=30)).isoformat()
OVER = (today() - timedelta(days=1)).isoformat()
FAR = (today() + timedelta(days=400)).isoformat()
REASON = "no request reaches the parser that has it"


def printed(root: Path, text: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    (root / "deploy").mkdir()
    (root / FILE).write_text(text, encoding="utf-8")
    code = vulnerabilities.main(root)
    shown = capsys.readouterr()
    return code, shown.out if code == 0 else shown.err


def test_without_the_file_nothing_is_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vulnerabilities.main(tmp_path) == 0
    assert json.loads(capsys.readouterr().out) == {"ignore": []}


@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("day", [SOON, today().isoformat()])
# Members of Grype's IgnoreRule (grype/match/ignore.go); it applies to exactly this identifier.
def test_an_exception_becomes_a_rule_of_grype(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], day: str, quote: str
) -> None:
    text = f"allowed:\n- id: CVE-2026-12345\n  reason: {REASON}\n  until: {quote}{day}{quote}\n"
    text += f"- {{id: GHSA-abcd-2345-wxyz, reason: {REASON}, until: {SOON}}}\n"
    code, shown = printed(tmp_path, text, capsys)
    assert code == 0, shown
    assert json.loads(shown)["ignore"] == [
        {"vulnerability": name, "reason": REASON}
        for name in ("CVE-2026-12345", "GHSA-abcd-2345-wxyz")
    ]


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"until": OVER}, "allowed[0].until", "the exception has run out; take the version"),
        ({"until": FAR}, "allowed[0].until", "must be within a year; look at it again by then"),
        ({"until": "soon"}, "allowed[0].until", "must be a day, as YYYY-MM-DD; write for example"),
        ({"until": None}, "allowed[0].until", ""),
        ({"reason": "because"}, "allowed[0].reason", "must say why in one line"),
        ({"reason": None}, "allowed[0].reason", ""),
        ({"id": "CVE-26-1"}, "allowed[0].id", "must be the identifier that the scan shows"),
        ({"reasons": "zlib"}, "allowed[0].reasons", "did you mean reason?"),
    ],
)
def test_a_fault_is_one_sentence(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, str | None],
    field: str,
    words: str,
) -> None:
    one = {"id": "CVE-2026-12345", "reason": REASON, "until": SOON, **change}
    fields = ", ".join(f"{name}: '{value}'" for name, value in one.items() if value)
    code, shown = printed(tmp_path, f"allowed: [{{{fields}}}]\n", capsys)
    assert code == 2
    [line] = [each for each in shown.splitlines() if FILE in each]
    assert f"{field} is " in line
    assert words in line


def test_all_faults_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = f"{{id: x, reason: y, until: {OVER}}}"
    _, shown = printed(tmp_path, f"allowed: [{bad}, {bad}]\nignored: []\n", capsys)
    assert "has 7 fault(s)" in shown

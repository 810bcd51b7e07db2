"""Bad answers: each is named with value, rule and an answer that passes; nothing is kept."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cookiecutter.exceptions import FailedHookException

from .conftest import REPOSITORY, Render, questions

pytestmark = pytest.mark.sampled

GPU_PLACES = ("containerapps-t4", "containerapps-a100", "aci-gpu")

# answer, value, words of the rule that it breaks, the answer that is offered instead
BAD_ANSWERS = [
    ("project_name", "", "not all blank", "Iris Service"),
    ("project_name", " \u00a0 ", "not all blank", "Iris Service"),
    ("project_name", "x" * 81, "1 to 80 characters", "Iris Service"),
    ("project_name", "Iris\nService", "one line", "Iris Service"),
    ("project_name", "Iris\u2028Service", "one line", "Iris Service"),
    ("project_name", "Iris\tService", "without control characters", "Iris Service"),
    ("project_name", "Iris\x1b[31m", "without control characters", "Iris Service"),
    ("project_name", "Iris \ud83c", "without control characters", "Iris Service"),
    ("project_slug", "", "5 to 40", "iris-service"),
    ("project_slug", ".", "5 to 40", "iris-service"),
    ("project_slug", "..", "5 to 40", "iris-service"),
    ("project_slug", "iris", "5 to 40", "iris-service"),
    ("project_slug", "i-r-i-s", "at least 5 of them letters or digits", "iris-service"),
    ("project_slug", "x" * 41, "5 to 40", "x" * 40),
    ("project_slug", "x" * 300, "5 to 40", "x" * 40),
    ("project_slug", "Iris_Service", "lower-case", "iris-service"),
    ("project_slug", "2nd-model", "a letter first", "iris-service"),
    ("project_slug", "iris--service", "single hyphens", "iris-service"),
    ("project_slug", "-iris-service", "a letter first", "iris-service"),
    ("project_slug", "iris-service-", "hyphens inside", "iris-service"),
    ("project_slug", "iris-service\n", "lower-case", "iris-service"),
    ("project_slug", "octo-org/iris", "lower-case", "octo-org-iris"),
    ("project_slug", "../iris-service", "lower-case", "iris-service"),
    ("project_slug", "iris\x00service", "lower-case", "iris-service"),
    ("project_slug", "irís-service", "lower-case", "ir-s-service"),
    ("project_slug", "micro-soft-iris", "without `microsoft`", "iris-service"),
    ("project_slug", "my-windows", "`windows`", "iris-service"),
    ("project_slug", "login-model", "not beginning with `login`", "iris-service"),
    ("project_slug", "share-point", "reserved word", "iris-service"),
    ("description", "x" * 501, "at most 500 characters", "Classifies iris"),
    ("description", "bell \x07", "no other control characters", "Classifies iris"),
    ("description", "next\u0085line", "no other control characters", "Classifies iris"),
    ("description", "half of a pair \ud83c", "no other control characters", "Classifies iris"),
    ("description", "no character \ufffe", "no other control characters", "Classifies iris"),
    ("github_owner", "", "GitHub login", "octo-org"),
    ("github_owner", "octo--org", "single hyphens", "octo-org"),
    ("github_owner", "octo-", "hyphens inside", "octo-org"),
    ("github_owner", "x" * 40, "1 to 39", "octo-org"),
    ("github_owner", "@octo-cat", "GitHub login", "octo-cat"),
    ("github_owner", "https://github.com/octo-cat/", "GitHub login", "octo-cat"),
    ("github_owner", "octo_cat_org", "GitHub login", "octo-org"),
    ("azure_region", "", "a region", "westeurope"),
    ("azure_region", "West Europe", "no spaces", "westeurope"),
    ("azure_region", "West US 2", "no spaces", "westus2"),
    ("azure_region", "west-europe", "lower-case letters", "westeurope"),
    ("azure_region", "2west", "lower-case letters", "westeurope"),
    ("azure_region", "westeurope\n", "no spaces", "westeurope"),
]


@pytest.fixture(scope="module")
def template(light_template: Path) -> Path:
    """Most of these tests render."""
    return light_template


def refusal(
    render_into: Render, output: Path, capfd: pytest.CaptureFixture[str], **answers: str
) -> str:
    """Return the message for answers that must be refused without leaving anything behind."""
    output.mkdir()
    before = sorted(output.parent.iterdir())
    with pytest.raises(FailedHookException):
        render_into(output, **answers)
    assert list(output.iterdir()) == []
    assert sorted(output.parent.iterdir()) == before
    return capfd.readouterr().err


@pytest.mark.parametrize(("answer", "value", "rule", "example"), BAD_ANSWERS)
def test_a_bad_answer_is_refused_with_value_rule_and_example(
    answer: str,
    value: str,
    rule: str,
    example: str,
    render_into: Render,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    bad = {"project_slug": "iris-service", answer: value}
    message = refusal(render_into, tmp_path / "out", capfd, **bad)
    assert "1 answer is refused, and nothing was written" in message
    assert f"{answer} = {ascii(value)[:60].rstrip(chr(39))}" in message.encode(
        "ascii", "backslashreplace"
    ).decode("ascii")
    assert rule in message
    assert f"passes:  {example}" in message


@pytest.mark.parametrize("place", GPU_PLACES)
def test_a_joblib_model_on_a_gpu_is_refused_with_both_ways_out(
    place: str, render_into: Render, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    message = refusal(render_into, tmp_path / "out", capfd, runs_on=place, model_format="joblib")
    assert f"onnx where runs_on is {place}" in message
    assert "no CUDA path" in message
    assert "answer runs_on with aci-cpu" in message


def test_all_faults_are_reported_at_once_in_the_order_of_the_questions(
    render_into: Render, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    message = refusal(
        render_into,
        tmp_path / "out",
        capfd,
        project_name="",
        project_slug="a/b/c",
        description="\x07",
        github_owner="-",
        azure_region="West Europe",
        runs_on="containerapps-t4",
        model_format="joblib",
    )
    assert "6 answers are refused" in message
    named = [line.split(" = ")[0].strip() for line in message.splitlines() if " = " in line]
    asked = [name for name in questions() if name in named]
    assert named == asked
    assert set(asked) == set(questions()) - {"runs_on", "python_version"}


def test_a_slug_that_is_an_absolute_path_makes_no_folder_there(
    render_into: Render, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere" / "deep"
    message = refusal(render_into, tmp_path / "out", capfd, project_slug=str(elsewhere))
    assert f"project_slug = {str(elsewhere)!r}" in message
    assert not elsewhere.parent.exists()


def test_a_short_name_gets_a_slug_that_is_long_enough(render: Render) -> None:
    assert render(project_name="Iris").name == "iris-service"


def test_the_command_line_refuses_what_is_typed_and_exits_with_1(
    type_answers: Callable[..., Any], tmp_path: Path
) -> None:
    process = type_answers("Iris Service", "octo/iris", "", "octo org", "West Europe", "2", "", "2")
    assert process.returncode == 1
    assert "4 answers are refused" in process.stderr
    for value in ("'octo/iris'", "'octo org'", "'West Europe'", "'joblib'"):
        assert value in process.stderr
    assert list((tmp_path / "typed").iterdir()) == []


@pytest.mark.parametrize("answer", ["project_name", "description"])
@pytest.mark.parametrize("code", ["{{ 7 * 7 }}", "{% raw %}", "{# nothing #}"])
def test_jinja_that_is_typed_is_refused_and_not_run(
    answer: str, code: str, type_answers: Callable[..., Any], tmp_path: Path
) -> None:
    # Typed, because cookiecutter itself renders what comes after --no-input on its own command
    # line, and every stored answer when `cruft update` runs: there, before any hook can look.
    lines = [code, "iris-service"] if answer == "project_name" else ["", "", code]
    process = type_answers(*lines)
    assert process.returncode == 1
    assert f"{answer} = {code!r}" in process.stderr
    assert "without {{, {% and {#" in process.stderr
    assert "cruft update" in process.stderr
    assert list((tmp_path / "typed").iterdir()) == []


def test_a_replay_file_with_an_unknown_choice_is_refused(
    type_answers: Callable[..., Any], render: Render, settings_file: Path, tmp_path: Path
) -> None:
    render()
    (record,) = (settings_file.parent / "replay").glob("*.json")
    context = json.loads(record.read_text(encoding="utf-8"))
    context["cookiecutter"].update(runs_on="aks", python_version="2.7", model_format="pickle")
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(context), encoding="utf-8")
    process = type_answers(options=("--replay-file", str(edited)))
    assert process.returncode == 1
    assert "3 answers are refused" in process.stderr
    assert "rule:    3.13 | 3.12 | 3.11" in process.stderr
    assert list((tmp_path / "typed").iterdir()) == []


def load_hook(folder: Path) -> dict[str, Any]:
    """Return the names that the hook defines, without running its check."""
    text = (REPOSITORY / "hooks" / "pre_gen_project.py").read_text(encoding="utf-8")
    script = folder / "hook.py"
    script.write_text(text.replace("{{ cookiecutter | tojson }}", "{}"), encoding="utf-8")
    return runpy.run_path(str(script), run_name="hook")


def test_the_hook_knows_the_same_choices_as_the_questions(tmp_path: Path) -> None:
    offered = {name: tuple(v) for name, v in questions().items() if isinstance(v, list)}
    assert load_hook(tmp_path)["CHOICES"] == offered


def test_every_example_passes_every_rule_of_its_answer(tmp_path: Path) -> None:
    rules = load_hook(tmp_path)["RULES"]
    broken = [
        (rule.answer, rule.example, other.demand)
        for rule in rules
        for other in rules
        if other.answer == rule.answer and not other.passes(rule.example)
    ]
    assert broken == []


def test_every_answer_is_checked(tmp_path: Path) -> None:
    names = load_hook(tmp_path)
    assert {rule.answer for rule in names["RULES"]} | set(names["CHOICES"]) == set(questions())

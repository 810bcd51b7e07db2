"""The questions: few, each explained, each choice explained, the retired one with its date."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import REPOSITORY, questions

CONTEXT: dict[str, Any] = json.loads((REPOSITORY / "cookiecutter.json").read_text(encoding="utf-8"))
PROMPTS: dict[str, Any] = CONTEXT["__prompts__"]


def test_there_are_at_most_eight_questions() -> None:
    assert len(questions()) <= 8


def test_every_question_is_explained_and_nothing_else_is() -> None:
    assert list(PROMPTS) == list(questions())


@pytest.mark.parametrize("name", questions())
def test_a_prompt_says_more_than_the_name_of_the_question(name: str) -> None:
    prompt = PROMPTS[name]
    text = prompt if isinstance(prompt, str) else prompt["__prompt__"]
    assert len(text.split()) >= 3
    assert name not in text


@pytest.mark.parametrize("name", [n for n, value in questions().items() if isinstance(value, list)])
def test_every_choice_is_explained_and_nothing_else_is(name: str) -> None:
    texts = dict(PROMPTS[name])
    texts.pop("__prompt__")
    assert list(texts) == questions()[name]
    assert all(len(text.split()) >= 3 for text in texts.values())


def test_no_prompt_holds_the_brackets_of_rich_markup() -> None:
    assert "[" not in json.dumps(PROMPTS)


def test_the_gpu_on_container_instances_is_said_to_be_retired_with_its_date() -> None:
    text = PROMPTS["runs_on"]["aci-gpu"]
    assert "RETIRED" in text
    assert "2025-07-14" in text
    assert "Container Apps" in text


def test_the_retired_choice_is_the_last_one_and_never_the_default() -> None:
    assert CONTEXT["runs_on"][-1] == "aci-gpu"


def test_the_defaults_need_no_thought() -> None:
    assert CONTEXT["runs_on"][0] == "aci-cpu"
    assert CONTEXT["model_format"][0] == "onnx"
    assert CONTEXT["python_version"] == ["3.13", "3.12", "3.11"]
    # It stays when the sample is replaced; what the sample predicts is in its manifest.
    assert "iris" not in CONTEXT["description"].lower()

"""Hostile but legal answers: they come out as they went in, and none of them is run as code."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import Render

pytestmark = pytest.mark.sampled

# The longest texts that pass, and every character that some format of the project is touchy about.
NAMES = [
    'It\'s "quoted" `twice`',
    "back\\slash at the end\\",
    '""" closes a docstring',
    "''' and \\' and \\\" and \\n",
    "#{hash} $HOME ${HOME} $(id) %PATH% & < > | ; *",
    "- yaml: [list, {map: 1}] # comment",
    "</script><b>bold</b> &amp;",
    "Prévision d'été: 鸢尾花 \u202b\u05e9\u202c",
    "🌸 iris 👩‍🔬 \U0001f1ea\U0001f1fa",
    "}} %} #} are no beginnings",
    "null",
    "1e3",
    "x" * 80,
]
DESCRIPTIONS = [
    "",
    "First line.\nSecond line\twith a tab.\n\n  Fourth, indented.\n",
    "\n\\\n\"\n'\n",
    "ends in a backslash\\",
    "- [ ] {a: b}: c # d\n---\n...\n%YAML 1.1\n[table]\nkey = 1",
    "Long: " + "äß🌸 " * 123,
]


@pytest.fixture(scope="module")
def template(light_template: Path) -> Path:
    """Most of these tests render."""
    return light_template


def literal_of(project: Path, key: str) -> str:
    """Return the text to the right of `key =` in pyproject.toml."""
    text = (project / "pyproject.toml").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^{key} = (.*)$", text, flags=re.MULTILINE)
    return str(found)


def slug_for(texts: list[str], text: str) -> str:
    """Return a slug of its own for each text, because not every text could give one."""
    return f"hostile-{texts.index(text)}"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_comes_out_as_it_went_in(name: str, render: Render) -> None:
    project = render(project_name=name, project_slug=slug_for(NAMES, name))
    pyproject = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    deployment = yaml.safe_load((project / "deploy/project.yaml").read_text(encoding="utf-8"))
    assert pyproject["tool"]["service"]["title"] == name
    assert deployment["title"] == name
    assert name in (project / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("description", DESCRIPTIONS)
def test_a_description_comes_out_as_it_went_in(description: str, render: Render) -> None:
    project = render(description=description, project_slug=slug_for(DESCRIPTIONS, description))
    pyproject = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    assert pyproject["project"]["description"] == description


@pytest.mark.parametrize("read", [json.loads, ast.literal_eval, yaml.safe_load])
@pytest.mark.parametrize("text", DESCRIPTIONS)
def test_a_literal_means_the_same_in_json_python_and_yaml(
    text: str, read: Callable[[str], Any], render: Render
) -> None:
    project = render(description=text, project_slug=slug_for(DESCRIPTIONS, text))
    assert read(literal_of(project, "description")) == text


@pytest.mark.parametrize("owner", ["null", "1e3", "0x10", "yes", "octo_acme", "X" * 39])
def test_an_owner_stays_text_in_yaml(owner: str, render: Render) -> None:
    project = render(github_owner=owner)
    deployment = yaml.safe_load((project / "deploy/project.yaml").read_text(encoding="utf-8"))
    assert deployment["owner"] == owner


@pytest.mark.parametrize("slug", ["false", "x" * 40, "a-b-c-d-e", "model-2-b"])
def test_a_slug_stays_text_and_names_everything_in_azure(slug: str, render: Render) -> None:
    project = render(project_slug=slug)
    deployment = yaml.safe_load((project / "deploy/project.yaml").read_text(encoding="utf-8"))
    assert deployment["name"] == slug
    assert re.fullmatch(r"[a-z0-9]{5,50}", deployment["registry"])
    for stage in ("staging", "production"):
        file = project / f"deploy/environments/{stage}.yaml"
        environment = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert environment["name"] == environment["resource_group"] == f"{slug}-{stage}"
        assert 5 <= len(environment["name"]) <= 63


def test_a_long_slug_is_cut_where_a_container_app_is_named_after_it(render: Render) -> None:
    project = render(project_slug="a" * 20 + "-" + "b" * 19, runs_on="containerapps-t4")
    file = project / "deploy/environments/production.yaml"
    environment = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert environment["name"] == "a" * 20 + "-production"
    assert environment["resource_group"] == "a" * 20 + "-" + "b" * 19 + "-production"


@pytest.mark.parametrize(
    "code",
    [
        "$(touch {})",
        "`touch {}`",
        "'; touch {}; '",
        '"; touch {}; "',
        "' + open('{}', 'w') + '",
        "'); open('{}', 'w') #",
        '"""; open("{}", "w"); """',
        "\\'; open('{}', 'w') #",
        "!!python/object/apply:os.mknod ['{}']",
    ],
)
def test_code_in_an_answer_is_not_run(code: str, render_into: Render, tmp_path: Path) -> None:
    mark = tmp_path / "m"
    attack = code.replace("{}", str(mark))
    project = render_into(
        tmp_path, project_name=code.replace("{}", "m"), description=attack, project_slug="attack"
    )
    pyproject = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    assert pyproject["project"]["description"] == attack
    assert not mark.exists()
    assert not (project / "m").exists()


def test_a_typed_answer_means_the_same_as_one_given_as_data(
    type_answers: Callable[..., Any], render: Render, tmp_path: Path
) -> None:
    name, description = NAMES[0], 'It\'s C:\\temp\\ "x" 🌸 }} #{a}'
    process = type_answers(name, "typed-in", description)
    assert process.returncode == 0, process.stderr
    typed = tmp_path / "typed" / "typed-in" / "pyproject.toml"
    given = render(project_name=name, project_slug="typed-in", description=description)
    assert typed.read_text(encoding="utf-8") == (given / "pyproject.toml").read_text("utf-8")

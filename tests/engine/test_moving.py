"""An environment's file for another kind of place: the fields of one kind wait as comments."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from engine.deploy.config.moving import moved
from engine.errors import EngineError

COMMON = """\
# An environment.
region: westeurope # where
resource_group: iris-staging
name: iris-staging
cpu: 1
"""
GROUP = f"""{COMMON}target: aci # aci or containerapps
memory_gb: 1.5 # enough
# on containerapps: memory_gb: 2
copies: 2 # behind one name

dns:
  # Who may take the label.
  reuse: Noreuse
# on containerapps: replicas:
# on containerapps:   min: 0
variables:
  LOG_LEVEL: "info"
secrets:
- API_KEYS
"""


def fields(text: str) -> dict[str, object]:
    found = yaml.safe_load(text)
    assert isinstance(found, dict)
    return found


def test_what_one_kind_has_is_a_comment_at_the_other_and_comes_back() -> None:
    app = moved(GROUP, "containerapps")
    common = fields(COMMON) | {"variables": {"LOG_LEVEL": "info"}, "secrets": ["API_KEYS"]}
    assert fields(app) == common | {
        "target": "containerapps",
        "memory_gb": 2,
        "replicas": {"min": 0},
    }
    assert "target: containerapps # aci or containerapps" in app
    assert "\n  # Who may take the label." not in app, "it goes with its field"
    back = moved(app, "aci")
    assert fields(back) == fields(GROUP)
    assert moved(back, "containerapps") == app, "nothing is lost on the way"


@pytest.mark.parametrize("spelt", ['"target": "aci"', "target: 'aci'", "target:    aci"])
def test_the_one_word_is_found_as_people_write_it(spelt: str) -> None:
    assert fields(moved(f"{spelt}\n{COMMON}", "containerapps"))["target"] == "containerapps"


def test_a_part_of_a_section_is_taken_out_of_it() -> None:
    text = f"{COMMON}target: aci\nhttps:\n  email: ops@example.org\n  domains: [api.example.org]\n"
    assert fields(moved(text, "containerapps"))["https"] == {"domains": ["api.example.org"]}
    braces = f"{COMMON}target: aci\nhttps: {{email: ops@example.org, domains: [a.example.org]}}\n"
    with pytest.raises(EngineError, match=r"https\.email is in braces, and containerapps"):
        moved(braces, "containerapps")


def test_the_file_of_a_new_project_can_move_but_for_its_memory() -> None:
    text = Path("deploy/environments/staging.yaml").read_text()
    there = moved(text, "containerapps")
    kept = fields(text).keys() - {"copies", "switch", "dns", "container_logs"}
    assert fields(there) == {key: fields(text)[key] for key in kept} | {"target": "containerapps"}

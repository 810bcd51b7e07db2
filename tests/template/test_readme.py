"""The README of a generated repository stays a page."""

from __future__ import annotations

import re

from tests.template.conftest import Render


def test_it_is_read_in_five_minutes(render: Render) -> None:
    """At 250 words a minute, what is to be typed left out."""
    text = (render() / "README.md").read_text(encoding="utf-8")
    assert len(re.sub(r"^```.*?^```", "", text, flags=re.M | re.S).split()) <= 1250

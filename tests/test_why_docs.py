"""docs/why.md says what is measured: its Python runs, its families and mistakes are those of the tests."""

from __future__ import annotations

import re
from pathlib import Path

from why_families import FAMILIES
from why_mistakes import MISTAKES

PAGE = (Path(__file__).parents[1] / "docs" / "why.md").read_text(encoding="utf-8")


def test_every_family_and_every_mistake_stands_on_the_page():
    for family in FAMILIES:
        assert f"\n| {family} | " in PAGE
    for mistake in MISTAKES:
        assert f"\n| {mistake.meaning} | {mistake.family} | " in PAGE
    assert f"{len(MISTAKES)} mistakes that attributions make were planted, one at a time: {len(MISTAKES)} were" in PAGE
    assert "**none**" not in PAGE


def test_its_calls_are_those_of_the_lab():
    from inspector import lab

    called = set(re.findall(r"lab\.(\w+)\(", PAGE))
    assert called <= set(lab.__all__)
    assert {"attribution", "score_parts", "explain", "token_importance"} <= called

"""docs/reliability.md and security.md: every test they name exists, and runs as often as it is said."""

from __future__ import annotations

import importlib
import re
from math import prod
from pathlib import Path
from typing import Any

import fuzz
import pytest

DOCS = Path(__file__).parent.parent / "docs"
DOCUMENT, SECURITY = ((DOCS / f"{name}.md").read_text(encoding="utf-8") for name in ("reliability", "security"))
ROWS = re.findall(r"^\| .+ \| ([\d ×]+) \| `(test_\w+)\.py::(test_\w+)` \|$", DOCUMENT, re.MULTILINE)
NAMED = re.findall(r"`(test_\w+)\.py::(test_\w+)`", DOCUMENT + SECURITY)


def often(test: Any) -> list[int]:
    """How often a test runs: its parameters, and its examples where it is a property."""
    marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
    times = prod(len(list(mark.args[1])) for mark in marks)
    settings = getattr(test, "_hypothesis_internal_use_settings", None)
    examples = settings.max_examples // fuzz.TIMES if settings is not None else None
    return [times] if examples is None else [examples] if not marks else [times, examples]


def test_every_test_it_names_exists():
    assert len(NAMED) > 55
    assert SECURITY.count("::test_") > 15
    for module, name in NAMED:
        assert callable(getattr(importlib.import_module(module), name)), f"{module}.{name}"


@pytest.mark.parametrize(("said", "module", "name"), ROWS, ids=lambda value: value)
def test_it_runs_as_often_as_said(said, module, name):
    assert [int(number) for number in said.split("×")] == often(getattr(importlib.import_module(module), name))


def test_a_wrong_count_would_be_seen():
    assert len(ROWS) == DOCUMENT.count("\n| ") - 2 * DOCUMENT.count("\n| ---")
    found = importlib.import_module("test_any_prompt")
    assert often(found.test_any_text_of_any_tokenizer) == [6, 120]
    assert often(found.test_unlucky_lengths) == [7]


def test_the_number_of_kills_is_the_documents():
    kills = importlib.import_module("test_faults").KILLS
    assert (
        f"{kills['save']} × saving, {kills['capture']} × `capture --out`, {kills['convert']} × converting" in DOCUMENT
    )

"""Edits of attention obey their laws in every family, and planted mistakes of a lab each break one."""

from __future__ import annotations

from pathlib import Path

import lab_mistakes
import pytest
import tiny
from lab_laws import FAMILIES, LAWS, Bench, tiny_model
from lab_mistakes import MISTAKES

N = 12
QUICK = ("llama", "gemma2", "gemma3_text", "gpt_neox", "cohere", "gpt_oss")  # each does something the others do not


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    return {}


def bench(family: str, made: dict[str, Bench], folder: Path) -> Bench:
    if family not in made:
        made[family] = Bench(tiny_model(family, folder), tiny.ids(N), tiny.ids(N + 5)[5:])
    return made[family]


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in FAMILIES]
)
def test_laws_hold(family, benches, tmp_path):
    b = bench(family, benches, tmp_path)
    missed = {law.name: (law.measure(b), law.tolerance) for law in LAWS}
    assert not {name: found for name, found in missed.items() if not found[0] <= found[1]}


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.name for mistake in MISTAKES])
def test_a_planted_mistake_breaks_a_law(mistake, benches, tmp_path):
    b = bench(mistake.family, benches, tmp_path)
    assert next(lab_mistakes.broken(mistake, b), None), f"no law notices: {mistake.meaning}"


def test_there_are_at_least_twelve_mistakes():
    assert len(MISTAKES) >= 12

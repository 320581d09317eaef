"""README and docs: their Python runs and says what its comments claim; their links lead somewhere."""

import re
from pathlib import Path

import plan
import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def blocks(page: Path) -> str:
    return "\n".join(re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL))


@pytest.mark.packaged
def test_the_readmes_python_runs_and_its_comments_are_true(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # what it saves goes there, not into the checkout
    names: dict = {}
    exec(compile(blocks(ROOT / "README.md"), "README.md", "exec"), names)  # noqa: S102  (our own file)
    trace = names["trace"]
    assert trace.tokens.labels == ("H", "ou", "ston", ",", "␣we", "␣have", "␣a", "␣problem")
    assert trace.weights(5, 2).shape == (8, 8)
    assert trace.query(5, 2).shape == (8, 64)
    assert trace.head_output(5, 2).shape == (8, 576)
    printed = capsys.readouterr().out
    assert "Reproduced bit for bit at every stage of all 30 layers" in printed
    assert printed.count("24 planted, 24 caught") >= 1  # README names this number
    assert "\nyour cache has positions that start at 0 again in each call" in printed
    assert (tmp_path / "head.html").read_text(encoding="utf-8").startswith("<!")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_make_targets_that_are_named_exist(page):
    text = page.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:inspector|reimpl|tests|docs|benchmarks)/[\w./]*)`", text):
        assert (ROOT / path).exists(), path
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`make ([\w-]+)", text):
        assert f"\n{target}:" in makefile, target


def test_the_plan_in_the_tour_is_drawn_from_todays_imports():
    text = plan.TOUR.read_text(encoding="utf-8")
    assert plan.with_plan(text) == text, "python -m tests.plan draws it anew"
    assert len(plan.ordered(plan.knows())) == len(plan.rooms())

"""Words that readers did not understand stay out of what they read: the app, files, reports, README, docs, notebook."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# What was said -> what is said. Each was read by people who did not know how this was made.
WORDS = {
    r"How to read it\.": "a caption under the picture",
    "Which heads?": "Sort heads by",
    "Look(s)? at (themselves|widely|few tokens)": "Attends to itself, broadly, narrowly",
    "Look back 1": "Previous token",
    "Leave unpainted": "Hide weights below",
    "Let the model go on by": "Write n more tokens",
    "Try one with something to see": "Choose an example",
    "To see here:": "Look for:",
    "(With|Without) the first token / ": "Hide first token",
    "Point at a cell": "Hover for exact values; click to lock",
    "offers to be found": "advertises",
    "how this pair's score comes about": "Explain this score",
    "made by position": "from position",
    "Turning changes no length": "Rotation preserves length",
    "common factor sharpens": "Scaling sharpens. Adding a constant changes nothing.",
    "as wide as .{1,20} numbers alike": "like n equally likely options",
    "meant is the token": "using the token",
    "is no word of": "does not occur in",
    "2 n costs": "cost of doubling n",
    "no other token gets more": "It is the top token in n heads",
    "this page stops here": "(nothing)",
    "leaves no room for": "checks that do not apply",
    "Put in the model's place": "Swapped into the model",
    "takes roughly": "about",
    "rotation frequencies carry": "Score by rotation frequency",
    "The documents' numbers": "Reset",
    "tensor nobody builds": "the full tensor",
    "that was run held|stage held|stages held|, held$": "passed",
    r"\b\d\.\d{3,}e-0[5-9]\b": "0 (rounding)",
}
SAID = re.compile("|".join(f"(?:{words})" for words in WORDS), re.IGNORECASE | re.MULTILINE)
TELLING = ("ui", "views", "learn", "cli", "model", "verification", "analysis", "trace")


def strings(source: str) -> Iterator[str]:
    """Every text in a Python file but for docstrings; what an f-string fills in is cut."""
    tree = ast.parse(source)
    of_code = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body
        and isinstance(node.body[0], ast.Expr)
    }  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in of_code:
            yield node.value


def read_by_users() -> Iterator[tuple[Path, str]]:
    """Every file that holds words for readers, and those words."""
    for folder in TELLING:
        for path in sorted((ROOT / "inspector" / folder).rglob("*.py")):
            yield path, "\n".join(strings(path.read_text(encoding="utf-8")))
    for pattern in (
        "inspector/ui/**/*.html",
        "inspector/views/js/*.html",
        "inspector/ui/**/*.js",
        "inspector/views/js/*.js",
    ):
        for path in sorted(ROOT.glob(pattern)):
            lines = path.read_text(encoding="utf-8").splitlines()
            yield path, "\n".join(line for line in lines if not line.lstrip().startswith(("//", "*", "/*")))
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        yield path, path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        yield path, "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def test_words_that_readers_did_not_understand_stay_away():
    assert [(path.name, each.group()) for path, text in read_by_users() for each in SAID.finditer(text)] == []


def test_the_search_reads_what_it_should():
    read = {path.relative_to(ROOT).as_posix() for path, _ in read_by_users()}
    assert {
        "inspector/ui/screens/pair.py",
        "inspector/views/js/explore.html",
        "README.md",
        "docs/reports.md",
    } <= read
    assert list(strings('"""How to read it."""\nx = f"2 n costs {x}"')) == ["2 n costs "]
    for old in ("How to read it.", "it takes roughly 3 s", "off by 6.4963e-07", "every stage held", "Which heads?"):
        assert SAID.search(old), old
    for new in ("Rotation preserves length", "1e-06", "tolerance 6.0e-08", "both are held against float64"):
        assert not SAID.search(new), new

"""Write docs/judge.md's table: each reported mistake, on four models, from three kinds of hand-over.

python -m tests.judge_table            write the table anew (about half an hour on one core)
python -m tests.judge_table MODEL ...  write these models' columns anew, the others stay as they were measured

A mistake counts as named where the causes state the planted value itself; one that moves no number handed over must be
called right; a cause that states another mistake counts as wrong.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import judge_cases
import tiny

import inspector
from inspector.model.model import Model

DOCUMENT = Path(__file__).parent.parent / "docs" / "judge.md"
START, END = "<!-- table: python -m tests.judge_table -->", "<!-- end of table -->"
MODELS = {"packaged": "", "qwen2": "qwen2", "gemma2": "gemma2", "partial rotary (phi3)": "phi3 partial"}
TOKENS = 24
PROMPT = "Houston, we have a problem. The cat sat on the mat because it was tired; the dog sat too."


def load(kind: str) -> Model:
    """The packaged model, or a tiny random one of this kind."""
    return tiny.load(kind, Path(tempfile.mkdtemp())) if kind else inspector.load()


def outcomes(model: Model, prompt: str | list[int]) -> dict[str, dict[str, str]]:
    """What came of each mistake: case -> hand-over -> "named", "found" (no cause), "wrong", "right" or "missed"."""
    found: dict[str, dict[str, str]] = {}
    right = judge_cases.Mine(model)
    for case in judge_cases.CASES:
        if not case.can(right):
            continue
        found[case.name] = {}
        for handed, stages in judge_cases.HANDED.items():
            report = inspector.judge(model, case.of(model, stages), prompt)
            said = " | ".join(report.causes)
            if handed in case.hidden_at:
                found[case.name][handed] = "right" if report.ok else "wrong"
            elif report.ok:
                found[case.name][handed] = "missed"
            elif all(words in said for words in case.says(right)):
                found[case.name][handed] = "named"
            else:
                found[case.name][handed] = "wrong" if said else "found"
    return found


def columns(by_model: dict[str, dict[str, dict[str, str]]]) -> dict[str, list[str]]:
    """A column for each model: a cell for each mistake, and what the three hand-overs add up to."""
    found = {}
    for model, rows in by_model.items():
        cells = [", ".join(rows[c.name].values()) if c.name in rows else "cannot be" for c in judge_cases.CASES]
        for handed in judge_cases.HANDED:
            all_of = [row[handed] for row in rows.values()]
            good = sum(each in ("named", "right") for each in all_of)
            cells.append(f"{good} of {len(all_of)}, {all_of.count('wrong')} wrong")
        found[model] = cells
    return found


def columns_of(text: str) -> dict[str, list[str]]:
    """The columns of a table in Markdown, by their heads, without the first."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    if not rows:
        return {}
    return {name: [row[place] for row in rows[2:]] for place, name in enumerate(rows[0]) if place}


def table(by_column: dict[str, list[str]]) -> str:
    """The table in Markdown."""
    names = [*(case.name for case in judge_cases.CASES), *(f"**{handed}**" for handed in judge_cases.HANDED)]
    lines = [f"| mistake | {' | '.join(by_column)} |", f"| --- | {' | '.join('---' for _ in by_column)} |"]
    lines += [f"| {name} | {' | '.join(cells)} |" for name, *cells in zip(names, *by_column.values(), strict=True)]
    return "\n".join(lines)


def main(names: list[str]) -> None:
    """Write the table, or some of its columns."""
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(START)
    old, _, after = rest.partition(END)
    found = columns_of(old) if names else {}
    for name, kind in MODELS.items():
        if not names or name in names:
            prompt = tiny.ids(TOKENS) if kind else PROMPT
            found |= columns({name: outcomes(load(kind), prompt)})
    ordered = {name: found[name] for name in MODELS if name in found}
    DOCUMENT.write_text(f"{before}{START}\n{table(ordered)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

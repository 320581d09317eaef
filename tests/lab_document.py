"""Measures the laws of edits and the planted mistakes into docs/lab.md. Not a test.

python -m tests.lab_document            on tiny models of twelve families, and the planted mistakes
python -m tests.lab_document packaged   on the packaged model
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch

import inspector
from inspector.lab.spelling import SPELLINGS, form_of

sys.path.insert(0, str(Path(__file__).parent))
import tiny
from lab_laws import FAMILIES, LAWS, Bench, Law, tiny_model
from lab_mistakes import MISTAKES, broken

PAGE = Path(__file__).resolve().parents[1] / "docs" / "lab.md"
SPELT, SPELT_END = "<!-- spellings -->", "<!-- end of spellings -->"
PACKAGED = "<!-- packaged: python -m tests.lab_document packaged -->"
PACKAGED_END = "<!-- end of the packaged model -->"
TEXTS = (
    "When Mary and John went to the store, John gave a drink to",
    "When Tom and Susan came to the park, Susan gave a ball to",
)
BEGIN, END = "<!-- measured: python -m tests.lab_document -->", "<!-- end of what is measured -->"


def bench_of(family: str, folder: Path) -> Bench:
    """The bench of a family of tiny random models, as the tests have it."""
    return Bench(tiny_model(family, folder), tiny.ids(12), tiny.ids(17)[5:])


def measured(benches: Iterable[tuple[str, Bench]]) -> dict[tuple[str, str], float]:
    """By how much each law is missed in each family."""
    found = {}
    for family, bench in benches:
        for law in LAWS:
            found[law.name, family] = law.measure(bench)
            print(f"{family}: {law.name} {found[law.name, family]:.1e}", file=sys.stderr)
    return found


def law_rows(found: dict[tuple[str, str], float]) -> list[str]:
    """A line for each law: what it is about, what holds, how much may be missing, the largest remainders."""
    lines = ["| edit | what holds | may miss | is missed by at most | in |", "| --- " * 5 + "|"]
    for law in LAWS:
        tiny_ones = {family: found[law.name, family] for family in FAMILIES}
        worst = max(tiny_ones, key=lambda family: tiny_ones[family])
        where = worst if tiny_ones[worst] else "none"
        sizes = [_size(law.tolerance), _size(tiny_ones[worst]), where]
        lines.append(f"| {' | '.join([law.edit, law.says, *sizes])} |")
    return lines


def mistake_rows(found: dict[str, list[Law]]) -> list[str]:
    """A line for each planted mistake, with the laws that it breaks."""
    lines = ["| planted mistake | laws broken | the first of them |", "| --- | --- | --- |"]
    for mistake in MISTAKES:
        laws = found[mistake.name]
        first = laws[0].name.replace("_", " ") if laws else "**none**"
        lines.append(f"| {mistake.meaning} | {len(laws)} | {first} |")
    return lines


def spelling_rows() -> list[str]:
    """A line for each kind of edit as the command line spells it."""
    lines = ["| `--edit` | what it does |", "| --- | --- |"]
    lines += [f"| `{form_of(kind)}` | {words} |" for kind, (words, _) in SPELLINGS.items()]
    return lines


def put(text: str, begin: str, end: str, block: str) -> str:
    """The page with this between two of its marks."""
    return re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: f"{begin}\n{block}\n{end}", text, flags=re.S)


def _size(value: float) -> str:
    return "0" if value == 0 else f"{value:.0e}"


def write(found: dict[tuple[str, str], float], caught: dict[str, list[Law]]) -> None:
    """Put what was measured into the page."""
    held = sum(found[law.name, family] <= law.tolerance for law in LAWS for family in FAMILIES)
    noticed = sum(bool(laws) for laws in caught.values())
    block = "\n".join(
        [
            f"{len(LAWS)} laws in {len(FAMILIES)} families ({', '.join(FAMILIES)}; tiny models with random weights, 12 "
            f"tokens), float32 on the CPU, torch {torch.__version__.partition('+')[0]}: {held} of "
            f"{len(LAWS) * len(FAMILIES)} held.",
            "",
            *law_rows(found),
            "",
            f"{len(MISTAKES)} mistakes that laboratories make were planted, one at a time: {noticed} broke a law.",
            "",
            *mistake_rows(caught),
        ]
    )
    text = put(PAGE.read_text(encoding="utf-8"), BEGIN, END, block)
    PAGE.write_text(put(text, SPELT, SPELT_END, "\n".join(spelling_rows())), encoding="utf-8")


def packaged_bench() -> Bench:
    """The bench of the packaged model: two texts of which as many tokens are taken."""
    model = inspector.load()
    one, other = (model.tokenize(text).ids for text in TEXTS)
    n = min(len(one), len(other))
    return Bench(model, one[:n], other[:n])


def write_packaged() -> None:
    """Measure the laws on the packaged model and put them into the page."""
    bench = packaged_bench()
    found = measured([("packaged", bench)])
    held = sum(found[law.name, "packaged"] <= law.tolerance for law in LAWS)
    lines = [
        f"On the packaged model ({len(bench.model.layers)} layers of real weights, {len(bench.ids)} tokens) {held} of "
        f"{len(LAWS)} laws held.",
        "",
        "| edit | what holds | may miss | is missed by |",
        "| --- " * 4 + "|",
    ]
    sizes = [(law, _size(law.tolerance), _size(found[law.name, "packaged"])) for law in LAWS]
    lines += [f"| {law.edit} | {law.says} | {most} | {missed} |" for law, most, missed in sizes]
    text = put(PAGE.read_text(encoding="utf-8"), PACKAGED, PACKAGED_END, "\n".join(lines))
    PAGE.write_text(text, encoding="utf-8")


def main(names: list[str]) -> None:
    """Measure everything and write it."""
    if names == ["packaged"]:
        write_packaged()
        return
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as place:
        made = {}
        for family in FAMILIES:
            (Path(place) / family).mkdir()
            made[family] = bench_of(family, Path(place) / family)
        caught: dict[str, list[Law]] = {}
        for mistake in MISTAKES:
            caught[mistake.name] = list(broken(mistake, made[mistake.family]))
        found = measured(made.items())
    write(found, caught)


if __name__ == "__main__":
    main(sys.argv[1:])

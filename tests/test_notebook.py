"""The notebook runs, ends equal to the library, is saved as it runs, and stops at a mistake."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import notebook as by_hand
import pytest
from nbclient.exceptions import CellExecutionError

# The kernel's own remark on its loopback sockets is no concern of ours.
pytestmark = [pytest.mark.packaged, pytest.mark.filterwarnings("ignore::UserWarning")]
COOKBOOK = by_hand.COOKBOOK
OF_THE_LAB = ("induction_heads", "patching_names", "rope_mask_and_scale_off")  # the others: `make slow`


@pytest.fixture(scope="module")
def fresh() -> Any:
    return by_hand.run(copy.deepcopy(by_hand.read()))


def outputs(notebook: Any) -> list[list[dict]]:
    """What each code cell shows."""
    return [[dict(out) for out in cell.outputs] for cell in notebook.cells if cell.cell_type == "code"]


def apart(shown: list[dict]) -> tuple[str, list[float]]:
    """Take the exact numbers out of a cell's pictures: what is left, and the numbers."""
    text, number = json.dumps(shown, sort_keys=True), re.compile(r'(data-value=\\")([^"\\]+)')
    text = re.sub(r"transformers \d+\.\d+\.\d+", "transformers", text)  # `make matrix` runs it at others, too
    return number.sub(r"\1", text), [float(value) for _, value in number.findall(text)]


def printed(notebook: Any) -> str:
    return "".join(out.get("text", "") for shown in outputs(notebook) for out in shown)


def test_saved_outputs_are_those_of_a_fresh_run(fresh):
    saved = outputs(by_hand.read())
    for number, (kept, made) in enumerate(zip(saved, outputs(fresh), strict=True)):
        words, values = apart(kept)
        made_words, made_values = apart(made)
        assert words == made_words, f"code cell {number}; `make notebook` saves the notebook anew"
        # Processors add in their own order: a picture's weights differ by a few float32 roundings from one to another.
        assert values == pytest.approx(made_values, abs=2e-6), f"code cell {number}"
    counts = [cell.execution_count for cell in by_hand.read().cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


def test_it_ends_equal_to_the_library(fresh):
    text = printed(fresh)
    steps = re.findall(r"^(.+?) \[[\d, ]+\]: (\d+) of ([\d,]+) numbers differ, largest difference (\S+)$", text, re.M)
    assert [name for name, *_ in steps][-3:] == ["attention output", "after attention", "attention output, layer 13"]
    assert {(differing, largest) for _, differing, _, largest in steps} == {("0", "0.0")}
    numbers = sum(int(count.replace(",", "")) for _, _, count, _ in steps)
    assert f"{len(steps)} steps, {numbers:,} numbers, 0 differ, largest difference 0.0: EQUAL" in text


@pytest.mark.parametrize(
    "file",
    [pytest.param(file, id=file.stem, marks=[] if file.stem in OF_THE_LAB else pytest.mark.slow) for file in COOKBOOK],
)
def test_each_of_the_cookbook_runs_with_what_it_asserts(file):
    notebook = by_hand.run(copy.deepcopy(by_hand.read(file)))
    assert sum("assert " in cell.source for cell in notebook.cells if cell.cell_type == "code") >= 1
    assert not any(out.get("name") == "stderr" for shown in outputs(notebook) for out in shown)


def test_the_cookbook_has_what_people_come_for():
    assert {file.stem for file in COOKBOOK} == {
        *("first_look", "induction_heads", "judge_your_own", "the_lab", "verify_a_fine_tune", "two_contexts"),
        *("your_own_model", "long_prompts", "figures_for_a_paper", "why_this_token", "patching_names"),
        "rope_mask_and_scale_off",
    }


@pytest.mark.parametrize("file", [by_hand.NOTEBOOK, *COOKBOOK], ids=lambda file: file.stem)
def test_it_is_small_and_holds_no_path_of_a_machine_and_no_error(file):
    text = file.read_text(encoding="utf-8")
    assert len(text.encode()) < 300_000
    assert not re.search(r"/root|/home|/work|/tmp|/Users|site-packages|\.cache", text)
    assert not any(
        out["output_type"] == "error" or out.get("name") == "stderr" for s in outputs(by_hand.read(file)) for out in s
    )
    assert all(cell.outputs or cell.execution_count for cell in by_hand.read(file).cells if cell.cell_type == "code")


@pytest.mark.parametrize(
    ("right", "wrong", "stops"),
    [
        pytest.param(
            "scaled = scores / math.sqrt(d)", "scaled = scores / math.sqrt(m)", "scaled scores", marks=pytest.mark.slow
        ),
        ("first * cos - second * sin", "first * cos + second * sin", "query after RoPE"),
    ],
)
def test_a_planted_mistake_stops_it(right, wrong, stops):
    notebook = copy.deepcopy(by_hand.read())
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and right in cell.source]
    assert len(cells) == 1
    cells[0].source = cells[0].source.replace(right, wrong)
    with pytest.raises(CellExecutionError, match=rf"AssertionError.*{stops}: [\d,]+ numbers differ"):
        by_hand.run(notebook)

"""The notebook runs, ends equal to the library, is saved as it runs, and stops at a mistake."""

from __future__ import annotations

import copy
import re
from typing import Any

import notebook as by_hand
import pytest
from nbclient.exceptions import CellExecutionError

# The kernel's own remark on its loopback sockets is no concern of ours.
pytestmark = [pytest.mark.packaged, pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.fixture(scope="module")
def fresh() -> Any:
    return by_hand.run(copy.deepcopy(by_hand.read()))


def outputs(notebook: Any) -> list[list[dict]]:
    """What each code cell shows."""
    return [[dict(out) for out in cell.outputs] for cell in notebook.cells if cell.cell_type == "code"]


def printed(notebook: Any) -> str:
    return "".join(out.get("text", "") for shown in outputs(notebook) for out in shown)


def test_saved_outputs_are_those_of_a_fresh_run(fresh):
    saved = outputs(by_hand.read())
    for number, (kept, made) in enumerate(zip(saved, outputs(fresh), strict=True)):
        assert kept == made, f"code cell {number}; `make notebook` saves the notebook anew"
    counts = [cell.execution_count for cell in by_hand.read().cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


def test_it_ends_equal_to_the_library(fresh):
    text = printed(fresh)
    steps = re.findall(r"^(.+?) \[[\d, ]+\]: (\d+) of ([\d,]+) numbers differ, largest difference (\S+)$", text, re.M)
    assert [name for name, *_ in steps][-3:] == ["attention output", "after attention", "attention output, layer 13"]
    assert {(differing, largest) for _, differing, _, largest in steps} == {("0", "0.0")}
    numbers = sum(int(count.replace(",", "")) for _, _, count, _ in steps)
    assert f"{len(steps)} steps, {numbers:,} numbers, 0 differ, largest difference 0.0: EQUAL" in text


def test_it_is_small_and_holds_no_path_of_a_machine_and_no_error():
    text = by_hand.NOTEBOOK.read_text(encoding="utf-8")
    assert len(text.encode()) < 300_000
    assert not re.search(r"/root|/home|/work|/tmp|/Users|site-packages|\.cache", text)
    assert not any(
        out["output_type"] == "error" or out.get("name") == "stderr" for s in outputs(by_hand.read()) for out in s
    )


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

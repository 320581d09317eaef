"""Change and Compare in a real browser: what if this head were gone, and back again by undo, by link and by file."""

from __future__ import annotations

import json
import re
import statistics
from typing import Any

import numpy as np
import pytest
from browser_app import Visitor, number_in, same
from playwright.sync_api import expect

import inspector
from inspector import lab
from inspector.ui.examples import EXAMPLES

pytestmark = [pytest.mark.browser, pytest.mark.packaged]

LAYER, HEAD = 1, 4


def said(visitor: Visitor) -> dict[str, str]:
    """The numbers under "What follows", by their titles."""
    visitor.idle()
    labels, values = (
        visitor.page.locator(f'.st-key-effects [data-testid="stMetric{part}"]').all_text_contents()
        for part in ("Label", "Value")
    )
    return dict(zip(labels, values, strict=True))


def until_said(visitor: Visitor, report: lab.ExperimentReport) -> None:
    """Wait for this experiment's numbers, each equal to Python's, with its control below."""
    one = report.results[0]
    bits = f"{one.effect.kl_bits:.3f} bits"
    visitor.page.locator(".st-key-effects").get_by_text(bits, exact=True).first.wait_for(timeout=60_000)
    shown = said(visitor)
    assert shown["KL divergence"] == bits
    assert shown["Loss per token"] == f"{one.effect.loss_before:.3f} → {one.effect.loss_after:.3f}"
    assert shown["Random heads"] == f"{statistics.median(each.kl_bits for each in one.random):.3f} bits"
    control = f"Control: the same edits at strength 0: 0 of {one.control.elements:,} logits differ."
    visitor.page.get_by_text(control).wait_for()
    for edit in one.edits:
        words = str(edit)[:1].upper() + str(edit)[1:]
        assert visitor.page.get_by_text(words).count() >= 1


def download(visitor: Visitor, button: str) -> Any:
    """What a button of the open Export saves."""
    with visitor.page.expect_download() as saved:
        visitor.page.get_by_role("button", name=button).click()
    return saved.value


def test_a_head_taken_away_comes_back_by_undo_by_link_and_in_a_file(visit, smollm, houston, tmp_path):
    ids = houston.tokens.ids
    gone = lab.experiment(smollm, ids, lab.zero(LAYER, HEAD), random_heads=5)
    visitor = visit(f"/?layer={LAYER}&head={HEAD}")
    visitor.painted()
    visitor.page.get_by_test_id("gone").click()
    visitor.page.wait_for_url(re.compile("/change"))
    until_said(visitor, gone)

    visitor.page.get_by_role("button", name="Cut this edge").click()
    visitor.page.get_by_text(re.compile("^Edges cut")).wait_for()
    visitor.idle()
    words = visitor.page.get_by_text(re.compile("^Edges cut")).text_content()
    query, key = (int(re.search(rf"{side} (\d+)", words).group(1)) for side in ("query", "key"))
    cut = lab.cut(query=query, key=key, layers=LAYER, heads=HEAD)
    both = lab.experiment(smollm, ids, [lab.zero(LAYER, HEAD), cut], random_heads=5)
    assert "Edges cut" in words
    until_said(visitor, both)
    visitor.page.get_by_role("button", name="Undo").click()
    visitor.page.get_by_text(re.compile("^Edges cut")).wait_for(state="detached")
    until_said(visitor, gone)

    visitor.open_bar("share")
    field = visitor.page.get_by_test_id("link")
    expect(field).to_have_value(re.compile("edits="))
    link = field.input_value()
    again = visit("/vectors")  # somebody else's browser
    again.page.goto(link)
    until_said(again, gone)
    again.open_bar("export")
    record = json.loads(download(again, "Experiment (JSON)").path().read_text(encoding="utf-8"))
    assert record["prompts"][0]["kl_bits"] == gone.results[0].effect.kl_bits
    path = tmp_path / "edited.safetensors"
    download(again, "Trace under these edits").save_as(path)
    trace = inspector.open_trace(path)
    assert trace.edits == gone.results[0].edits
    assert np.array_equal(trace.context(LAYER, HEAD).numpy(), np.zeros((8, trace.layers[LAYER].d_value)))


def test_compare_reads_both_maps_and_their_difference(visit, smollm, houston):
    other = smollm.trace(EXAMPLES[0].beside)
    report = lab.compare(houston, other)
    visitor = visit("/compare?layer=16&head=0")
    visitor.page.get_by_text(report.summary().split(":")[0]).first.wait_for(timeout=60_000)
    visitor.page.locator('canvas[data-testid="map"]').nth(2).wait_for()
    rows, columns = (list(side) for side in zip(*report.aligned, strict=True))
    first, second = houston.weights(16, 0).numpy(), other.weights(16, 0).numpy()
    expected = (first, second, second[np.ix_(columns, columns)] - first[np.ix_(rows, rows)])
    for number, table in enumerate(expected):
        row, column = np.unravel_index(np.abs(np.tril(table, -1)).argmax(), table.shape)
        read = read_cell(visitor, number, int(row), int(column))
        if number < 2:
            same(read, float(table[row, column]))
        else:
            assert number_in(read) == pytest.approx(float(table[row, column]), rel=2e-3)


def read_cell(visitor: Visitor, number: int, row: int, column: int) -> str:
    """Point at a cell of one of the page's maps; the line beneath it."""
    visitor.idle()
    canvas = visitor.page.locator('canvas[data-testid="map"]').nth(number)
    canvas.scroll_into_view_if_needed()
    at = {name: float(canvas.get_attribute(f"data-{name}")) for name in ("x", "y", "step-x", "step-y")}
    canvas.hover(position={"x": at["x"] + (column + 0.5) * at["step-x"], "y": at["y"] + (row + 0.5) * at["step-y"]})
    return visitor.page.locator('[data-testid="readout"]').nth(number).text_content()

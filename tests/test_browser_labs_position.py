"""The laboratories Position, and Mask and heads, in a real browser: numbers on screen against numbers from Python."""

from __future__ import annotations

import re

import pytest
from browser_app import same
from playwright.sync_api import expect

from inspector.learn.shift import shifted
from inspector.learn.unmasked import mask_on_off

pytestmark = [pytest.mark.browser, pytest.mark.packaged]


def unfold(visitor) -> None:
    """Open every proof on the page."""
    visitor.page.get_by_text("Two questions").first.wait_for()  # the last of the page: all of it is there
    visitor.idle()
    closed = visitor.page.locator("details:not([open]) > summary")
    while closed.count():
        closed.first.click()


def reading(visitor, key: str, column: int) -> str:
    """What the picture `key` says under its canvas for a column, reached by keyboard."""
    canvas = visitor.page.locator(f'canvas[data-testid="{key}"]')
    visitor.painted(key)
    canvas.focus()
    canvas.press("Home")
    for _ in range(column):
        canvas.press("ArrowRight")
    return visitor.page.locator(f'[data-testid="{key}-readout"]').text_content()


def test_position_shows_a_shift_that_changes_nothing_and_takes_typed_numbers(visit, houston):
    visitor = visit("/position?layer=13&head=8&query=6&key=2")
    page = visitor.page
    unfold(visitor)
    row = shifted(houston, 13, 8, 6, 100).row
    said = reading(visitor, "shift_row", 3)
    assert f"key token 3 {houston.tokens.labels[3]}" in said
    same(said, row["only keys shifted"][3])
    expect(page.get_by_text("equal to the last bit").first).to_be_visible()
    expect(page.get_by_text("differs, as it must").first).to_be_visible()
    expect(page.locator('[data-testid="stVegaLiteChart"] canvas, [data-testid="stVegaLiteChart"] svg')).to_have_count(3)
    key = page.get_by_role("textbox", name="Key vector")
    key.fill("1 2 3")
    key.press("Enter")
    expect(page.get_by_text("has 3 numbers")).to_be_visible()
    key.fill("2 0 0 0")
    key.press("Enter")
    expect(page.get_by_text(re.compile("dot product as typed, 2"))).to_be_visible()


def test_the_mask_reads_out_what_would_be_looked_at(visit, houston):
    visitor = visit("/mask_and_heads?layer=13&head=8&query=6", width=420)
    page = visitor.page
    said = reading(visitor, "forbidden", 0)
    assert "query token 0 H" in said
    same(said, mask_on_off(houston, 13, 8).forbidden["later"][0])
    assert page.evaluate("document.documentElement.scrollWidth") <= 420

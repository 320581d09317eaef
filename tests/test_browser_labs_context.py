"""The laboratories Context and Two contexts in a real browser: a picture, and the numbers beside it."""

from __future__ import annotations

import pytest
from browser_app import same
from playwright.sync_api import expect

from inspector.learn import attention_sizes, contexts, costs

pytestmark = [pytest.mark.browser, pytest.mark.packaged]


def test_context_draws_its_lines_and_says_what_they_come_to(visit, houston):
    visitor = visit("/context")
    page = visitor.page
    page.get_by_text("What if every pair of tokens had a matrix of its own?").click(timeout=90_000)
    page.locator('[data-testid="stVegaLiteChart"] canvas, [data-testid="stVegaLiteChart"] svg').first.wait_for()
    found = attention_sizes.sizes(houston)
    for size in (costs.human(found.weights(8192)), costs.human(found.cache(8192)), "4.5 PB"):
        expect(page.locator('[data-testid="stMetricValue"]').get_by_text(size, exact=True).first).to_be_visible()
    expect(page.get_by_text("counts of real tensors, each equal to its formula")).to_be_visible()
    slider = page.get_by_role("slider")
    slider.focus()
    slider.press("ArrowLeft")  # one step down: half as many tokens
    half = costs.human(found.weights(4096))
    expect(page.locator('[data-testid="stMetricValue"]').get_by_text(half, exact=True).first).to_be_visible()


def test_two_contexts_draws_both_rows_and_takes_another_word(visit, smollm):
    visitor = visit("/two_contexts?layer=13&head=8")
    page = visitor.page
    visitor.painted("contexts_row_first")
    before = visitor.painted("contexts_row_second")
    trace = smollm.trace(contexts.EXAMPLES[0].second)
    canvas = page.locator('canvas[data-testid="contexts_row_second"]')
    canvas.focus()
    canvas.press("ArrowRight")  # enters at the word itself
    reading = page.locator('[data-testid="contexts_row_second-readout"]')
    expect(reading).to_contain_text("key token 5 ␣have")
    canvas.press("ArrowLeft")
    expect(reading).to_contain_text("key token 4 ␣we")
    same(reading.text_content(), trace.weights(13, 8)[5, 4].item())
    page.get_by_role("textbox", name="Word").fill("we")
    page.get_by_role("button", name="Compare").click()
    visitor.painted("contexts_row_second", unlike=before)  # "we" stands one token earlier
    expect(page.get_by_text("Two different tokens of the vocabulary")).to_be_visible()

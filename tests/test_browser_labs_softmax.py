"""The laboratories Softmax, it → cat and four ways in a real chromium, and the saved softmax page without a network."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_downloads import Saved

from inspector.learn import softmax, toy
from inspector.views.softmax_page import page_of_softmax
from reimpl import stepwise

pytestmark = [pytest.mark.browser, pytest.mark.packaged]


def expect(locator: Any) -> Any:
    from playwright.sync_api import expect as waiting

    return waiting(locator)


@pytest.fixture
def saved(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a file from the disk in a browser that is offline; nothing but the file may be asked for."""
    opened: list[Saved] = []

    def make(path: Path, *, width: int = 1200, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        opened.append(Saved(context.new_page(), ""))
        opened[-1].page.goto(path.as_uri())
        return opened[-1].page

    yield make
    for one in opened:
        one.assert_nothing_wrong()
        one.page.context.close()


def shown(page: Any, column: int) -> list[float]:
    """The exact numbers of a column of the saved page's table."""
    return [float(text) for text in page.locator(f"#rows td:nth-child({column})").evaluate_all(
        "(cells) => cells.map((cell) => cell.dataset.value)"
    )]  # fmt: skip


def holds(page: Any, numbers: list[float], scale: float = 1.0, added: float = 0.0) -> None:
    """The page's inputs and shares are those of reimpl's softmax."""
    expected = softmax.shares(numbers, scale=scale, added=added)
    assert shown(page, 2) == expected.inputs
    # Both in float64; two mathematics libraries' exponentials may differ by a unit or two in the last place.
    assert shown(page, 3) == pytest.approx(stepwise.softmax(expected.inputs), rel=1e-14, abs=0)


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (400, "dark")])
def test_the_saved_softmax_page_computes_by_itself(saved, tmp_path, width, scheme):
    path = tmp_path / "softmax.html"
    path.write_text(page_of_softmax([2.0, -1.0, 0.5], scale=0.125, added=1.0), encoding="utf-8")
    page = saved(path, width=width, scheme=scheme)
    holds(page, [2, -1, 0.5], 0.125, 1)
    for text, numbers in (
        ("1000, 1001", [1000, 1001]),  # e to the power of 1000 is beyond every float
        ("-1000000 1000000; 999999.5", [-1e6, 1e6, 999999.5]),
        ("1e-3 .5 −2", [1e-3, 0.5, -2]),
        ("7", [7]),
    ):
        page.get_by_label("Numbers, separated").fill(text)
        for scale in (0.01, 1, 100):
            page.get_by_label("Scale: all numbers times").fill(str(scale))
            holds(page, numbers, scale, 1)
    for example in softmax.EXAMPLES:
        page.get_by_role("button", name=", ".join(f"{each:g}" for each in example), exact=True).click()
        holds(page, list(example))
    assert shown(page, 3)[1] == pytest.approx(0.999955, abs=5e-7)
    slider = page.get_by_label(re.compile("Scale, from"))
    slider.focus()
    slider.press("End")  # keyboard: the largest scale
    holds(page, [100, 110], 100)
    before = shown(page, 3)
    page.get_by_label("Numbers, separated").fill("1, <b>two</b>")
    assert page.locator("#problem").text_content() == "“<b>two</b>” is not a number: write it like 1.5, -2 or 3e2."
    page.get_by_label("Numbers, separated").fill("1 " * 33)
    assert "33 numbers, more than 32" in page.locator("#problem").text_content()
    assert shown(page, 3) == before  # the last good picture stays
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(15, 20, 27)")


def test_softmax_is_typed_and_taken_away(visit, saved, tmp_path):
    visitor = visit("/softmax")
    page = visitor.page
    slider = page.get_by_role("slider", name="Scores divided by")
    slider.focus()
    slider.press("Home")  # the scale left out: one token gets nearly all
    expect(page.get_by_text(re.compile("Divided by 1.0: the largest weight is (0.99|1.00)"))).to_be_visible()
    page.get_by_text("Try it on your own numbers").click()
    before = visitor.painted("shares")
    field = page.get_by_label("Numbers, separated by commas or spaces")
    field.fill("1000, 1001, 999")
    field.press("Enter")
    visitor.painted("shares", unlike=before)
    visitor.idle()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download this as one HTML page").click()
    path = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(path)
    holds(saved(path), [1000, 1001, 999])
    expect(page.get_by_text(re.compile("with the scale left out, .* with it, like"))).to_be_visible()


def test_a_head_is_chosen_by_what_it_looks_at(visit, smollm):
    visitor = visit("/it_and_cat")
    page = visitor.page
    visitor.painted()
    page.get_by_role("button", name=f"Run “{toy.SENTENCE}”").click()
    page.get_by_text("layer 13, head 8 gives the largest").wait_for()
    visitor.idle()
    table = page.get_by_test_id("stDataFrame").first
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    page.mouse.click(box["x"] + 15, box["y"] + 52)  # the first row's box
    page.get_by_text(re.compile(r"Chosen: layer 13, head 8, weight .*, rank 1 of 270")).wait_for()
    link = page.get_by_role("link", name="Explain this score")
    link.click()
    visitor.painted("row")
    page.get_by_text("Layer 13, head 8", exact=True).wait_for()
    weight = smollm.trace(toy.SENTENCE).weights(13, 8)[7, 1].item()
    expect(page.get_by_test_id("stMetric").last).to_contain_text(f"{weight:.5g}")


def test_four_ways_agree_and_mistakes_are_caught(visit):
    visitor = visit("/four_ways?layer=16&head=0&query=3")
    page = visitor.page
    expect(page.get_by_text("4 ways, one vector; 2 planted mistakes caught.")).to_be_visible(timeout=20_000)
    expect(page.get_by_text("What each way does")).to_be_visible()

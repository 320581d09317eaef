"""The app as a person meets it: a real chromium, the network cut, numbers on screen against numbers from Python."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import browser_app
import pytest
from browser_app import Visitor, number_in

import inspector

pytestmark = [pytest.mark.browser, pytest.mark.packaged]

HOSTILE = '</script><img src=x onerror="document.title=\'hacked\'"> <!-- 日本語 🙂 "quoted" שלום'


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    browser_app.require()
    inspector.load()  # converted once before the app starts, so that no test waits for it
    with browser_app.running_app() as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    browser_app.require()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=browser_app.chromium(), args=browser_app.FLAGS)
        yield started
        started.close()


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Callable[..., Visitor]]:
    """Makes visitors, each in a browser context of its own; at the end nothing may have gone wrong in any."""
    visitors: list[Visitor] = []

    def make(path: str = "/", *, width: int = 1400, height: int = 1000, scheme: str = "light") -> Visitor:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        visitors.append(Visitor(context.new_page(), address))
        return visitors[-1].open(path)

    yield make
    for visitor in visitors:
        visitor.assert_nothing_wrong()
        visitor.page.context.close()


def same(shown: str, value: float) -> None:
    """The number on screen has four significant digits, and each is true."""
    assert number_in(shown) == float(f"{value:.3e}"), shown


def test_from_prompt_to_head_to_the_number_under_the_pointer(visit, smollm):
    visitor = visit()
    visitor.painted()
    prompt = "The cat sat on the mat because it was tired."
    visitor.run_prompt(prompt)
    visitor.click_head(3, 7, kv_share=3)
    visitor.idle()
    visitor.page.get_by_text("Layer 3, head 7", exact=True).wait_for()
    assert "layer=3" in visitor.page.url
    assert "head=7" in visitor.page.url
    assert "cat" not in visitor.page.url

    trace = smollm.trace(prompt)
    weights = trace.weights(3, 7)
    for row, column in [(0, 0), (7, 1), (10, 3), (10, 10)]:
        shown = visitor.hover_cell(row, column)
        assert f"query token {row} {trace.tokens.labels[row]}" in shown
        assert f"key token {column} {trace.tokens.labels[column]}" in shown
        same(shown, weights[row, column].item())
    assert "masked" in visitor.hover_cell(2, 9)
    tip = visitor.page.locator('[data-testid="tip"]').first
    assert "masked" in tip.text_content()


def test_keyboard_reads_numbers_and_selects_heads(visit, houston):
    visitor = visit("/?layer=4&head=2")
    before = visitor.painted()
    picture = visitor.page.locator('canvas[data-testid="map"]').first
    picture.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight"):
        picture.press(key)  # the first arrow enters at cell 0, 0
    same(visitor.reading(), houston.weights(4, 2)[2, 1].item())
    heads = visitor.page.locator('canvas[data-testid="heads"]')
    heads.focus()
    heads.press("ArrowRight")
    heads.press("ArrowDown")
    assert "layer 5, head 3" in visitor.page.locator('[data-testid="head-readout"]').text_content()
    heads.press("Enter")
    visitor.painted(unlike=before)
    visitor.page.get_by_text("Layer 5, head 3", exact=True).wait_for()


def test_a_link_reopens_layer_head_show_and_scale(visit, houston):
    visitor = visit("/?layer=12&head=5&show=scaled_scores")
    visitor.painted()
    visitor.page.get_by_text("Layer 12, head 5", exact=True).wait_for()
    same(visitor.hover_cell(6, 2), houston.scaled_scores(12, 5)[6, 2].item())
    logarithm = visit("/?layer=12&head=5&scale=log")
    logarithm.painted()
    assert "weight (log)" in logarithm.page.locator('[data-testid="legend"]').first.text_content()


def test_vectors_show_the_traces_numbers(visit, houston):
    visitor = visit("/?layer=12&head=5")
    visitor.painted()
    visitor.page.get_by_role("link", name="Vectors").click()
    visitor.page.get_by_text("Query before RoPE", exact=True).wait_for()
    visitor.idle()
    assert "layer=12" in visitor.page.url
    visitor.painted()
    same(visitor.hover_cell(3, 40), houston.query(12, 5, rope=False)[3, 40].item())


def test_two_people_at_once_each_see_their_own_prompt(visit, smollm):
    prompts = ["Red lion, blue moon.", "One two three four five six"]
    people = [visit("/?layer=2&head=1") for _ in prompts]
    for person, prompt in zip(people, prompts, strict=True):
        person.run_prompt(prompt)
    for person, prompt in zip(people, prompts, strict=True):
        trace = smollm.trace(prompt)
        last = trace.n - 1
        shown = person.hover_cell(last, 1)
        assert f"{last} {trace.tokens.labels[last]}" in shown
        same(shown, trace.weights(2, 1)[last, 1].item())


@pytest.mark.parametrize("path", ["/", "/vectors"])
def test_token_text_never_becomes_markup(visit, smollm, path):
    visitor = visit()
    visitor.run_prompt(HOSTILE)
    if path != "/":
        visitor.page.get_by_role("link", name="Vectors").click()
        visitor.page.get_by_text("Query before RoPE", exact=True).wait_for()
        visitor.idle()
        visitor.painted()
    assert "hacked" not in visitor.page.title()
    assert visitor.page.locator("img[onerror]").count() == 0
    label = smollm.trace(HOSTILE).tokens.labels[0]
    assert label in visitor.hover_cell(0, 0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_light_and_dark_wide_and_narrow_nothing_is_cut_off(visit, scheme, width):
    visitor = visit("/?layer=16&head=0", width=width, scheme=scheme)
    visitor.painted()
    visitor.painted("heads")
    room = visitor.page.evaluate("document.documentElement.clientWidth")
    assert room == width
    for test_id in ("map", "heads"):
        box = visitor.page.locator(f'canvas[data-testid="{test_id}"]').first.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= room + 0.5
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= room
    background = visitor.page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    bright = sum(map(int, re.findall(r"\d+", background)[:3])) > 380
    assert bright == (scheme == "light")
    # The same in the canvas: the first cell's weight is 1, the strongest colour of the theme's ramp.
    colour = visitor.page.evaluate(
        """() => { const canvas = [...document.querySelectorAll('*')].map((e) => e.shadowRoot)
             .filter(Boolean).map((r) => r.querySelector('canvas[data-testid=map]')).find(Boolean);
           const ratio = devicePixelRatio, d = canvas.dataset;
           const x = (Number(d.x) + Number(d.stepX) / 2) * ratio, y = (Number(d.y) + Number(d.stepY) / 2) * ratio;
           return [...canvas.getContext('2d').getImageData(x, y, 1, 1).data]; }"""
    )
    assert colour == ([6, 38, 77, 255] if scheme == "light" else [240, 248, 255, 255])


def test_dark_buttons_are_readable(visit):
    visitor = visit(scheme="dark")
    visitor.painted()
    style = "([selector, name]) => getComputedStyle(document.querySelector(selector))[name]"
    text = visitor.page.evaluate(style, [".stApp", "color"])
    chosen = '[data-testid="stButtonGroup"] button[data-selected="true"]'
    assert visitor.page.evaluate(style, [chosen, "color"]) == text
    run = '[data-testid^="stBaseButton-primary"]'
    assert "gradient" in visitor.page.evaluate(style, [run, "backgroundImage"])  # a darker accent behind white


def test_a_model_that_cannot_be_loaded_keeps_the_screen(visit):
    visitor = visit()
    visitor.painted()
    field = visitor.page.get_by_role("combobox", name=re.compile("Model"))
    field.fill("/no/such/folder")
    field.press("Enter")
    visitor.page.get_by_text("/no/such/folder").first.wait_for()
    visitor.page.get_by_text("Still showing").wait_for()
    visitor.page.locator('canvas[data-testid="map"]').first.wait_for()  # drawn again, perhaps a little later


def test_a_long_prompt_is_pooled_and_says_so(visit, smollm):
    visitor = visit("/?layer=16&head=0")
    prompt = "one two three four five six seven eight " * 140
    visitor.run_prompt(prompt)
    trace = smollm.trace(prompt)
    assert trace.n > 1024
    visitor.page.get_by_text("the largest of 2 × 2").wait_for()
    canvas = visitor.page.locator('canvas[data-testid="map"]').first
    assert canvas.get_attribute("data-painted")
    shown = visitor.hover_cell(100, 99)
    same(shown, trace.weights(16, 0)[200:202, 198:200].max().item())
    assert "largest of 2 × 2" in shown


def test_a_prompt_is_verified_on_its_page(visit):
    visitor = visit("/verification")
    visitor.page.get_by_role("button", name="Verify this prompt").click()
    verdict = re.compile("Reproduced bit for bit at every stage of all 30 layers")
    visitor.page.get_by_text(verdict).wait_for(timeout=90_000)
    visitor.page.get_by_text(re.compile(r"Planted mistakes: (\d+) planted, \1 caught")).wait_for()

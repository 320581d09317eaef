"""Accessibility as axe-core judges it: no finding of any impact, on any page, in both themes, at four sizes."""

from __future__ import annotations

import re
from importlib.resources import files
from itertools import product

import pytest
from browser_app import Visitor
from screen_app import PATHS, READS

pytestmark = [pytest.mark.browser, pytest.mark.packaged]

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
SIZES = ((1440, 900), (1920, 1080), (1024, 768), (420, 900))
LOOKS = tuple(product(SIZES, ("light", "dark")))
SCREENS = (
    "/?layer=13&head=8&query=5&key=2", "/?order=repeated&sink=without&show=scaled_scores", "/vectors", "/pair",
    "/bertviz", "/learn", "/walkthrough?station=tokens", "/walkthrough?station=pair", "/walkthrough?station=output",
    "/softmax", "/position", "/mask_and_heads", "/context", "/two_contexts", "/it_and_cat", "/four_ways",
    "/cross_attention", "/dropout", "/head_shares", "/verification", "/change", "/compare", "/why",
    "/atlas",
)  # fmt: skip
QUICK = ("/?layer=13&head=8&query=5&key=2", "/pair", "/learn", "/walkthrough?station=pair", "/verification", "/change")
# Streamlit's own place to drop files: a section without a role that has a name.
OF_STREAMLIT = ("presentation-role-conflict", "stFileUploaderDropzone")


def opened(visit, path: str) -> Visitor:
    """A visitor before a screen that is whole."""
    visitor = visit(path)
    title = next(title for title, known in PATHS.items() if known == path.split("?")[0])
    visitor.page.get_by_text("Try it: " if "station=" in path else READS[title]).first.wait_for()
    visitor.page.evaluate(AXE)
    return visitor


def settle(visitor: Visitor, size: tuple[int, int], scheme: str) -> None:
    """Look at the page at another size and in another theme, once all is drawn anew."""
    visitor.page.set_viewport_size({"width": size[0], "height": size[1]})
    visitor.page.emulate_media(color_scheme=scheme)
    visitor.idle()
    visitor.page.wait_for_timeout(500)  # what Streamlit draws anew fades in, pale at first
    visitor.page.wait_for_function("document.getAnimations().every((fading) => fading.playState !== 'running')")
    app = visitor.page.locator('[data-testid="stApp"]')
    ground = app.evaluate("(app) => getComputedStyle(app).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) > 384) == (scheme == "light"), ground


def findings(visitor: Visitor) -> list[list[str]]:
    """Impact, rule and element of everything that axe finds wrong."""
    found: list[list[str]] = visitor.page.evaluate(
        "async () => (await axe.run(document, {resultTypes: ['violations']})).violations"
        ".flatMap((v) => v.nodes.map((n) => [v.impact, v.id, n.html.slice(0, 300)]))"
    )
    return [each for each in found if not (each[1] == OF_STREAMLIT[0] and OF_STREAMLIT[1] in each[2])]


@pytest.mark.parametrize(
    ("number", "path"),
    [pytest.param(n, path, marks=() if path in QUICK else pytest.mark.slow) for n, path in enumerate(SCREENS)],
)
def test_axe_finds_nothing_on_a_page(visit, number, path):
    """Each page in one look, all looks among them."""
    visitor = opened(visit, path)
    settle(visitor, *LOOKS[number % len(LOOKS)])
    assert findings(visitor) == [], LOOKS[number % len(LOOKS)]


@pytest.mark.slow
@pytest.mark.parametrize("path", SCREENS)
def test_axe_finds_nothing_on_a_page_at_any_size_in_any_theme(visit, path):
    visitor = opened(visit, path)
    found = {}
    for size, scheme in LOOKS:
        settle(visitor, size, scheme)
        if wrong := findings(visitor):
            found[size, scheme] = wrong
    assert found == {}


@pytest.mark.slow
def test_axe_finds_nothing_in_what_opens_from_the_bar(visit):
    visitor = opened(visit, "/pair")
    found = {}
    for part, look in zip(("model", "prompt", "badge", "share", "export"), LOOKS[::-1], strict=False):
        settle(visitor, *look)
        visitor.open_bar(part)
        visitor.page.locator('[data-testid="stPopoverBody"]').wait_for()
        visitor.idle()
        visitor.page.wait_for_timeout(300)  # it fades in
        if wrong := findings(visitor):
            found[part, look] = wrong
        visitor.page.keyboard.press("Escape")
    assert found == {}


def test_every_page_is_looked_at():
    assert {path.split("?")[0] for path in SCREENS} == set(PATHS.values())


def test_axe_finds_what_is_wrong(visit):
    visitor = visit()
    visitor.page.evaluate(AXE)
    visitor.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<input type=text><img src=\"data:,\">')")
    assert {"label", "image-alt"} <= {rule for _, rule, _ in findings(visitor)}

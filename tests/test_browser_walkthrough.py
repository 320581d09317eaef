"""The Walkthrough in a real browser: all its stations by keyboard, and the numbers a person reads there."""

import pytest
from browser_app import number_in, same

from inspector.learn.stations import STATIONS

pytestmark = [pytest.mark.browser, pytest.mark.packaged]


def read_column(visitor, name, column):
    """Focus a picture of strips and walk to a column: the line that reads it."""
    canvas = visitor.page.locator(f'canvas[data-testid="{name}"]')
    canvas.focus()
    canvas.press("Home")
    for _ in range(column):
        canvas.press("ArrowRight")
    return visitor.page.locator(f'[data-testid="{name}-readout"]').text_content()


def test_all_stations_by_keyboard(visit, houston):
    visitor = visit("/walkthrough?layer=13&head=8&query=6&key=4")
    visitor.page.locator(".st-key-station_next button").wait_for()
    visitor.page.wait_for_timeout(500)  # a moment after it is there, Streamlit listens to its shortcut
    for number, (name, title) in enumerate(STATIONS.items(), start=1):
        visitor.page.get_by_role("heading", name=f"{number}. {title}", exact=True).wait_for()
        visitor.idle()
        if name != "tokens":
            visitor.page.wait_for_function(f"location.hash.includes('station={name}')")
        if name == "pair":
            visitor.painted("building up")
            product = houston.query(13, 8)[6, 3] * houston.key(13, 8)[4, 3]
            reading = read_column(visitor, "building up", 3)
            assert f"product {product.item():.4}"[:12].replace("-", "−") in reading
        if name == "softmax":
            visitor.painted("row")
            same(read_column(visitor, "row", 4).split(" · scaled")[0], houston.weights(13, 8)[6, 4].item())
        if number < len(STATIONS):
            visitor.page.keyboard.press("Alt+ArrowRight")
    visitor.page.get_by_role("heading", name="What you have seen").wait_for()
    visitor.page.get_by_role("link", name="Try it: What does a long context cost?").click()  # and back
    visitor.page.get_by_role("heading", name="What does a long context cost?").wait_for()
    visitor.page.get_by_role("link", name="To the Walkthrough").click(timeout=90_000)  # the end of a page that measures
    visitor.page.get_by_role("heading", name="16. The next layer").wait_for()
    visitor.page.wait_for_function("location.hash.includes('query=6')")
    visitor.idle()
    visitor.page.keyboard.press("Alt+ArrowLeft")
    visitor.page.get_by_role("heading", name="15. Added to the token's vector").wait_for()


def test_a_click_on_a_key_token_changes_the_sum(visit, houston):
    visitor = visit("/walkthrough?layer=13&head=8&station=scores&query=7")
    before = visitor.painted("scores row")
    canvas = visitor.page.locator('canvas[data-testid="scores row"]')
    at = {name: float(canvas.get_attribute(f"data-{name}")) for name in ("x", "y", "step")}
    canvas.click(position={"x": at["x"] + 2.5 * at["step"], "y": at["y"]})
    visitor.page.wait_for_function("location.hash.includes('key=2')")
    visitor.painted("scores row", unlike=before)  # another key token is marked
    visitor.page.locator(".st-key-station_back button").click()
    visitor.page.get_by_role("heading", name="6. One key at a time: the dot product").wait_for()
    visitor.painted("building up")
    reading = read_column(visitor, "building up", 63)
    assert number_in(reading) == pytest.approx(houston.scores(13, 8)[7, 2].item(), rel=1e-3)


def test_the_rail_stays_at_the_top_and_a_dot_goes_there_with_the_scroll_reset(visit):
    visitor = visit("/walkthrough?layer=13&head=8&station=values&query=7", width=420)
    page = visitor.page
    visitor.painted("map")
    main = page.locator('[data-testid="stMain"]')
    main.evaluate("(main) => (main.scrollTop = main.scrollHeight)")
    dots = page.get_by_role("navigation", name="Steps").get_by_role("button")
    assert dots.count() == 16
    box = dots.nth(5).bounding_box()
    assert 0 <= box["y"] < 200  # still in sight, at the bottom of the page
    dots.nth(5).click()
    page.get_by_role("heading", name="6. One key at a time: the dot product").wait_for()
    page.wait_for_function("document.querySelector('[data-testid=stMain]').scrollTop === 0")
    assert page.locator('button[aria-current="step"]').get_attribute("title").startswith("6. ")
    assert page.evaluate("document.documentElement.scrollWidth") <= 420


def test_a_term_explains_itself(visit):
    visitor = visit("/walkthrough?station=softmax")
    visitor.painted("row")
    visitor.idle()
    visitor.page.get_by_test_id("stTooltipHoverTarget").last.hover()
    visitor.page.get_by_text("A number computed from the prompt.").wait_for()

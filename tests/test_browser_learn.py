"""Learn in a real browser: cards reached by keyboard, laboratories within two screens, two questions at the end."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from inspector.analysis import shares
from inspector.learn.questions import questions_of
from inspector.ui.screens.labs.table import LABORATORIES, PAGES

pytestmark = [pytest.mark.browser, pytest.mark.packaged]
TWO_SCREENS = 1800


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (420, "dark"), (1920, "dark")])
def test_every_card_is_a_link_and_none_is_cut_off(visit, width, scheme):
    page = visit("/learn", width=width, scheme=scheme).page
    for one in PAGES[1:]:
        card = page.locator(f".st-key-card_{one.name}")
        box, link = card.bounding_box(), card.get_by_role("link", name=one.title)
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        expect(link).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_card_opens_by_keyboard_and_the_laboratory_leads_back(visit):
    page = visit("/learn").page
    page.get_by_role("link", name=LABORATORIES[2].title).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=LABORATORIES[2].title)).to_be_visible(timeout=60_000)
    page.get_by_role("link", name="More questions").click()
    expect(page.get_by_role("heading", name="Learn how attention works")).to_be_visible()
    page.locator(".st-key-card_dropout").click(position={"x": 150, "y": 70})  # anywhere on the card
    expect(page.get_by_role("heading", name="What does dropout do?")).to_be_visible(timeout=60_000)
    question = questions_of("dropout")[0]
    expect(page.get_by_text(question.why)).to_have_count(0)
    page.get_by_text(question.options[question.right], exact=True).click()
    expect(page.get_by_text(f"Right. {question.why}")).to_be_visible()
    page.get_by_role("link", name="More questions").click()
    expect(page.get_by_role("heading", name="Learn how attention works")).to_be_visible()
    page.go_back()
    expect(page.get_by_text(question.asks)).to_be_visible(timeout=60_000)
    expect(page.get_by_text(question.why)).to_have_count(0)  # as the page says: it asks anew


@pytest.mark.parametrize("name", [one.name for one in LABORATORIES])
def test_a_laboratory_fits_two_screens(visit, name):
    visitor = visit(f"/{name}?layer=13&head=8", width=1440, height=900)
    page = visitor.page
    page.get_by_text(questions_of(name)[1].asks).wait_for(timeout=60_000)
    visitor.idle()
    visitor.still()
    assert page.locator('[data-testid="stMain"]').evaluate("(main) => main.scrollHeight") <= TWO_SCREENS
    assert page.evaluate("document.documentElement.scrollWidth") <= 1440


def test_a_click_takes_a_head_out_of_the_output(visit, houston):
    visitor = visit("/head_shares?layer=13&head=8&query=6", width=420)
    page = visitor.page
    canvas = page.locator('canvas[data-testid="head_bars"]')
    visitor.painted("head_bars")
    canvas.focus()
    canvas.press("Home")
    canvas.press("ArrowRight")
    canvas.press("ArrowRight")
    frame = shares.output(houston, 13, 6, houston.output(13)[6].numpy()).frame
    reading = page.locator('[data-testid="head_bars-readout"]').text_content()
    assert f"{frame['projection'][2]:.4g}"[:5].replace("-", "−") in reading
    canvas.press("Enter")
    expect(page.get_by_text("Only head 2, and all without it")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 420


def test_another_text_is_crossed(visit):
    visitor = visit("/cross_attention?layer=16&head=0")
    page = visitor.page
    before = visitor.painted("map")
    field = page.get_by_role("textbox", name="The other text")
    field.fill("One two three")
    field.press("Enter")
    visitor.painted("map", unlike=before)
    expect(page.get_by_text("8 query tokens × 3 key tokens")).to_be_visible()


def test_clocks_turn_and_only_a_changed_distance_changes_the_score(visit, houston):
    visitor = visit("/position?layer=13&head=8&query=6&key=2")
    page = visitor.page
    page.emulate_media(reduced_motion="reduce")
    said, score = page.locator(".clocks .readout"), houston.scores(13, 8)[6, 2].item()
    expect(said).to_contain_text("4 apart, score", timeout=60_000)

    def computed() -> float:
        return float(page.locator(".clocks").get_attribute("data-score"))

    assert computed() == pytest.approx(score, rel=1e-5)
    page.get_by_role("button", name="Play").click()  # who wants no motion sees its end at once
    expect(said).to_contain_text("at position 66")
    expect(said).to_contain_text("as before: the distance has not changed")
    assert computed() == pytest.approx(score, rel=1e-5)
    page.get_by_label("Move the query alone").check()
    expect(said).to_contain_text("64 apart")
    expect(said).to_contain_text("the distance has changed")
    assert abs(computed() - score) > 0.1

"""Why in a real browser: from the next tokens down three levels of sums, and back by the link."""

from __future__ import annotations

import re

import pytest
from browser_app import Visitor, same
from playwright.sync_api import expect

from inspector import lab
from inspector.lab.effects import token_id
from inspector.ui.server import reasons

pytestmark = [pytest.mark.browser, pytest.mark.packaged]
LISTED = {"heads": reasons.HEADS, "sources": reasons.SOURCES, "parts": reasons.PARTS}


def bars_are(visitor: Visitor, key: str, shares: list[float]) -> None:
    """Read every bar with the arrow keys; its number is Python's."""
    canvas = visitor.page.locator(f'canvas[data-testid="{key}"]')
    canvas.focus()
    canvas.press("Home")
    for at, share in enumerate(shares):
        if at:
            canvas.press("ArrowRight")
        same(visitor.page.get_by_test_id(f"{key}-readout").text_content(), share)


def choose(visitor: Visitor, key: str, column: int, then: str) -> None:
    """Click a bar, and wait until the picture below it has changed."""
    before = visitor.painted(then)
    canvas = visitor.page.locator(f'canvas[data-testid="{key}"]')
    canvas.scroll_into_view_if_needed()
    x, step, y = (float(canvas.get_attribute(f"data-{name}")) for name in ("x", "step", "y"))
    canvas.click(position={"x": x + (column + 0.5) * step, "y": y + 5})
    visitor.painted(then, unlike=before)
    visitor.idle()


def test_from_the_next_tokens_down_three_levels(visit, houston, smollm):
    visitor = visit("/?layer=13&head=8")
    visitor.painted()
    visitor.page.locator("button.because").click()
    visitor.painted("why_logit")
    visitor.idle()
    found = lab.explain(houston, None, "mean", **LISTED)
    heads = [line for line in found.logit.lines if line.kind == "head"]
    bars_are(visitor, "why_logit", [line.share for line in heads])
    choose(visitor, "why_logit", 1, "why_sources")
    sources = heads[1].below.lines
    bars_are(visitor, "why_sources", [line.share for line in sources])
    choose(visitor, "why_sources", 1, "why_score")
    bars_are(visitor, "why_score", [line.share for line in sources[1].below.lines])
    for level in (found.logit, heads[1].below, sources[1].below):
        assert sum(line.share for line in level.lines) == pytest.approx(level.value, abs=1e-4)

    before = visitor.painted("why_logit")
    field = visitor.page.get_by_role("textbox", name="Against")
    field.fill("mean")  # the token of this text, not the mean of all
    field.press("Enter")
    before = visitor.painted("why_logit", unlike=before)
    visitor.idle()
    against = lab.explain(houston, None, token_id("mean", smollm), parts=0, heads=reasons.HEADS)
    assert against.logit.value != pytest.approx(found.logit.value, abs=0.1)
    bars_are(visitor, "why_logit", [line.share for line in against.logit.lines if line.kind == "head"])
    visitor.page.get_by_text("By itself", exact=True).click()
    visitor.painted("why_logit", unlike=before)
    visitor.idle()
    alone = lab.explain(houston, None, None, parts=0, heads=reasons.HEADS)
    bars_are(visitor, "why_logit", [line.share for line in alone.logit.lines if line.kind == "head"])

    visitor.page.get_by_text("Cut off each of the", exact=False).click()
    visitor.painted("why_measures")
    expect(visitor.page).to_have_url(re.compile("split=alone.*cut=yes|cut=yes.*split=alone"))
    visitor.page.reload()
    visitor.painted("why_measures")
    importance = lab.token_importance(houston, None, token_id("mean", smollm))
    canvas = visitor.page.locator('canvas[data-testid="why_measures"]')
    canvas.focus()
    canvas.press("Home")
    for at, bits in enumerate(importance.table["cut_kl_bits"].tolist()):
        if at:
            canvas.press("ArrowRight")
        readout = visitor.page.get_by_test_id("why_measures-readout").text_content()
        same(re.search("bits ([^·]+)·", readout)[1], bits)  # the first of its numbers; the others are measures

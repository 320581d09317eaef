"""Explore in a real browser: numbers of several kinds of models against Python's, and all of it by keyboard."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tiny
from browser_app import Visitor, same
from playwright.sync_api import expect

import inspector
from inspector.analysis import head_scores
from inspector.coverage import table
from inspector.coverage import tiny as every_type
from inspector.trace.trace import Trace
from inspector.ui.examples import EXAMPLES
from inspector.views import colours

pytestmark = [pytest.mark.browser, pytest.mark.packaged]

PROMPT = " ".join(f"w{i}" for i in (*range(11, 20), *range(11, 19)))
SLOW = ("gemma2", "gpt_oss", "laguna")  # soft-capped scores; a sink in each head; other numbers of heads in each layer
KINDS = ("grouped", "mistral", *SLOW)


def saved(kind: str, folder: Path) -> Path:
    """A tiny random model of this kind, saved in a folder."""
    if kind in tiny.KINDS:
        return tiny.save(kind, folder)
    with pytest.MonkeyPatch.context() as patch:
        layers = table.OVERRIDES["laguna"]
        heads = [4, 8, 6, 2][: len(layers["num_attention_heads_per_layer"])]
        patch.setitem(table.OVERRIDES, "laguna", {**layers, "num_attention_heads_per_layer": heads})
        return every_type.save(every_type.types()[kind], folder)


@pytest.fixture(params=[pytest.param(kind, marks=[pytest.mark.slow] * (kind in SLOW)) for kind in KINDS])
def shown(request, visit, tmp_path) -> tuple[Visitor, Trace]:
    """A visitor whose tab remembers the prompt in a model of this kind, and the prompt's trace."""
    folder = saved(request.param, tmp_path)
    visitor: Visitor = visit()
    before = visitor.painted()
    said = json.dumps({"request": {"model": str(folder), "prompt": PROMPT}})
    visitor.page.evaluate("(said) => sessionStorage.setItem('attention-inspector', said)", said)
    visitor.page.reload()
    visitor.painted(unlike=before)
    return visitor, inspector.load(folder).trace(PROMPT)


def at_head(visitor: Visitor) -> tuple[int, int]:
    """The head whose map is on screen."""
    title = visitor.page.get_by_test_id("head-title").text_content()
    layer, head = re.fullmatch(r"Layer (\d+), head (\d+)", title).groups()
    return int(layer), int(head)


def test_chips_and_scores_are_those_of_the_measures(shown):
    visitor, trace = shown
    frame = head_scores.measures(trace).set_index(["layer", "head"])
    for found in head_scores.role_summaries(frame.reset_index(), trace.tokens.ids):
        chip = visitor.page.locator(f'.chip[data-role="{found.measure.name}"]')
        heads = f"{found.count} head{'s' * (found.count > 1)} · " if found.count else ""
        assert chip.locator("> span").text_content() == f"{heads}best score {found.best:.2f}"
        chip.click()
        visitor.page.locator(f'canvas[data-order="{found.measure.name}"]').wait_for()
        assert at_head(visitor) == found.head
        assert f": {found.best:.2f}" in visitor.page.get_by_test_id("head-readout").text_content()
        facts = visitor.page.locator(".facts dd span").all_text_contents()
        assert facts == [f"{frame.loc[found.head, role.name]:.2f}" for role in head_scores.ROLES]


def test_the_map_and_the_text_are_the_heads_weights(shown):
    visitor, trace = shown
    for layer in {0, len(trace.layers) - 1}:
        head = trace.layers[layer].heads - 1
        if at_head(visitor) != (layer, head):
            visitor.click_head(layer, head, kv_share=trace.layers[layer].heads // trace.layers[layer].kv_heads)
        assert at_head(visitor) == (layer, head)
        weights, allowed = trace.weights(layer, head).numpy(), trace.allowed(layer, head).numpy()
        for row, column in ((0, 0), (4, 1), (9, 9), (12, 2), (16, 0), (16, 3), (16, 15)):
            read = visitor.hover_cell(row, column)
            if allowed[row, column]:
                same(read, weights[row, column].item())
            else:
                assert "masked" in read
        visitor.page.mouse.move(0, 0)
        for query in (3, 16):
            visitor.page.get_by_role("toolbar").get_by_role("button").nth(query).click()
            visitor.page.mouse.move(0, 0)
            most = int(weights[query].argmax())
            label = trace.tokens.labels[most].lstrip("␣")
            text = visitor.page.get_by_test_id("reading").text_content()
            assert f"“{label}”: {100 * weights[query, most]:.1f} %" in text
            row = np.where(allowed[query], weights[query], np.nan)
            assert painted(visitor) == expected_colours(row)


def painted(visitor: Visitor) -> list[tuple[int, ...] | None]:
    """The colour of each token of the text, None where it has none."""
    script = "(all) => all.map((token) => token.style.background)"
    found = visitor.page.locator(".text .token").evaluate_all(script)
    return [tuple(map(int, re.findall(r"\d+", each))) or None for each in found]


def expected_colours(row: np.ndarray) -> list[tuple[int, ...] | None]:
    """The colours of one query token's weights on the square root's scale, None where a key is masked."""
    rgb = colours.painted(row, colours.LIGHT, scale="sqrt", top=1.0)
    return [None if np.isnan(value) else tuple(map(int, each[:3])) for value, each in zip(row, rgb, strict=True)]


def test_next_tokens_are_those_of_the_model(shown):
    visitor, trace = shown
    expected = trace.next_tokens_after_each(5)
    for query in (0, 7, trace.n - 1):
        visitor.page.get_by_role("toolbar").get_by_role("button").nth(query).click()
        visitor.page.mouse.move(0, 0)
        rows = visitor.page.get_by_test_id("next-tokens").locator("li")
        assert rows.locator(".word").all_text_contents() == [label.lstrip("␣") for label, *_ in expected[query]]
        percents = [f"{100 * share:.1f} %" if share >= 0.001 else "< 0.1 %" for *_, share in expected[query]]
        assert rows.locator(".share").all_text_contents() == percents


def test_a_window_and_shared_keys_are_said(visit, shown):
    visitor, trace = shown
    layer = trace.layers[at_head(visitor)[0]]
    said = visitor.page.locator(".shares").text_content()
    assert (f"looks back {layer.window} tokens at most" in said) == bool(layer.window)
    assert ("shares keys and values with" in said) == (layer.kv_heads < layer.heads)


# -- by keyboard -----------------------------------------------------------------------------------------------------

FOCUSED = """() => {
    let at = document.activeElement;
    while (at.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
    if (at.closest(".tokens") || at.localName === "summary") return at.closest(".tokens") ? "token" : "summary";
    return at.dataset.testid || at.dataset.role || at.name || at.className.split(" ").at(-1) || at.localName;
}"""
CHIPS = ["layers", *(role.name for role in head_scores.ROLES)]


def tab_to(visitor: Visitor, name: str, *, key: str = "Tab") -> list[str]:
    """Press Tab until this has the focus; what had it on the way."""
    passed: list[str] = []
    for _ in range(30):
        visitor.page.keyboard.press(key)
        found = visitor.page.evaluate(FOCUSED)
        if found == name:
            return passed
        passed.append(found)
    raise AssertionError(f"{name} has no focus after {passed}")


def address_has(visitor: Visitor, part: str, *, there: bool = True) -> None:
    """Wait until this stands behind the # of the address, or no longer does."""
    visitor.page.wait_for_function("([part, there]) => location.hash.includes(part) === there", arg=[part, there])


def chosen_token(visitor: Visitor) -> int:
    """The position of the query token that is chosen in the text."""
    pressed = "(all) => all.map((token) => token.getAttribute('aria-pressed'))"
    found: list[str] = visitor.page.locator(".token").evaluate_all(pressed)
    assert found.count("true") == 1
    return found.index("true")


def test_chips_grid_map_and_text_are_used_by_keyboard_alone(visit):
    visitor = visit()
    visitor.painted()
    page, press = visitor.page, visitor.page.keyboard.press
    page.get_by_role("link", name="Lines", exact=True).focus()
    tab_to(visitor, "layers")
    assert tab_to(visitor, "token") == [
        *CHIPS[1:],
        "order",
        "sink",
        "heads",
        "gone",
        "astable",
        "summary",
        "keys",
        "map",
        "explain",
    ]

    tab_to(visitor, "back 1", key="Shift+Tab")  # a chip says what it means, sorts, and keeps the focus
    meaning = page.locator(".meanings p:not([hidden])")
    meaning.get_by_text("token 1 before").wait_for()
    press("Escape")
    assert meaning.count() == 0
    press("Enter")
    page.locator('canvas[data-order="back 1"]').wait_for()
    assert page.evaluate(FOCUSED) == "back 1"

    before = at_head(visitor)
    tab_to(visitor, "heads")
    press("ArrowRight")
    assert at_head(visitor) != before
    press("ArrowLeft")
    assert at_head(visitor) == before

    tab_to(visitor, "map")  # arrows read, Enter locks
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight", "Enter"):
        press(key)
    address_has(visitor, "query=2&key=1")
    tab_to(visitor, "token")
    assert visitor.reading().endswith("(locked)")
    last = page.locator(".token").count() - 1
    for key, query in (("ArrowRight", 3), ("Home", 0), ("ArrowLeft", 0), ("End", last), ("ArrowRight", last)):
        press(key)
        assert (page.evaluate(FOCUSED), chosen_token(visitor)) == ("token", query)


def test_menu_table_keys_and_tabs_are_used_by_keyboard_alone(visit):
    visitor = visit("/?query=5&key=2")
    visitor.painted()
    page, press = visitor.page, visitor.page.keyboard.press
    page.get_by_role("link", name="Lines", exact=True).focus()
    tab_to(visitor, "sink")
    press("Space")
    address_has(visitor, "sink=without")
    press("Space")

    tab_to(visitor, "summary")
    press("Enter")
    assert tab_to(visitor, "least") == ["show", "scale", "unit"]
    press("ArrowRight")
    assert page.locator("input.least").get_attribute("aria-valuetext") == "0.01"
    press("Escape")  # the menu alone
    assert page.evaluate(FOCUSED) == "summary"
    address_has(visitor, "key=2")

    press("?")
    page.get_by_role("dialog").get_by_text("arrow keys move").wait_for()
    press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    address_has(visitor, "key=2")

    tab_to(visitor, "astable", key="Shift+Tab")
    press("Enter")
    tab_to(visitor, "table")
    tab_to(visitor, "link")
    press("Enter")
    address_has(visitor, "key=2", there=False)  # the strongest pair is another
    address_has(visitor, "key=")

    press("Escape")  # lets the token go, on the server too: it writes the address of the other pages
    address_has(visitor, "key=", there=False)
    tab = page.get_by_role("link", name="Pair", exact=True)
    assert page.get_by_role("link", name="Heads", exact=True).get_attribute("aria-current") == "page"
    tab.focus()
    press("Enter")
    visitor.painted("planes")
    visitor.idle()
    page.wait_for_function("document.querySelector('.st-key-tab_here a[aria-current=page]')?.textContent === 'Pair'")
    assert "key=" not in page.url
    assert page.locator("[aria-current=page]").count() == 2  # Explore, and its tab
    visitor.open_bar("prompt")  # first opened after several runs of the script: what is on screen can be edited
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value(EXAMPLES[0].prompt)

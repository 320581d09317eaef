"""The app as a person meets it: a real chromium, the network cut, numbers on screen against numbers from Python."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from browser_app import Visitor, same

from inspector import views
from inspector.analysis import head_scores, rope_planes

pytestmark = [pytest.mark.browser, pytest.mark.packaged]

SHADES_AND_WIDTHS = pytest.mark.parametrize(
    ("scheme", "width"),
    [
        ("light", 1400),
        ("dark", 400),
        pytest.param("light", 400, marks=pytest.mark.slow),
        pytest.param("dark", 1400, marks=pytest.mark.slow),
    ],
)


def test_from_prompt_to_head_to_the_number_under_the_pointer(visit, smollm):
    visitor = visit()
    visitor.painted()
    prompt = "The cat sat on the mat because it was tired."
    visitor.run_prompt(prompt)
    visitor.click_head(3, 7, kv_share=3)
    visitor.idle()
    visitor.page.get_by_test_id("head-title").get_by_text("Layer 3, head 7", exact=True).wait_for()
    visitor.page.wait_for_function("location.hash.includes('layer=3&head=7')")
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
    assert "Layer 5, head 3" in visitor.page.locator('[data-testid="head-readout"]').text_content()
    visitor.painted(unlike=before)
    visitor.page.get_by_test_id("head-title").get_by_text("Layer 5, head 3", exact=True).wait_for()


def test_a_link_reopens_layer_head_show_and_scale(visit, houston):
    visitor = visit("/?layer=12&head=5&show=scaled_scores")
    visitor.painted()
    visitor.page.get_by_test_id("head-title").get_by_text("Layer 12, head 5", exact=True).wait_for()
    same(visitor.hover_cell(6, 2), houston.scaled_scores(12, 5)[6, 2].item())
    logarithm = visit("/?layer=12&head=5&scale=log")
    logarithm.painted()
    assert "weight (log scale)" in logarithm.page.locator('[data-testid="legend"]').first.text_content()


def test_vectors_show_the_traces_numbers(visit, houston):
    visitor = visit("/?layer=12&head=5")
    visitor.painted()
    visitor.page.get_by_role("link", name="Vectors").click()
    visitor.page.get_by_text("Query before RoPE", exact=True).wait_for()
    visitor.idle()
    visitor.page.wait_for_function("location.hash.includes('layer=12')")
    visitor.painted()
    same(visitor.hover_cell(3, 40), houston.query(12, 5, rope=False)[3, 40].item())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_cell_has_the_colour_of_its_number(visit, houston, scheme):
    """Reading a number exactly and painting it are two things: here the painted pixels are read."""
    visitor = visit("/?layer=12&head=5&scale=linear", scheme=scheme)
    visitor.painted()
    allowed = np.tril_indices(8)
    colours = np.array(visitor.colours(8, 8))
    ladder = colours.sum(-1)[allowed][np.argsort(houston.weights(12, 5).numpy()[allowed], kind="stable")]
    steps = np.diff(ladder) * (-1 if scheme == "light" else 1)
    assert (steps >= 0).all()
    assert steps.sum() > 300  # the larger a weight, the farther from the page's own colour
    assert len({tuple(colour) for colour in colours[np.triu_indices(8, 1)]}) == 1  # masked: one grey
    for path, numbers in (
        ("/?layer=12&head=5&show=scaled_scores", houston.scaled_scores(12, 5).numpy()),
        ("/vectors?layer=12&head=5", houston.query(12, 5, rope=False).numpy()),
    ):
        visitor.open(path)
        visitor.painted()
        red, _, blue = np.moveaxis(np.array(visitor.colours(*numbers.shape)), -1, 0)
        seen = np.abs(numbers) > np.abs(numbers).max() / 8
        if "vectors" not in path:
            seen &= np.tri(8, dtype=bool)  # the others are masked
        assert set(np.sign(numbers[seen])) == {-1, 1}
        assert (np.abs(red - blue)[seen] > 12).all()  # zero's own colour has 10 in dark
        assert np.array_equal(np.sign(red - blue)[seen], np.sign(numbers)[seen])  # orange above zero, blue below


def frame_of(visitor: Visitor, kind: str) -> Any:
    """The document in BertViz's frame, once it has drawn this view."""
    visitor.page.frame_locator('[data-testid="frame"]').locator(f"body.{kind}").wait_for()
    found = visitor.page.locator('[data-testid="frame"]').element_handle().content_frame()
    found.wait_for_selector("html[data-drawn]", state="attached")
    return found


def test_bertviz_draws_the_traces_weights_without_a_network(visit, houston):
    visitor = visit("/bertviz?layer=12&head=5")
    script = "(s) => [...document.querySelectorAll(s)].map((e) => Number(e.getAttribute('stroke-opacity')))"
    frame = frame_of(visitor, "head")
    weights = houston.weights(12, None)
    drawn = torch.tensor(frame.evaluate(script, "#attention line"), dtype=torch.float64)
    torch.testing.assert_close(drawn.reshape(9, 8, 8), weights.double() / 9)
    # What runs in there reaches neither the app around it nor, were there a network, any host.
    reach = "() => { try { return parent.document.title; } catch (error) { return error.name; } }"
    assert frame.evaluate(reach) == "SecurityError"
    assert frame.evaluate("() => origin") == "null"

    visitor.page.get_by_role("radio", name="Model view").click()
    frame = frame_of(visitor, "model")
    drawn = torch.tensor(frame.evaluate(script, "#vis line"), dtype=torch.float64).reshape(5, 9, 8, 8)
    assert torch.equal(drawn[2], weights.double())

    visitor.page.get_by_role("radio", name="Neuron view").click()
    frame = frame_of(visitor, "neuron")
    frame.locator("#expanded #leftText > g").nth(6).hover()
    dots = frame.evaluate("() => [...document.querySelectorAll('.dotproduct')].map((e) => +e.dataset.value)")
    torch.testing.assert_close(torch.tensor(dots), houston.scaled_scores(12, 5)[6], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(torch.tensor(dots)[:7].softmax(0), weights[5, 6, :7], atol=1e-5, rtol=1e-4)


def test_bertviz_is_saved_as_one_file_that_opens_by_itself(visit, houston):
    visitor = visit("/bertviz?layer=12&head=5")
    frame_of(visitor, "head")
    visitor.open_bar("export")
    with visitor.page.expect_download() as saved:
        visitor.page.get_by_role("button", name="HTML page", exact=True).click()
    assert saved.value.suggested_filename == "smollm2-135m-instruct-lines-head-view-of-layer-12.html"
    text = saved.value.path().read_text(encoding="utf-8")
    assert text == views.head_view(houston, [12], chosen=5).html


@SHADES_AND_WIDTHS
def test_bertviz_fits_the_page_and_its_theme(visit, scheme, width):
    visitor = visit("/bertviz?layer=12&head=5", width=width, scheme=scheme)
    for kind in ("head", "model", "neuron"):
        visitor.page.get_by_role("radio", name=f"{kind.capitalize()} view").click()
        frame = frame_of(visitor, kind)
        assert frame.evaluate("() => document.documentElement.dataset.theme") == scheme
        box = visitor.page.locator('[data-testid="frame"]').bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        frame.wait_for_function("document.documentElement.scrollHeight <= innerHeight")  # nothing to scroll down for
        if width == 1400:
            assert frame.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_pair_from_the_heads_page_shows_pythons_numbers(visit, houston):
    visitor = visit()
    visitor.click_head(12, 5, kv_share=3)
    visitor.page.wait_for_function("location.hash.includes('layer=12&head=5')")
    visitor.idle()
    visitor.page.get_by_role("link", name="Pair").click()
    visitor.painted("planes")
    visitor.idle()
    visitor.page.wait_for_function("location.hash.includes('layer=12&head=5')")
    weights = houston.weights(12, 5)
    key = 1 + weights[7, 1:].argmax().item()
    assert _metric(visitor, "= attention weight") == f"{weights[7, key].item():.5g}"

    query, keys = houston.query(12, 5)[7], houston.key(12, 5)
    shown = _read_column(visitor, "product", 40)
    assert "dimension 40 · plane 8, with dimension 8" in shown
    same(shown, (query[40] * keys[key, 40]).item())
    before, other = visitor.painted("product"), 2
    assert f"key token {other} {houston.tokens.labels[other]}" in _read_column(visitor, "row", other)
    same(visitor.page.get_by_test_id("row-readout").text_content(), houston.scaled_scores(12, 5)[7, other].item())
    _column(visitor, "row", other, lambda canvas, at: canvas.click(position=at))
    visitor.painted("product", unlike=before)
    visitor.idle()
    visitor.page.wait_for_function(f"location.hash.includes('key={other}')")
    assert _metric(visitor, "Score") == f"{houston.scores(12, 5)[7, other].item():.5g}".replace("-", "−")
    found = rope_planes.planes(houston, 12, 5, 7, other)
    same(_read_column(visitor, "planes", 6), found["position"][6])
    picture = visitor.page.get_by_test_id("row")
    picture.focus()
    picture.press("ArrowRight")  # enters at the chosen key
    picture.press("ArrowRight")
    picture.press("Enter")
    visitor.page.wait_for_function("location.hash.includes('key=3')")


@SHADES_AND_WIDTHS
def test_a_pair_light_and_dark_wide_and_narrow_is_not_cut_off(visit, scheme, width):
    visitor = visit("/pair?layer=16&head=0", width=width, scheme=scheme)
    for name in ("product", "row", "planes"):
        visitor.painted(name)
        box = visitor.page.get_by_test_id(name).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width + 0.5
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width
    # The query vector's number farthest from zero has an end of the theme's ramp.
    colours = visitor.page.evaluate(
        """() => { const canvas = [...document.querySelectorAll('*')].map((e) => e.shadowRoot).filter(Boolean)
             .map((r) => r.querySelector('canvas[data-testid=product]')).find(Boolean);
           const ratio = devicePixelRatio, d = canvas.dataset, ctx = canvas.getContext('2d');
           return [...Array(64).keys()].map((c) => [...ctx.getImageData(
             (Number(d.x) + (c + 0.4) * Number(d.step)) * ratio, Number(d.y) * ratio, 1, 1).data].join()); }"""
    )
    ends = ("8,58,115,255", "122,53,3,255") if scheme == "light" else ("181,220,255,255", "255,217,176,255")
    assert any(end in colours for end in ends)


def _column(visitor: Visitor, name: str, column: int, act: Callable[[Any, dict[str, float]], None]) -> None:
    """Do something at one column of a picture of the page Pair."""
    canvas = visitor.page.get_by_test_id(name)
    canvas.scroll_into_view_if_needed()
    at = {part: float(canvas.get_attribute(f"data-{part}")) for part in ("x", "y", "step")}
    act(canvas, {"x": at["x"] + (column + 0.5) * at["step"], "y": at["y"]})


def _read_column(visitor: Visitor, name: str, column: int) -> str:
    _column(visitor, name, column, lambda canvas, at: canvas.hover(position=at))
    return visitor.page.get_by_test_id(f"{name}-readout").text_content()


def _metric(visitor: Visitor, title: str) -> str:
    field = visitor.page.get_by_test_id("stMetric").filter(has_text=title).first
    return field.get_by_test_id("stMetricValue").text_content().strip()


@SHADES_AND_WIDTHS
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
    visitor = visit("/bertviz", scheme="dark")
    frame_of(visitor, "head")
    style = "([selector, name]) => getComputedStyle(document.querySelector(selector))[name]"
    text = visitor.page.evaluate(style, [".stApp", "color"])
    chosen = '[data-testid="stButtonGroup"] button[data-selected="true"]'
    same = f"([selector, name, text]) => ({style})([selector, name]) === text"
    visitor.page.wait_for_function(same, arg=[chosen, "color", text])  # Streamlit's colours come in gradually
    visitor.open_bar("prompt")
    run = '[data-testid^="stBaseButton-primary"] p'
    visitor.page.wait_for_function(same, arg=[run, "color", "rgb(26, 13, 5)"])  # on the pale accent


def test_a_model_that_cannot_be_loaded_keeps_the_screen(visit):
    visitor = visit()
    visitor.painted()
    visitor.open_bar("model")
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
    visitor.page.get_by_text("is the largest of 2 × 2").wait_for()
    visitor.page.get_by_text("The others follow by themselves").wait_for()
    grid = visitor.page.locator('canvas[data-testid="heads"]')
    before = visitor.painted()
    grid.focus()
    grid.press("ArrowDown")  # a head chosen while small pictures are still being drawn
    title = visitor.page.get_by_test_id("head-title")
    title.get_by_text(re.compile("Layer [0-9]+, head 0")).wait_for()
    visitor.painted(unlike=before)
    layer = int(re.search(r"Layer (\d+)", title.text_content())[1])
    shown = visitor.hover_cell(100, 99)
    same(shown, trace.weights(layer, 0)[200:202, 198:200].max().item())
    assert "largest of 2 × 2" in shown
    visitor.page.mouse.down()
    visitor.page.mouse.up()
    visitor.page.get_by_text("Exact cells").wait_for()


def test_a_short_prompt_is_verified_by_itself_and_whole_on_its_page(visit):
    visitor = visit()
    visitor.run_prompt("A text of my own to verify")
    visitor.page.locator(".st-key-badge").get_by_text("Verified, 0 differ").wait_for(timeout=60_000)
    visitor.open_bar("badge")
    visitor.page.get_by_text("Only the stages were compared").wait_for()
    visitor.page.get_by_role("link", name="Open the report").click()
    visitor.page.get_by_text("every stage of every layer was compared in the background").wait_for()
    visitor.page.get_by_role("button", name="Verify this prompt").click()
    verdict = re.compile("Reproduced bit for bit at every stage of all 30 layers")
    visitor.page.get_by_text(verdict).first.wait_for(timeout=90_000)
    visitor.page.get_by_text(re.compile(r"Planted mistakes: (\d+) planted, \1 caught")).wait_for()


def test_chips_sort_the_heads_and_all_is_seen_without_scrolling(visit, smollm):
    visitor = visit()
    for width, height in ((1440, 900), (1920, 1080), (1024, 768), (1400, 1000)):
        visitor.page.set_viewport_size({"width": width, "height": height})
        visitor.open()
        visitor.painted()
        visitor.idle()  # what stands above the screen comes in its own time
        visitor.page.wait_for_function(
            "() => [document.querySelector('[data-testid=stMain]')].every((m) => m.scrollHeight <= m.clientHeight)"
        )
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width
    prompt = "Red lion, blue moon. Red lion, blue moon. Red lion"
    visitor.run_prompt(prompt)
    trace = smollm.trace(prompt)
    frame = head_scores.measures(trace)
    best = frame.loc[frame["repeated"].idxmax()]
    visitor.page.get_by_role("button", name=re.compile("Induction")).click()
    grid = visitor.page.locator('canvas[data-testid="heads"][data-order="repeated"]')
    grid.wait_for()
    layer, head = int(best["layer"]), int(best["head"])
    visitor.page.get_by_test_id("head-title").get_by_text(f"Layer {layer}, head {head}", exact=True).wait_for()
    assert f"{best['repeated']:.2f}" in visitor.page.get_by_test_id("head-readout").text_content()
    weights = trace.weights(layer, head)[trace.n - 1]
    text = visitor.page.get_by_test_id("reading").text_content()
    most = int(weights.argmax())
    assert f"“{trace.tokens.labels[most].lstrip('␣')}”: {100 * weights[most].item():.1f} %" in text
    shown = visitor.page.get_by_test_id("next-tokens").locator("li .share").all_text_contents()
    assert shown == [f"{100 * share:.1f} %" for _, _, share in trace.next_tokens(5)]
    toolbar = visitor.page.get_by_role("toolbar")
    toolbar.get_by_role("button").nth(3).click()
    expected = trace.next_tokens_after_each(5)[3]
    shown = visitor.page.get_by_test_id("next-tokens").locator("li .share").all_text_contents()
    assert shown == [f"{100 * share:.1f} %" for _, _, share in expected]
    visitor.hover_cell(5, 2)
    visitor.page.mouse.down()
    visitor.page.mouse.up()
    visitor.page.wait_for_function("location.hash.includes('query=5&key=2')")
    visitor.page.keyboard.press("Escape")
    visitor.page.wait_for_function("!location.hash.includes('key=')")
    visitor.page.get_by_role("button", name="Table").click()
    table = visitor.page.get_by_role("region", name="Strongest pairs")
    first = table.locator("tbody tr").first.locator("td").nth(2).text_content()
    assert float(first) == float(f"{trace.weights(layer, head).max().item():.3e}")

"""BertViz's views: the page holds the trace's own numbers, what BertViz draws from them in a real browser (network cut)
equals trace.weights, and no token text becomes markup."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch

import inspector
from inspector import views
from inspector.trace.tokens import Tokens
from inspector.views import bertviz
from inspector.views.colours import DARK, LIGHT, rgb

VENDOR = Path(bertviz.__file__).parent / "vendor"
HOSTILE = (
    "</script><script>document.title='hacked'</script>",
    "<!--<script>",
    "<img src=x onerror=\"document.title='hacked'\">",
    "\"'`${1}\\u003c\\",
    "&lt;b&gt;&amp;",
    "🙂🚀日本",
    "שלום\u202eabc",
    "]]>\u2028\u2029\x00",
)


def trace_of(kind: str, folder: Path, n: int = 12) -> inspector.Trace:
    return tiny.load(kind, folder).trace(tiny.ids(n))


def data_of(view: views.View) -> dict[str, Any]:
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', view.html)
    return json.loads(data)


def numbers_of(packed: dict[str, Any]) -> np.ndarray:
    flat = np.frombuffer(base64.b64decode(packed["bytes"]), dtype="<f4")
    if not packed["lower"]:
        return flat.reshape(packed["shape"])
    full = np.zeros(packed["shape"], dtype=np.float32)
    rows = packed["shape"][-2]
    full[..., np.tri(rows, dtype=bool)] = flat.reshape(*packed["shape"][:-2], -1)
    return full


# -- what the page holds -----------------------------------------------------------------------------------------------


@pytest.mark.packaged
def test_pages_hold_the_traces_own_weights_once(houston):
    head = data_of(views.head_view(houston, [5, 3]))
    attn = numbers_of(head["attention"][0]["attn"])
    assert attn.shape == (2, 9, 8, 8)
    for index, layer in enumerate([5, 3]):
        assert np.array_equal(attn[index], houston.weights(layer, None).numpy())
    assert head["include_layers"] == [5, 3]
    assert head["attention"][0]["attn"]["lower"]  # the future does not travel
    assert head["attention"][0]["left_text"] == list(houston.tokens.labels)

    model = data_of(views.model_view(houston, [1, 2], [0, 8]))
    attn = numbers_of(model["attention"][0]["attn"])
    assert np.array_equal(attn[1, 1], houston.weights(2, 8).numpy())
    assert (model["include_layers"], model["include_heads"], model["total_heads"]) == ([1, 2], [0, 8], 9)
    everything = data_of(views.model_view(houston))
    assert everything["attention"][0]["attn"]["shape"] == [30, 9, 8, 8]


@pytest.mark.parametrize(
    "kind", ["grouped", "multi-query", "granite", "gemma", "mistral", "yarn mscale", "phi3 partial"]
)
def test_softmax_of_what_the_neuron_view_is_given_is_the_weights(kind, tmp_path):
    trace = trace_of(kind, tmp_path)
    part = data_of(views.neuron_view(trace, 1, 3))["attention"]["all"]
    query, key, allowed = (torch.tensor(numbers_of(part[name])) for name in ("queries", "keys", "allowed"))
    scores = query[0, 0].double() @ key[0, 0].double().T / query.shape[-1] ** 0.5
    assert torch.equal(allowed.bool(), trace.allowed(1, head=3))
    weights = scores.masked_fill(~allowed.bool(), -torch.inf).softmax(-1)
    torch.testing.assert_close(weights, trace.weights(1, 3).double(), atol=1e-6, rtol=1e-5)
    assert np.array_equal(numbers_of(part["attn"])[0, 0], trace.weights(1, 3).numpy())


def test_the_neuron_view_says_what_it_does_not_draw(tmp_path):
    assert "Queries are drawn times 1.2," in views.neuron_view(trace_of("granite", tmp_path / "a")).html
    assert "caps scores softly at 2;" in views.neuron_view(trace_of("gemma2", tmp_path / "b")).html
    plain = trace_of("grouped", tmp_path / "c")
    assert bertviz._between(plain.layers[0], 1.0) == []
    (note,) = bertviz._between(replace(plain.layers[0], bias=True, sinks=True), 1.0)
    assert "adds a bias to scores, and gives part of each row to an attention sink" in note
    assert "also" not in views.neuron_view(plain).html.split("<script")[0]


def test_a_layer_whose_weights_cannot_be_explained_is_not_drawn(tmp_path):
    trace = trace_of("grouped", tmp_path)
    trace.stored[1].unexplained = "something is added to its scores"
    for make in (views.head_view, views.model_view, lambda trace: views.neuron_view(trace, 1)):
        with pytest.raises(inspector.InspectorError, match="something is added"):
            make(trace)


@pytest.mark.parametrize(
    ("layers", "heads", "sentence"),
    [
        ([3], None, "Layer 3 does not exist: this model has layers 0 to 2"),
        ([-1], None, "Layer -1 does not exist"),
        ([0], [4], "Head 4 does not exist: layer 0 has heads 0 to 3"),
        ([], None, "No layer or no head was chosen"),
        ([0], [], "No layer or no head was chosen"),
    ],
)
def test_what_does_not_exist_is_named(tmp_path, layers, heads, sentence):
    trace = trace_of("grouped", tmp_path)
    for make in (views.head_view, views.model_view):
        with pytest.raises(inspector.InspectorError, match=re.escape(sentence)):
            make(trace, layers, heads)


def test_layers_with_different_numbers_of_heads(tmp_path):
    trace = trace_of("multi-head", tmp_path)
    trace.stored[1].info = replace(trace.stored[1].info, heads=2, kv_heads=2)
    with pytest.raises(inspector.InspectorError, match="between 2 and 4 heads"):
        views.model_view(trace)
    assert data_of(views.model_view(trace, heads=[0, 1]))["include_heads"] == [0, 1]


def test_beyond_what_a_browser_bears_one_sentence(tmp_path):
    trace = trace_of("grouped", tmp_path, n=180)
    fit = bertviz.most_heads("head", 180)
    assert 1 <= fit < 4
    with pytest.raises(inspector.InspectorError) as found:
        views.head_view(trace)
    said = str(found.value)
    assert f"{bertviz.shapes('head', 180, heads=4):,} shapes" in said
    assert "stays usable to 75,000" in said
    assert f"choose at most {fit} heads in all" in said
    assert "Heads page" in said
    views.head_view(trace, heads=range(fit))
    with pytest.raises(inspector.InspectorError, match=r"use at most 14\d tokens"):
        views.neuron_view(trace)


@pytest.mark.parametrize("kind", ["head", "model", "neuron"])
def test_pages_ask_nobody_for_anything(tmp_path, kind):
    view = {"head": views.head_view, "model": views.model_view, "neuron": views.neuron_view}[kind](
        trace_of("grouped", tmp_path)
    )
    assert "default-src 'none'" in view.html
    outside = view.html.split("<script", 1)[0] + view.html.rsplit("</script>", 1)[1]
    assert not re.search(r"<(link|img|iframe|script)\b|\b(src|href)=|url\(|@import", outside)
    assert "<script src" not in view.html
    assert "Michael Bostock" in view.html or "Mike Bostock" in view.html  # whose licence asks to be named


@pytest.mark.parametrize("kind", ["head", "model", "neuron"])
def test_tokens_never_end_the_script(tmp_path, kind):
    trace = trace_of("grouped", tmp_path, n=len(HOSTILE))
    make = {"head": views.head_view, "model": views.model_view, "neuron": views.neuron_view}[kind]
    before = make(trace)
    trace.tokens = Tokens(trace.tokens.ids, HOSTILE, HOSTILE)
    trace.model_name = HOSTILE[0]
    view = make(trace)
    for mark in ("<script", "</script", "<!--", "<img"):
        assert view.html.count(mark) == before.html.count(mark), mark
    assert "<" not in json.dumps(data_of(before))
    most = {"head": 13, "model": 10, "neuron": 14}[kind]
    part = next(iter(data_of(view)["attention"].values())) if kind == "neuron" else data_of(view)["attention"][0]
    assert part["left_text"] == [bertviz._short(token, most) for token in HOSTILE]


def test_long_tokens_are_shortened_to_what_bertviz_shows():
    assert bertviz._short("abc", 3) == "abc"
    assert bertviz._short("abcd", 3) == "ab…"
    assert bertviz._short("日本語", 4) == "日…"


def test_a_notebook_shows_it_in_a_closed_frame_and_a_file_keeps_it(tmp_path):
    view = views.head_view(trace_of("grouped", tmp_path / "model"), [1], dark=True)
    assert view.html.startswith("<!doctype html>")
    assert '<html lang="en" data-theme="dark">' in view.html
    assert view.save(tmp_path / "head.html").read_text(encoding="utf-8") == view.html
    found: list[dict[str, str | None]] = []

    class Frames(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append({"tag": tag, **dict(attrs)})

    Frames().feed(view._repr_html_())
    style, words, frame = found
    assert (style["tag"], words["tag"], frame["tag"]) == ("style", "p", "iframe")
    # A notebook that is not trusted strips the frame and the style that hides the words.
    assert f".{words['class']} {{ display: none }}" in view._repr_html_()
    assert frame["sandbox"] == "allow-scripts"  # never with allow-same-origin
    assert frame["srcdoc"] == view.html
    assert len(repr(view)) < 200


def test_another_layout_of_bertviz_is_refused(monkeypatch, tmp_path):
    trace = trace_of("grouped", tmp_path)
    monkeypatch.setattr(bertviz, "_MARKER", ("not in there", ""))
    bertviz._script.cache_clear()
    try:
        with pytest.raises(inspector.InspectorError, match=re.escape("pip install bertviz==1.4.1")):
            views.head_view(trace)
    finally:
        bertviz._script.cache_clear()


def test_vendored_files_are_named_with_version_and_licence():
    said = (VENDOR / "README.md").read_text(encoding="utf-8")
    script = (VENDOR / "d3.min.js").read_text(encoding="utf-8")
    (number,) = re.findall(r"d3js\.org v([\d.]+) ", script[:200])
    assert f"`d3@{number}`" in said
    assert "Redistribution and use" in (VENDOR / "d3.LICENSE").read_text(encoding="utf-8")
    assert {path.name for path in VENDOR.iterdir()} == {"README.md", "d3.min.js", "d3.LICENSE"}
    for name in ("head_view.js", "model_view.js", "neuron_view.js"):
        found = bertviz._script(name)
        assert "PYTHON_PARAMS;" not in found
        for text in (found, script):
            assert "</script" not in text.lower()


# -- what BertViz draws, in a real browser --------------------------------------------------------------------------


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a view by itself; at the end nothing may have gone wrong: no error, no request."""
    wrong: list[str] = []
    pages = []

    def make(view: views.View, width: int = 1100) -> Any:
        page = browser.new_page(viewport={"width": width, "height": 900})
        pages.append(page)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: wrong.append(request.url))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.set_content(view.html)
        page.locator("html[data-drawn]").wait_for(state="attached")
        return page

    yield make
    for page in pages:
        page.close()
    assert not wrong


def opacities(page: Any, lines: str) -> np.ndarray:
    """stroke-opacity of these lines, flat: what BertViz draws a weight as."""
    script = "(lines) => [...document.querySelectorAll(lines)].map((e) => Number(e.getAttribute('stroke-opacity')))"
    return np.array(page.evaluate(script, lines))


def moused(page: Any, selector: str, index: int) -> None:
    page.evaluate(
        "([s, i]) => document.querySelectorAll(s)[i].dispatchEvent(new MouseEvent('mouseover'))", [selector, index]
    )


@pytest.mark.browser
@pytest.mark.packaged
def test_head_view_draws_the_weights(open_page, houston):
    page = open_page(views.head_view(houston, [13, 2], [8, 0, 4]))
    for layer in (13, 2):
        page.locator("#layer").select_option(str(layer))
        drawn = opacities(page, "#attention line").reshape(3, 8, 8)
        expected = torch.stack([houston.weights(layer, head) for head in (8, 0, 4)]).double().numpy()
        np.testing.assert_allclose(drawn, expected / 3, rtol=1e-12, atol=1e-15)
    assert page.locator(".heads span").all_text_contents() == ["8", "0", "4"]
    page.locator("#vis > svg > g:last-child rect").nth(1).dblclick()  # this head alone
    drawn = opacities(page, "#attention line").reshape(3, 8, 8)
    assert np.array_equal(drawn[1], houston.weights(2, 0).double().numpy())
    assert not drawn[[0, 2]].any()


@pytest.mark.browser
@pytest.mark.packaged
def test_model_view_draws_the_weights_and_enlarges_a_head(open_page, houston):
    page = open_page(views.model_view(houston, [0, 29], [1, 8]))
    drawn = opacities(page, "#vis line").reshape(2, 2, 8, 8)
    expected = np.array([[houston.weights(layer, head).double().numpy() for head in (1, 8)] for layer in (0, 29)])
    assert np.array_equal(drawn, expected)
    page.locator("#vis > svg > g > rect:last-child").nth(3).click()
    assert page.get_by_text("Layer 29, Head 8", exact=True).count() == 1
    assert np.array_equal(opacities(page, ".detail line").reshape(8, 8), expected[1, 1])
    assert page.locator("#leftText, .detail .token").all_text_contents()[:8] == list(houston.tokens.labels)


@pytest.mark.browser
@pytest.mark.parametrize("kind", ["grouped", "granite", "mistral", "gemma2", "gemma"])
def test_neuron_view_computes_the_models_scores_and_draws_its_weights(open_page, tmp_path, kind):
    trace = trace_of(kind, tmp_path, n=10)
    page = open_page(views.neuron_view(trace, 0, 3))
    weights, allowed = trace.weights(0, 3).double(), trace.allowed(0, head=3)
    info = trace.layers[0]
    expected = (trace.scores(0, 3) * info.scale).double()
    for row in range(trace.n):
        moused(page, "#expanded #leftText > g", row)
        script = "() => [...document.querySelectorAll('.dotproduct')].map((e) => [+e.dataset.value, +e.style.opacity])"
        computed, seen = torch.tensor(page.evaluate(script), dtype=torch.float64).T
        torch.testing.assert_close(computed, expected[row], atol=2e-5, rtol=1e-5)
        assert torch.equal(seen.bool(), allowed[row])  # a masked key has no score to show
        if info.softcap is None:
            again = computed.masked_fill(~allowed[row], -torch.inf).softmax(-1)
            torch.testing.assert_close(again, weights[row], atol=2e-6, rtol=1e-5)
        shown = page.evaluate(
            "() => [...document.querySelectorAll('#expanded #rightText .highlight')].map((e) => +e.style.opacity)"
        )
        np.testing.assert_allclose(shown, weights[row].numpy(), rtol=1e-5, atol=1e-6)  # CSS keeps six digits
    drawn = opacities(page, "#collapsed .attn-line-group line").reshape(trace.n, trace.n)
    assert np.array_equal(drawn, weights.numpy())


@pytest.mark.browser
@pytest.mark.parametrize("kind", ["head", "model", "neuron"])
def test_hostile_tokens_are_shown_as_text(open_page, tmp_path, kind):
    trace = trace_of("grouped", tmp_path, n=len(HOSTILE))
    trace.tokens = Tokens(trace.tokens.ids, HOSTILE, HOSTILE)
    trace.model_name = HOSTILE[2]
    make = {"head": views.head_view, "model": views.model_view, "neuron": views.neuron_view}[kind]
    page = open_page(make(trace))
    if kind == "model":
        page.locator("#vis > svg > g > rect:last-child").first.click()
    most = {"head": 13, "model": 10, "neuron": 14}[kind]
    shown = page.locator("#vis text").all_text_contents()
    for token in HOSTILE:
        assert bertviz._short(token, most) in shown
    assert page.locator("img, b").count() == 0
    assert page.locator("script").count() == 5
    assert page.title().endswith(f"tokens, {HOSTILE[2]}")


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("kind", ["head", "model", "neuron"])
def test_every_text_stands_out_from_the_ground(open_page, tmp_path, kind, dark):
    make = {"head": views.head_view, "model": views.model_view, "neuron": views.neuron_view}[kind]
    page = open_page(make(trace_of("grouped", tmp_path), dark=dark))
    if kind == "model":
        page.locator("#vis > svg > g > rect:last-child").first.click()
    colours = page.evaluate("() => [...document.querySelectorAll('#vis text')].map((e) => getComputedStyle(e).fill)")
    ground = page.evaluate("() => getComputedStyle(document.documentElement).backgroundColor")
    assert colours
    assert (luminance(ground) < 0.1) == dark
    for colour in set(colours):
        low, high = sorted([luminance(colour), luminance(ground)])
        assert (high + 0.05) / (low + 0.05) >= 4.5, (colour, ground)


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.browser
def test_a_narrow_page_shrinks_the_pictures_and_scrolls_the_rest(open_page, tmp_path):
    trace = trace_of("grouped", tmp_path)
    page = open_page(views.neuron_view(trace), width=380)
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    page.get_by_role("button", name="Show queries and keys").click()
    assert page.locator("#expanded").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") > 380
    page.get_by_role("button", name="Hide queries and keys").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


@pytest.mark.browser
def test_the_notebooks_frame_reaches_nothing_around_it(browser, tmp_path):
    page = browser.new_page()
    page.set_content(views.head_view(trace_of("grouped", tmp_path), [0])._repr_html_())
    page.frame_locator("iframe").locator("html[data-drawn]").wait_for(state="attached")
    (frame,) = page.frames[1:]
    script = "() => { try { return parent.document.title; } catch (error) { return error.name; } }"
    assert frame.evaluate(script) == "SecurityError"
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
def test_lines_are_blue_those_of_the_chosen_head_orange_and_signs_as_everywhere(open_page, tmp_path, dark):
    trace = trace_of("grouped", tmp_path)
    colours = DARK if dark else LIGHT
    orange, blue = ("#ff9a62", "#3f92d2") if dark else ("#b8430a", "#3f86c0")
    strokes = "(lines) => [...new Set(lines.map((line) => line.getAttribute('stroke')))]"
    page = open_page(views.head_view(trace, [1], chosen=2, dark=dark))
    of_head = "g[head-index='{}'] line"
    assert page.locator(of_head.format(2)).evaluate_all(strokes) == [orange]
    assert page.locator(of_head.format(0)).evaluate_all(strokes) == [blue]
    page = open_page(views.model_view(trace, [0, 1], chosen=(1, 2), dark=dark))
    of_head = "g:has(> #attn_background_{}) line"
    assert page.locator(of_head.format("1_2")).evaluate_all(strokes) == [orange]
    assert page.locator(of_head.format("0_2")).evaluate_all(strokes) == [blue]
    page = open_page(views.neuron_view(trace, 1, 2, dark=dark))
    fills = "(cells) => [...new Set(cells.map((cell) => cell.style.fill).filter((fill) => fill.startsWith('rgb')))]"
    below, above = (f"rgb({r}, {g}, {b})" for r, g, b in (rgb(colours.diverging[at]) for at in (1, 5)))
    assert {below, above} <= set(page.locator("#expanded rect").evaluate_all(fills))
    assert not {"rgb(255, 99, 24)", "rgb(12, 54, 216)", "rgb(32, 144, 221)"} & set(
        page.locator("#vis rect").evaluate_all(fills)
    )

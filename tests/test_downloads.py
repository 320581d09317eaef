"""What a visitor takes away from the app and brings back: exports, links, saved traces, each opened again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from browser_app import Visitor, same
from PIL import Image
from safetensors.numpy import load_file

import inspector
from inspector import views

pytestmark = [pytest.mark.browser, pytest.mark.packaged]

# Token text that a careless page would execute, and writing from right to left.
HOSTILE = '</script><img src=x onerror="document.title=\'hacked\'"> <!-- 日本語 🙂 "quoted" שלום'


class Saved(Visitor):
    """A saved page, opened from the disk: it may ask for nothing but itself."""

    def _request(self, request: Any) -> None:
        if request.url != self.page.url and not request.url.startswith(("file:///", "data:", "about:srcdoc")):
            self.wrong.append(f"request to {request.url}")

    def idle(self) -> None:
        """A saved page has no script on a server to wait for."""


@pytest.fixture
def open_saved(browser: Any) -> Iterator[Callable[..., Saved]]:
    pages: list[Saved] = []

    def make(path: Path, *, width: int = 1200, scheme: str = "light") -> Saved:
        context = browser.new_context(viewport={"width": width, "height": 1000}, color_scheme=scheme, offline=True)
        pages.append(Saved(context.new_page(), ""))
        pages[-1].page.goto(path.as_uri())
        return pages[-1]

    yield make
    for page in pages:
        page.assert_nothing_wrong()
        page.page.context.close()


def download(visitor: Visitor, label: str, folder: Path) -> Path:
    """Press a button of the open panel "Save"; the file that comes."""
    with visitor.page.expect_download(timeout=60_000) as waiting:
        visitor.page.get_by_role("button", name=label, exact=True).click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def test_every_export_holds_the_traces_numbers(visit, smollm, tmp_path):
    visitor = visit("/?layer=3&head=5")
    visitor.painted()
    visitor.run_prompt(HOSTILE)
    trace = smollm.trace(HOSTILE)
    lower = np.tril_indices(trace.n)
    weights = trace.weights(3, 5).numpy()
    visitor.open_bar("export")
    svg = download(visitor, "SVG", tmp_path)
    assert svg.name == "smollm2-135m-instruct-layer3-head5-weights.svg"
    said = re.findall(r'data-value="([^"]+)"', svg.read_text(encoding="utf-8"))
    assert np.array_equal(np.array(said, dtype=np.float32), weights[lower])
    assert Image.open(download(visitor, "PNG", tmp_path)).convert("RGB").width == 1600
    csv, parquet = (download(visitor, label, tmp_path) for label in ("CSV", "Parquet"))
    safe = download(visitor, "CSV for spreadsheets", tmp_path)
    assert safe.name == "smollm2-135m-instruct-layer3-head5-pairs-for-spreadsheets.csv"
    assert np.array_equal(pd.read_csv(safe, dtype={"weight": "float32"})["weight"], weights[lower])
    for frame in (pd.read_csv(csv, dtype={"weight": "float32"}), pd.read_parquet(parquet)):
        assert np.array_equal(frame["weight"], weights[lower])
    vectors = load_file(download(visitor, "Vectors (safetensors)", tmp_path))
    assert np.array_equal(vectors["key_before_rope"], trace.key(3, 5, rope=False).numpy())
    label = visitor.page.get_by_role("button", name=re.compile("Whole trace")).text_content().strip()
    again = inspector.open_trace(download(visitor, label, tmp_path))
    assert torch.equal(again.weights(7), trace.weights(7))
    assert len(list(tmp_path.iterdir())) == 7


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (400, "dark")])
def test_a_saved_head_opens_anywhere(visit, open_saved, smollm, tmp_path, width, scheme):
    visitor = visit("/?layer=3&head=5")
    visitor.painted()
    visitor.run_prompt(HOSTILE)
    visitor.open_bar("export")
    saved = open_saved(download(visitor, "HTML page", tmp_path), width=width, scheme=scheme)
    assert saved.painted() == "saved"
    trace = smollm.trace(HOSTILE)
    weights = trace.weights(3, 5)
    for row, column in [(0, 0), (9, 4), (trace.n - 1, 1)]:
        shown = saved.hover_cell(row, column)
        assert f"query token {row} {trace.tokens.labels[row]}" in shown
        same(shown, weights[row, column].item())
    assert "masked" in saved.hover_cell(2, 9)
    picture = saved.page.locator('canvas[data-testid="map"]')
    saved.page.mouse.move(1, 1)
    picture.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight"):
        picture.press(key)
    same(saved.reading(), weights[2, 1].item())
    assert saved.page.title() == "Layer 3, head 5: attention weights"
    assert saved.page.locator("img").count() == 0
    assert HOSTILE in saved.page.locator(".facts").text_content()
    assert saved.page.evaluate("document.documentElement.scrollWidth") <= width
    background = saved.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(15, 20, 27)")


def test_the_saved_page_of_all_heads_shows_a_clicked_head(visit, open_saved, houston, tmp_path):
    visitor = visit("/?layer=3&head=5")
    visitor.painted()
    visitor.open_bar("export")
    visitor.choose_picture("All heads")
    saved = open_saved(download(visitor, "HTML page", tmp_path))
    saved.painted("heads")
    assert saved.painted() == "3.5"
    same(saved.hover_cell(6, 2), houston.weights(3, 5)[6, 2].item())
    assert saved.click_saved_head(12, 4, kv_share=3) == "12.4"
    saved.page.get_by_role("heading", name="Layer 12, head 4").wait_for()
    same(saved.hover_cell(6, 2), houston.weights(12, 4)[6, 2].item())


def test_the_saved_page_keeps_the_chosen_head_in_another_theme(open_saved, houston, tmp_path):
    path = views.grid_figure(houston, selected=(3, 5)).save(tmp_path / "grid.html")
    saved = open_saved(path)
    saved.painted("heads")
    assert saved.click_saved_head(12, 4, kv_share=3) == "12.4"
    heads = saved.page.locator('canvas[data-testid="heads"]')
    light = heads.evaluate("(canvas) => canvas.toDataURL()")
    saved.page.emulate_media(color_scheme="dark")
    saved.page.wait_for_function(
        """(light) => [...document.querySelectorAll('*')].map((e) => e.shadowRoot).filter(Boolean)
        .some((root) => root.querySelector('[data-testid=heads]')?.toDataURL() !== light)""",
        arg=light,
    )
    assert heads.get_attribute("data-selected") == "12,4"
    assert saved.painted() == "12.4"
    assert saved.page.get_by_role("heading", name="Layer 12, head 4").count() == 1
    same(saved.hover_cell(6, 2), houston.weights(12, 4)[6, 2].item())


def test_a_notebook_shows_a_figure_in_a_frame_that_reaches_nothing(open_saved, houston, tmp_path):
    notebook = tmp_path / "notebook.html"
    notebook.write_text(views.head_figure(houston, 3, 5)._repr_html_(), encoding="utf-8")
    page = open_saved(notebook).page
    frame = page.frame_locator("iframe")
    frame.locator('canvas[data-testid="map"][data-painted="saved"]').wait_for()
    assert frame.locator("h1").text_content() == "Layer 3, head 5: attention weights"
    assert page.evaluate("document.querySelector('iframe').contentDocument") is None


def test_a_link_with_its_prompt_reopens_what_was_on_screen(visit, smollm):
    prompt = "Red lion, 日本 🙂\n</script> %41 & #?="
    visitor = visit("/?layer=5&head=3&scale=log")
    visitor.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visitor.run_prompt(prompt)
    visitor.open_bar("share")
    visitor.page.get_by_role("button", name="Copy", exact=True).click()
    visitor.page.get_by_text("Copied.").wait_for()
    link = visitor.page.evaluate("navigator.clipboard.readText()")
    assert link == visitor.page.get_by_test_id("link").input_value()
    assert link.startswith(visitor.address)
    assert "lion" not in link.split("#")[0]

    asked: list[str] = []
    other = visit("/vectors")  # somebody else's browser
    other.page.on("request", lambda request: asked.append(f"{request.url} {request.all_headers()}"))
    other.page.goto(link)
    other.page.get_by_text("This link brings a prompt").wait_for()
    other.painted()
    assert other.page.locator("[class*=st-key-bar_prompt]").first.text_content().startswith("Houston")
    title = other.page.get_by_test_id("head-title")
    assert title.text_content() != "Layer 5, head 3"  # nothing of the link counts before the click
    assert "layer=5" not in other.page.url
    other.page.get_by_role("button", name="Run it").click()
    trace = smollm.trace(prompt)
    other.page.locator("[class*=st-key-bar_prompt]").get_by_text("Red lion").wait_for()
    other.page.wait_for_function("location.hash.includes('layer=5')")
    other.painted()
    other.idle()
    same(other.hover_cell(trace.n - 1, 2), trace.weights(5, 3)[trace.n - 1, 2].item())
    assert "weight (log scale)" in other.page.locator('[data-testid="legend"]').first.text_content()
    assert "lion" not in other.page.url
    assert asked
    assert not [request for request in asked if "lion" in request]

    again = visitor.page.context.new_page()  # the browser that made it runs it at once
    own = Visitor(again, visitor.address)
    again.goto(link)
    again.locator("[class*=st-key-bar_prompt]").get_by_text("Red lion").wait_for()
    own.painted()
    same(own.hover_cell(trace.n - 1, 2), trace.weights(5, 3)[trace.n - 1, 2].item())
    again.close()


def test_a_reload_brings_back_prompt_model_and_selection(visit, smollm):
    visitor = visit()
    prompt = "Red lion again, and no address says so"
    visitor.run_prompt(prompt)
    visitor.click_head(12, 5, kv_share=3)
    visitor.page.wait_for_function("location.hash.includes('layer=12')")
    entries = visitor.page.evaluate("history.length")
    visitor.click_head(3, 7, kv_share=3)
    visitor.page.wait_for_function("location.hash.includes('layer=3')")
    assert visitor.page.evaluate("history.length") == entries  # a choice makes none
    assert "lion" not in visitor.page.url
    visitor.page.reload()
    visitor.page.get_by_test_id("head-title").get_by_text("Layer 3, head 7").wait_for()
    visitor.painted()
    weights = smollm.trace(prompt).weights(3, 7)
    same(visitor.hover_cell(5, 2), weights[5, 2].item())
    visitor.page.get_by_role("link", name="Vectors").click()
    visitor.page.get_by_text("Query after RoPE", exact=True).wait_for()
    assert visitor.page.evaluate("history.length") == entries + 1  # a page makes one
    visitor.page.go_back()
    visitor.page.get_by_test_id("head-title").get_by_text("Layer 3, head 7").wait_for()
    visitor.painted()
    same(visitor.hover_cell(5, 2), weights[5, 2].item())


@pytest.mark.parametrize("model", ["/etc", "owner/unoffered", "%3Cb%3Ex"])
def test_a_link_with_another_model_loads_nothing(visit, houston, model):
    visitor = visit(f"/?model={model}&layer=5&head=3&prompt=in-fragment#prompt=One%20two%20three")
    visitor.page.get_by_text("a link cannot load one").wait_for()
    visitor.painted()
    visitor.page.get_by_text("One two three").wait_for()
    visitor.page.get_by_role("button", name="Leave it").click()
    visitor.page.get_by_text("One two three").wait_for(state="detached")
    layer, head = map(int, re.findall(r"\d+", visitor.page.get_by_test_id("head-title").text_content()))
    assert (layer, head) != (5, 3)  # nothing of the link was chosen
    same(visitor.hover_cell(6, 2), houston.weights(layer, head)[6, 2].item())
    assert "One" not in visitor.page.url


def test_a_link_whose_prompt_was_lost_says_so(visit, houston):
    visitor = visit("/?layer=5&head=3&prompt=in-fragment")
    visitor.page.get_by_text("prompt did not arrive whole").wait_for()
    visitor.painted()
    same(visitor.hover_cell(6, 2), houston.weights(5, 3)[6, 2].item())


def test_an_uploaded_trace_is_shown(visit, smollm, tmp_path):
    trace = smollm.trace("One two three four")
    path = trace.save(tmp_path / "mine.safetensors")
    visitor = visit("/?layer=5&head=3")
    before = visitor.painted()
    visitor.open_bar("prompt")
    visitor.page.get_by_text("Open a saved trace").click()
    visitor.page.locator("input[type=file][accept*=safetensors]").set_input_files(path)
    visitor.page.get_by_text("Opened from the file mine.safetensors").wait_for()
    own = visitor.painted(unlike=before)
    same(visitor.hover_cell(3, 1), trace.weights(5, 3)[3, 1].item())
    visitor.page.get_by_role("link", name="Vectors").click()
    visitor.page.get_by_text("Query after RoPE", exact=True).wait_for()
    visitor.idle()
    visitor.painted()
    same(visitor.hover_cell(2, 7), trace.query(5, 3)[2, 7].item())
    visitor.page.get_by_role("link", name="Heads").click()
    visitor.page.get_by_test_id("head-title").get_by_text("Layer 5, head 3").wait_for()
    visitor.painted()
    visitor.idle()
    visitor.page.get_by_role("button", name="Close the file").click()
    visitor.painted(unlike=own)


def test_each_picture_of_a_tab_is_saved_under_its_name(visit, open_saved, smollm, tmp_path):
    visitor = visit("/vectors?layer=3&head=5")
    visitor.painted()
    visitor.open_bar("export")
    svg = download(visitor, "SVG", tmp_path)
    assert svg.name.startswith("smollm2-135m-instruct-vectors-query-before-rope-of-each-token")
    assert "query before RoPE" in svg.read_text(encoding="utf-8")
    visitor.choose_picture("Queries and keys on one plane")
    frame = pd.read_csv(download(visitor, "CSV", tmp_path))
    assert {"token", "x", "y"} <= set(frame)
    visitor.page.goto(visitor.address + "/pair?layer=3&head=5")
    visitor.painted("product")
    visitor.idle()
    visitor.open_bar("export")
    saved = open_saved(download(visitor, "HTML page", tmp_path), scheme="dark")
    saved.painted("product")
    saved.page.get_by_text("Table", exact=True).click()
    rows = saved.page.locator(".numbers tbody tr")
    rows.nth(63).wait_for()
    assert rows.count() == 64
    assert rows.first.locator("td").count() == 4


def test_a_page_prints_white_and_whole_with_where_its_numbers_come_from(visit):
    visitor = visit("/vectors?layer=3&head=5", scheme="dark")
    visitor.painted()
    page = visitor.page
    page.set_viewport_size({"width": 760, "height": 1000})
    page.emulate_media(media="print", color_scheme="dark")
    page.locator(".st-key-provenance").wait_for()
    assert not page.locator(".st-key-bar").is_visible()
    assert re.search(r"Attention Inspector \S+ · transformers", page.locator(".st-key-provenance").text_content())
    end, edge = page.evaluate(
        """() => ['.st-key-provenance', '[data-testid=stMain]'].map(
        (found) => document.querySelector(found).getBoundingClientRect().bottom)"""
    )
    assert end <= edge  # what stands last is not cut off
    ground = "(e) => [...e.getContext('2d').getImageData(1, 1, 1, 1).data]"
    page.wait_for_function(
        """() => [...document.querySelectorAll('*')].map((e) => e.shadowRoot).filter(Boolean)
        .some((root) => root.querySelector('[data-testid=map]') && getComputedStyle(
            root.querySelector('.map')).getPropertyValue('--canvas-background').trim() === '#ffffff')"""
    )
    assert page.locator('canvas[data-testid="map"]').first.evaluate(ground)[:3] != [15, 20, 27]
    for box in page.locator("canvas").evaluate_all("(all) => all.map((e) => e.getBoundingClientRect().right)"):
        assert box <= 760

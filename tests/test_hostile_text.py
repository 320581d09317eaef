"""Token text that a careless page would execute or lose, on every page and in every file that is taken away: nothing
runs, and the text is there whole. (BertViz's own drawings: tests/test_bertviz.py; PNG holds no text to run.)"""

from __future__ import annotations

import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from browser_app import Visitor
from safetensors import safe_open
from screen_app import PATHS, SCREENS, field, open_app, press
from streamlit.testing.v1 import AppTest
from test_downloads import Saved, download, open_saved  # noqa: F401

import inspector
from inspector import views
from inspector.trace.tokens import readable

pytestmark = pytest.mark.packaged

RUNS = "window.hacked=1;document.title='hacked'"
HOSTILE = (
    f'</script><script>{RUNS}</script> <!-- <img src=x onerror="{RUNS}"> <svg onload={RUNS}> '
    "\"double\" 'single' `back` ]]> &amp; ${1} \\u003c [link](javascript:1) *star* $x$ a\u2028b\u202e \x07 日本"
)


@pytest.fixture(scope="module")
def hostile(smollm):
    return smollm.trace(HOSTILE)


def runs_nothing(html: str, scripts: int) -> None:
    """No element and no attribute of this page comes from the text."""
    tags: list[tuple[str, dict[str, str | None]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append((tag, dict(attrs)))

    Reader().feed(html)
    assert 0 < sum(tag == "script" for tag, _ in tags) <= scripts  # a long prompt's page of all heads has one less
    assert not [tag for tag, _ in tags if tag == "img"]
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]


# -- every file -------------------------------------------------------------------------------------------------------


def test_every_character_of_the_prompt_is_in_the_labels(hostile):
    assert "".join(hostile.tokens.texts) == HOSTILE
    whole = "".join(
        label.partition("⟨1/")[0] for label in hostile.tokens.labels if not re.search(r"⟨[2-9]/\d⟩$", label)
    )
    assert whole == readable(HOSTILE)


@pytest.mark.parametrize("make", ["head", "grid", "scores"])
def test_svg_holds_the_text_and_nothing_that_runs(hostile, make):
    figure = {
        "head": lambda: views.head_figure(hostile, 3, 5, verification=HOSTILE),
        "scores": lambda: views.head_figure(hostile, 3, 5, kind="scaled_scores"),
        "grid": lambda: views.grid_figure(hostile, verification=HOSTILE),
    }[make]()
    root = ET.fromstring(figure.svg)  # noqa: S314 - our own file; well formed whatever the text
    found = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert found <= {"svg", "title", "desc", "rect", "g", "text", "image", "path"}
    assert not [name for element in root.iter() for name in element.attrib if name.lower().startswith("on")]


@pytest.mark.parametrize("make", ["head", "grid", "head view", "model view", "neuron view"])
def test_html_holds_the_text_and_nothing_that_runs(hostile, houston, make):
    def html(trace: inspector.Trace) -> str:
        page: Any = {
            "head": lambda: views.head_figure(trace, 3, 5, verification=trace.prompt),
            "grid": lambda: views.grid_figure(trace, verification=trace.prompt),
            "head view": lambda: views.head_view(trace, [3], [5]),
            "model view": lambda: views.model_view(trace, [3], [5]),
            "neuron view": lambda: views.neuron_view(trace, 3, 5),
        }[make]()
        return str(page.html)

    text = html(hostile)
    runs_nothing(text, html(houston).count("<script"))
    assert "<script>window" not in text
    assert "\u2028" not in re.sub(r"<style.*?</style>", "", text, flags=re.S)  # ends a line inside a script


def test_tables_and_vectors_and_traces_hold_the_text_whole(hostile, tmp_path):
    frame = views.frame(hostile, 3, 5)
    csv, parquet = tmp_path / "pairs.csv", tmp_path / "pairs.parquet"
    frame.to_csv(csv, index=False)
    frame.to_parquet(parquet, index=False)
    for again in (
        pd.read_csv(csv, keep_default_na=False),
        pd.read_parquet(parquet),
        pd.read_csv(io.StringIO(csv.read_text("utf-8")), keep_default_na=False),
    ):
        assert again["key token"].to_list() == [hostile.tokens.labels[position] for position in frame["key position"]]
        assert again["query token"].to_list() == [
            hostile.tokens.labels[position] for position in frame["query position"]
        ]
    path = views.vectors(hostile, 3, 5).save(tmp_path / "vectors.safetensors")
    with safe_open(path, framework="np") as file:
        told = file.metadata()
    assert (told["prompt"], json.loads(told["tokens"])) == (HOSTILE, list(hostile.tokens.labels))
    again = inspector.open_trace(hostile.save(tmp_path / "trace.safetensors"))
    assert (again.prompt, again.tokens) == (HOSTILE, hostile.tokens)


# -- every page -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def app_with_it() -> AppTest:
    app = open_app()
    field(app, "prompt").set_value(HOSTILE)
    press(app, "Run")
    return app


@pytest.mark.parametrize("screen", SCREENS)
def test_no_page_takes_it_for_markup(app_with_it, screen):
    app = app_with_it.switch_page(SCREENS[screen]).run()
    assert not app.exception
    for text in [*app.markdown, *app.caption, *app.error, *app.warning, *app.info]:
        assert not getattr(text, "allow_html", False)
        assert not re.search(r"(?<!\\)</?(script|img|svg)\b|(?<!\\)\]\(javascript", text.value), text.value


@pytest.mark.browser
def test_no_page_runs_it(visit: Callable[..., Visitor], smollm):
    visitor = visit("/?layer=3&head=5")
    visitor.run_prompt(HOSTILE)
    label = smollm.trace(HOSTILE).tokens.labels[0]
    assert label in visitor.hover_cell(0, 0)
    tokens = f"{smollm.trace(HOSTILE).n} tokens"
    shown: set[str] = set()
    for title in SCREENS:
        go_to(visitor, title)
        said = visitor.page.get_by_test_id("stMain").inner_text()
        assert tokens in said or title in ("Heads", "Learn", "Atlas"), title  # still this prompt
        assert said not in shown, title  # and another page than all before
        shown.add(said)
        assert visitor.page.get_by_test_id("stException").count() == 0, title
        for frame in visitor.page.frames:  # BertViz's drawings have windows of their own
            assert frame.evaluate("window.hacked") is None, title
            assert "hacked" not in frame.title(), title
            assert frame.locator("img[onerror], svg[onload]").count() == 0, title
    assert len(shown) == len(SCREENS)


def go_to(visitor: Visitor, title: str) -> None:
    """Open a page as Back and Forward do, which load nothing again."""
    script = "(path) => { history.pushState({}, '', path); dispatchEvent(new PopStateEvent('popstate')); }"
    visitor.page.evaluate(script, PATHS[title])
    visitor.page.wait_for_function("(title) => document.title.startsWith(title)", arg=title)
    visitor.idle()
    visitor.still()


@pytest.mark.browser
def test_downloaded_pages_run_nothing_by_themselves(visit: Any, open_saved: Callable[..., Saved], tmp_path: Path):  # noqa: F811
    visitor = visit("/?layer=3&head=5")
    visitor.run_prompt(HOSTILE)
    visitor.open_bar("export")
    painted = {"HTML page": "saved", "SVG": None}  # a map of one head, where there is
    pages = {download(visitor, label, tmp_path): drawn for label, drawn in painted.items()}
    visitor.choose_picture("All heads")
    pages[download(visitor, "HTML page", tmp_path)] = "3.5"
    visitor.page.goto(f"{visitor.address}/")
    for path, drawn in pages.items():
        saved = open_saved(path)
        if drawn is not None:
            assert saved.painted() == drawn
            assert HOSTILE.split("\u2028")[0].split(" <!--")[0] in saved.page.locator(".facts").text_content()
        assert saved.page.evaluate("window.hacked") is None
        assert "hacked" not in saved.page.title()
        assert saved.page.locator("img, svg[onload]").count() == 0

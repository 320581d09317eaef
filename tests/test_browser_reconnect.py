"""A connection that breaks and a server that starts anew: prompt, model and selection come back by themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser_app
import pytest
import tiny
from browser_app import Visitor, same
from cut_connection import Way, way
from protocol_client import Client

import inspector

pytestmark = [pytest.mark.browser, pytest.mark.packaged]

PROMPT = "w11 w12 w13 w14 w15 w11 w12 w13"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save("grouped", tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def opened(address: str, browser: Any, folder: Path) -> Iterator[tuple[Visitor, Way]]:
    """A visitor who has chosen a prompt, another model, a head and a token, and the way to the server."""
    with way(address) as between:
        context = browser.new_context()
        visitor = Visitor(context.new_page(), between.address).open()
        before = visitor.painted()
        said = json.dumps({"request": {"model": str(folder), "prompt": PROMPT}})
        visitor.page.evaluate("(said) => sessionStorage.setItem('attention-inspector', said)", said)
        visitor.page.reload()
        visitor.painted(unlike=before)
        visitor.click_head(2, 1, kv_share=2)
        visitor.page.get_by_role("toolbar").get_by_role("button").nth(5).click()
        visitor.page.wait_for_function("location.hash.includes('layer=2&head=1&query=5')")
        yield visitor, between
        context.close()


def assert_all_is_there(visitor: Visitor, folder: Path, *, layer: int, head: int) -> None:
    """Prompt, model and selection are as they were, and the numbers are theirs."""
    title = visitor.page.get_by_test_id("head-title")
    title.get_by_text(f"Layer {layer}, head {head}", exact=True).wait_for()
    visitor.painted()
    assert visitor.page.locator("[class*=st-key-bar_prompt]").first.text_content().startswith("w11 w12")
    assert visitor.page.locator("[class*=st-key-bar_model]").first.text_content().count(folder.name) == 1
    assert "shares keys and values" in visitor.page.locator(".shares").text_content()
    weights = inspector.load(folder).trace(PROMPT).weights(layer, head)
    same(visitor.hover_cell(5, 2), weights[5, 2].item())
    assert "query=5" in visitor.page.url


def test_a_lost_connection_comes_back_with_all_that_was_chosen(opened, folder):
    visitor, between = opened
    between.cut()
    visitor.page.wait_for_timeout(1500)
    between.mend()
    assert_all_is_there(visitor, folder, layer=2, head=1)
    visitor.click_head(0, 3, kv_share=2)
    assert_all_is_there(visitor, folder, layer=0, head=3)


@pytest.mark.slow
def test_a_restarted_server_is_told_prompt_model_and_selection(opened, folder):
    visitor, between = opened
    between.cut()
    with browser_app.running_app() as anew:
        Client(anew).run()  # it has read its own code: a new process takes some seconds for that
        between.mend(anew)
        visitor.page.wait_for_selector('[data-testid="stApp"][data-test-connection-state="CONNECTED"]')
        visitor.idle()
        assert_all_is_there(visitor, folder, layer=2, head=1)
        visitor.click_head(1, 2, kv_share=2)  # answered: it has come back
        _goes_on(visitor, folder)


def _goes_on(visitor: Visitor, folder: Path) -> None:
    """Another page has the same choice, and so has Back."""
    visitor.page.get_by_role("link", name="Vectors").click()
    visitor.page.get_by_text("Query after RoPE", exact=True).wait_for()
    visitor.page.wait_for_function("location.hash.includes('layer=1&head=2&query=5')")
    visitor.page.go_back()
    assert_all_is_there(visitor, folder, layer=1, head=2)

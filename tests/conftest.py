"""What several test files share: the packaged real model, loaded once, tiny random models on disk, and the app in a
browser."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:  # several processes with a thread for each core would wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test reaches a hub unless it makes its own on loopback

import browser_app
import fuzz
import pytest
import tiny
import torch
from browser_app import Visitor

import inspector
from inspector import atlas
from inspector.model.model import Model
from inspector.ui.server import settings
from inspector.verification.spliced_run import compare_spliced

HOUSTON = "Houston, we have a problem"


@pytest.fixture(scope="session")
def smollm() -> Model:
    """The packaged real model: SmolLM2-135M-Instruct."""
    return inspector.load()


@pytest.fixture(scope="session")
def houston(smollm: Model) -> inspector.Trace:
    return smollm.trace(HOUSTON, keep=("input", "output", "residual"))


@pytest.fixture
def tiny_model(request: pytest.FixtureRequest, tmp_path: Path) -> Model:
    """A tiny random model of the kind given by indirect parametrisation, saved to disk and loaded from there."""
    return tiny.load(request.param, tmp_path)


@pytest.fixture(autouse=True)
def _no_offer_of_this_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this shell's own app was told to offer is no matter of tests."""
    monkeypatch.delenv(settings.MODEL_VARIABLE, raising=False)
    monkeypatch.delenv(settings.MODELS_VARIABLE, raising=False)
    monkeypatch.delenv(settings.JUDGE_VARIABLE, raising=False)
    for name in (settings.ATLAS_VARIABLE, settings.HEADS_VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _same_numbers_each_time() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _few_tokens(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ours in its place, a tiny model writes 8 tokens, not 40: what a step can show, the first ones do. Tests of
    the packaged model let it write all."""
    if request.node.get_closest_marker("packaged") is None:
        monkeypatch.setitem(compare_spliced.__kwdefaults__, "generated", 8)


@pytest.fixture(scope="session")
def small_atlas(tmp_path_factory: pytest.TempPathFactory) -> atlas.Atlas:
    """An atlas of a tiny model over a few texts, which the session's server shows."""
    folder = tmp_path_factory.mktemp("small")
    texts = [" ".join(f"w{(5 * i * i + k) % (7 + k)}" for i in range(20 + 3 * k)) for k in range(8)]
    return atlas.build(tiny.load("grouped", folder), texts, out=folder / "small-atlas", tokens=30, threads=1)


@pytest.fixture(scope="session")  # its first page costs more than most tests
def address(small_atlas: atlas.Atlas) -> Iterator[str]:
    browser_app.require()
    inspector.load()  # converted once before the app starts, so that no test waits for it
    told = {settings.ATLAS_VARIABLE: json.dumps([str(small_atlas.folder)])}
    with browser_app.running_app(script="tests/quiet_script.py", environment=told) as found:
        yield found


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    browser_app.require()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=browser_app.chromium(), args=browser_app.FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="session")
def known(browser: Any) -> Any:
    """A browser context that has been here before: Streamlit's scripts are in its cache, which halves what a page
    costs. Nothing else is kept in it from one test to the next."""
    return browser.new_context()


@pytest.fixture
def visit(browser: Any, known: Any, address: str) -> Iterator[Callable[..., Visitor]]:
    """Makes visitors, no two in one browser context; at the end nothing may have gone wrong in any."""
    visitors: list[Visitor] = []

    def make(path: str = "/", *, width: int = 1400, height: int = 1000, scheme: str = "light") -> Visitor:
        page = (browser.new_context() if visitors else known).new_page()
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme)
        visitors.append(Visitor(page, address))
        return visitors[-1].open(path)

    yield make
    for visitor in visitors:
        visitor.page.close()
        if visitor.page.context is not known:
            visitor.page.context.close()
    _forget(known, address)
    for visitor in visitors:
        visitor.assert_nothing_wrong()


def _forget(context: Any, address: str) -> None:
    """Let go of what the app's pages left in this browser context, but for its cache."""
    page = context.new_page()
    page.goto(f"{address}/_stcore/health")  # a few letters, of the same origin
    page.evaluate("localStorage.clear()")
    page.close()
    context.clear_cookies()
    context.clear_permissions()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """After `make fuzz`: how many examples each property was tried on, and what came of them."""
    if fuzz.TIMES > 1:
        for (test, outcome), count in sorted(fuzz.COUNTS.items()):
            terminalreporter.write_line(f"{count:>8,} × {test}: {outcome}")

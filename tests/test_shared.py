"""What all visitors share stays, whatever a visitor's browser sends."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import streamlit as st
import tiny
from browser_app import running_app
from protocol_client import Client
from server_process import MEGABYTE, resident
from streamlit.runtime.app_session import AppSession

import inspector
from inspector.ui.server import shared, traces
from inspector.ui.state import Request


def clear_by_message() -> None:
    """What Streamlit does where the message arrives."""
    session: Any = SimpleNamespace(_session_state=SimpleNamespace(clear=lambda: None))
    AppSession._handle_clear_cache_request(session)


@pytest.mark.parametrize(
    "clear",
    [st.cache_resource.clear, st.cache_data.clear, clear_by_message],
    ids=["cache_resource", "cache_data", "message"],
)
def test_clearing_streamlits_caches_takes_nothing_from_anybody(clear, tmp_path, monkeypatch):
    asked = Request(str(tiny.save("grouped", tmp_path)), "w1 w2 w3")
    traced, loaded = traces.trace(asked), traces.model(asked)
    before = (shared.shared_store(), shared.shared_sessions(), shared.shared_background())
    monkeypatch.setattr(inspector, "load", lambda *_, **__: pytest.fail("loaded again"))
    clear()
    assert (shared.shared_store(), shared.shared_sessions(), shared.shared_background()) == before
    assert traces.model(asked) is loaded
    assert traces.trace(asked) is traced


def test_each_is_made_once_however_many_ask(monkeypatch):
    monkeypatch.setattr(shared, "_made", {})
    with ThreadPoolExecutor(8) as pool:
        for ask in (shared.shared_sessions, shared.shared_store, shared.shared_background):
            found = list(pool.map(lambda _, ask=ask: ask(), range(32)))
            assert all(one is found[0] for one in found)


@pytest.mark.packaged
def test_five_messages_to_clear_the_cache_cost_no_memory_and_load_nothing_again(tmp_path: Path) -> None:
    inspector.load()  # converted once before
    with running_app(says=tmp_path / "output") as address:
        visitor, other = Client(address), Client(address)
        for client in (visitor, other):
            for _ in range(3):  # buffers of the libraries have grown as far as they do
                client.run()
        before = resident(address)
        for _ in range(5):
            visitor.send(clear_cache=True)
            visitor.run()
            said: list[Any] = [str(message.delta) for message in other.run()]
            assert not [text for text in said if "Loading" in text]
        grown = resident(address) - before
        print(f"grown by {grown / MEGABYTE:.0f} MB")
        assert grown < 50 * MEGABYTE
        visitor.close()
        other.close()

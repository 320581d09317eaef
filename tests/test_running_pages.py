"""What nobody waits for lets pages and clicks go first, but not for ever."""

from __future__ import annotations

import threading
import time

import pytest
from clock import until

from inspector.ui.server import running_pages


@pytest.fixture(autouse=True)
def _a_script_is_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is called in place of Streamlit's own way to run one."""
    monkeypatch.setattr(running_pages, "_run_script", lambda script, _data: script())


def waited() -> float:
    """How long the background waits now."""
    started = time.monotonic()
    running_pages.let_pages_go_first()
    return time.monotonic() - started


def test_the_background_waits_for_pages_and_clicks_but_not_for_ever(monkeypatch):
    end = threading.Event()
    thread = threading.Thread(target=running_pages._run_counted, args=(lambda: end.wait(10), None))
    assert waited() < 0.1
    thread.start()
    until(lambda: running_pages._running == 1)
    monkeypatch.setattr(running_pages, "PAUSE_SECONDS", 0.2)
    assert waited() >= 0.2
    end.set()
    thread.join()
    assert waited() < 0.1


def test_a_page_that_fails_runs_no_longer():
    def fails() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        running_pages._run_counted(fails, None)
    assert running_pages._running == 0

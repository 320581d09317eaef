"""Ask a browser tab what it remembers of an earlier visit, and tell it what to remember."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from inspector.ui.components.mounting import mounted, said_by

_memory = mounted("memory", html="")


def ask_tab(on_answer: Callable[[object], None], *, key: str) -> None:
    """Ask the tab, once, what it remembers and what its address says.

    Args:
        on_answer: called, before the run that the answer starts, with what the browser sent. It may be anything.
        key: names the component.
    """
    _memory(data={"mode": "read"}, key=key, on_said_change=lambda: on_answer(said_by(key, "said")))


def tell_tab(
    request: Mapping[str, Any], selection: Mapping[str, Any] | None, *, page: str, forget: bool, key: str
) -> None:
    """Have the tab remember what is on screen, for a reload and for links.

    Args:
        request: the model, the prompt and how it is run.
        selection: what is chosen; None where the screen itself tells the tab.
        page: which page is on screen: with another one the browser drops what stood behind the # of the address.
        forget: whether what was chosen before does not count for this request.
        key: names the component.
    """
    said = {"mode": "write", "request": dict(request), "selection": selection, "page": page, "forget": forget}
    _memory(data=said, key=key)

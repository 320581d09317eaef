"""Pages of Learn as Streamlit's AppTest runs them, by name rather than by title: inside the app, or without its bar."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from screen_app import new_app
from streamlit.testing.v1 import AppTest

from inspector.ui.screens.labs.table import BY_NAME


def page(name: str) -> str:
    """The page's file as `switch_page` takes it."""
    return f"screens/{BY_NAME[name].file}"


def open_lab(name: str, *, request: Any = None, uploaded_trace: Any = None, **chosen: str) -> AppTest:
    """A page of Learn inside the app, for the first visit's prompt or another one."""
    app = new_app(request, **chosen)
    if uploaded_trace is not None:
        app.session_state["uploaded_trace"] = uploaded_trace
    app.run()
    app.switch_page(page(name)).run()
    assert not app.exception
    return app


def open_alone(name: str, *, request: Any = None, cross_text: str | None = None, **chosen: str) -> AppTest:
    """A page of Learn without the bar and the first screen."""
    app = new_app(request, script=Path(__file__).with_name("one_page.py"), **chosen)
    app.session_state["page_alone"] = name
    if cross_text is not None:
        app.session_state["cross_text"] = cross_text
    app.run()
    assert not app.exception
    return app


def sent(app: AppTest, key: str) -> dict[str, Any]:
    """What was sent to the component whose key is `key`, where that is JSON."""
    found = next(one for one in app.get("bidi_component") if key in one.proto.id)
    return dict(json.loads(found.proto.json))

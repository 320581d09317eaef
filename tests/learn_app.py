"""Pages of Learn as Streamlit's AppTest runs them, by name rather than by title: inside the app, or alone."""

from __future__ import annotations

from screen_app import MAIN
from streamlit.testing.v1 import AppTest

from inspector.ui.screens.labs.table import BY_NAME


def page(name: str) -> str:
    """The page's file as `switch_page` takes it."""
    return f"screens/{BY_NAME[name].file}"


def open_lab(name: str, **address: str) -> AppTest:
    """A page of Learn inside the app."""
    app = AppTest.from_file(str(MAIN), default_timeout=120)
    for field, value in address.items():
        app.query_params[field] = value
    app.run()
    app.switch_page(page(name)).run()
    assert not app.exception
    return app


def open_alone(name: str, **address: str) -> AppTest:
    """A page of Learn as a script of its own, without the app around it."""
    app = AppTest.from_file(str(MAIN.parent / page(name)), default_timeout=120)
    for field, value in address.items():
        app.query_params[field] = value
    app.run()
    assert not app.exception
    return app

"""Register a canvas of views/js as a component of Streamlit, and read what it sends back."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import streamlit as st

from inspector.views import canvases

_HERE = files("inspector.ui.components")
THEME = canvases.text(_HERE / "streamlit.css")


def mounted(name: str, *, html: str, css: str = "") -> Any:
    """Return a component of Streamlit whose script is this folder's `name`.js, joined with all that it imports.

    Args:
        name: the script's name, and the end of the component's.
        html: the skeleton that the script fills.
        css: its style, beside the app's theme.

    Returns:
        The function that shows it: data=, key=, and on_NAME_change= for what it sends back.
    """
    js = canvases.joined(_HERE / f"{name}.js")
    return st.components.v2.component(f"attention_inspector_{name}", html=html, css=THEME + css, js=js)


def mounted_canvas(name: canvases.Name) -> Any:
    """Return one of the canvases as a component of Streamlit.

    Args:
        name: which.

    Returns:
        The function that shows it; it sends back "pick".
    """
    return mounted(name, html=canvases.SKELETONS[name], css=canvases.style(name))


def picked_number(key: str) -> int | None:
    """Return the number that a component has sent, or None.

    Args:
        key: names the component.

    Returns:
        The number, or None where something else, or nothing, was sent.
    """
    pick = said_by(key, "pick")
    return pick if isinstance(pick, int) else None


def said_by(key: str, name: str) -> Any:
    """Return what a component's browser side said.

    Args:
        key: names the component.
        name: of what it said.

    Returns:
        What was said; None where nothing was, or where the visitor's browser has had this session's state cleared.
    """
    found = st.session_state.get(key)
    return None if found is None else found.get(name)

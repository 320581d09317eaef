"""A standalone page goes in; it comes out in a frame that can run its scripts and cannot reach the app.

Streamlit's own `st.iframe` gives a page this app's origin; `sandbox="allow-scripts"` alone gives it none, so that
nothing in it can read or click anything around it. frame.js is the other half.
"""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import streamlit as st

from inspector.views import View
from inspector.views.payload import encode

_HERE = files("inspector.ui.components")
_SHARED = files("inspector.views") / "js"
_mount = st.components.v2.component(
    "attention_inspector_frame",
    html='<iframe sandbox="allow-scripts" referrerpolicy="no-referrer" data-testid="frame"></iframe>',
    css="iframe { display: block; width: 100%; border: 0; border-radius: 8px; "
    "box-shadow: 0 0 0 1px var(--st-border-color); }",
    js=(_SHARED / "common.js").read_text(encoding="utf-8") + (_HERE / "frame.js").read_text(encoding="utf-8"),
)


def page_frame(view: View, *, key: str) -> None:
    """The page at its full height and no wider than it draws, in the app's theme."""
    page = np.frombuffer(view.html.encode(), dtype=np.uint8)
    _mount(data=encode({"title": view.title, "height": view.height, "width": view.width}, page), key=key)

"""List what there is to learn from: the walkthrough and the laboratories."""

from __future__ import annotations

import streamlit as st

from inspector.ui.pages import LEARN, PAGES, file_of
from inspector.ui.screens import common


def show() -> None:
    """Draw the page."""
    common.heading("Learn")
    for _, _, title in PAGES[LEARN][1:]:
        st.page_link(file_of(title), label=title)


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()

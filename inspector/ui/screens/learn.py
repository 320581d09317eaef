"""Show the cards of Learn: the Walkthrough first, then each laboratory as a question."""

from __future__ import annotations

import streamlit as st

from inspector.ui.screens.labs import frame
from inspector.ui.screens.labs.table import LABORATORIES, WALKTHROUGH, Page


def show() -> None:
    """Draw the page."""
    frame.style()
    st.title("Learn how attention works", anchor=False)
    st.markdown(
        "Every number on these pages is computed by the model on your text. Begin with the Walkthrough, or pick a "
        "question."
    )
    with st.container(key="first_card"):
        _card(WALKTHROUGH)
    with st.container(key="cards"):
        for page in LABORATORIES:
            _card(page)


def _card(page: Page) -> None:
    """Draw one card; all of it is the link."""
    with st.container(border=True, key=f"card_{page.name}"):
        frame.link(page, page.title, icon=f":material/{page.icon}:")
        st.markdown(page.teaser)


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()

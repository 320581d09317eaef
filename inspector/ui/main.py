"""Start the app: the table of pages and the sidebar they share. `streamlit run` starts here, or in app.py."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from inspector.ui import links, sidebar
from inspector.ui.server import streamlit_patches

_HERE = Path(__file__).resolve().parent
# Section -> file and title of each page; the first page is where the app opens, a section without a name has no menu.
PAGES = {
    "": (
        ("heads.py", "Heads"),
        ("vectors.py", "Vectors"),
        ("pair.py", "Pair"),
        ("bertviz.py", "BertViz"),
        ("verification.py", "Verification"),
        ("walkthrough.py", "Walkthrough"),
    ),
    "Laboratories": (
        ("labs/softmax.py", "Softmax"),
        ("labs/position.py", "Position"),
        ("labs/mask_and_heads.py", "Mask and heads"),
        ("labs/context.py", "Context"),
        ("labs/two_contexts.py", "Two contexts"),
        ("labs/it_and_cat.py", "it → cat"),
        ("labs/four_ways.py", "Same numbers, four ways"),
    ),
}


def show_app() -> None:
    """Run the script once: the sidebar, then the page."""
    streamlit_patches.ask_nobody()
    streamlit_patches.log_no_words()
    # An emoji, not a :material: icon: that one would be fetched from a font host.
    st.set_page_config(page_title="Attention Inspector", page_icon="🔍", layout="wide")
    first = next(iter(PAGES.values()))[0][0]
    pages = {
        section: [st.Page(_HERE / "screens" / file, title=title, default=file == first) for file, title in found]
        for section, found in PAGES.items()
    }
    page = st.navigation(pages, position="top")
    st.html(_HERE / "style.css")
    if links.arrive():  # else a link's prompt is still on its way from the browser
        sidebar.show()
        page.run()


if __name__ == "__main__":
    show_app()

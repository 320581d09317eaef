"""The app's entry: the table of pages and the sidebar they share. `streamlit run` starts here, or in app.py."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from inspector.ui import links, sidebar

_HERE = Path(__file__).resolve().parent
PAGES = (  # file and title; the first is where the app opens
    ("heads.py", "Heads"),
    ("vectors.py", "Vectors"),
    ("pair.py", "Pair"),
    ("bertviz.py", "BertViz"),
    ("verification.py", "Verification"),
)


def main() -> None:
    """One run of the script: sidebar, then the page."""
    # An emoji, not a :material: icon: that one would be fetched from a font host.
    st.set_page_config(page_title="Attention Inspector", page_icon="🔍", layout="wide")
    pages = [
        st.Page(_HERE / "screens" / file, title=title, default=index == 0) for index, (file, title) in enumerate(PAGES)
    ]
    page = st.navigation(pages, position="top")
    st.html(_HERE / "style.css")
    if links.arrive():  # else a link's prompt is still on its way from the browser
        sidebar.show()
        page.run()


if __name__ == "__main__":
    main()

"""Start the app: the table of pages and the bar they share. `streamlit run` starts here, or in app.py."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from inspector.ui import bar, links, state
from inspector.ui.pages import PAGES, file_of
from inspector.ui.server import streamlit_patches

_HERE = Path(__file__).resolve().parent


def show_app() -> None:
    """Run the script once: the bar, then the page."""
    streamlit_patches.ask_nobody()
    streamlit_patches.log_no_words()
    # An emoji, not a :material: icon: that one would be fetched from a font host.
    st.set_page_config(page_icon="🔍", layout="wide", initial_sidebar_state="collapsed")
    pages = {
        part: {
            title: st.Page(
                file_of(title),
                title=f"{title} · Attention Inspector",
                url_path=path or None,
                default=not path,
            )
            for _, path, title in found
        }
        for part, found in PAGES.items()
    }
    page = st.navigation([each for found in pages.values() for each in found.values()], position="hidden")
    st.html(_HERE / "style.css")
    st.html(f"<style>:root {{ --on-primary: {'#1a0d05' if st.context.theme.type == 'dark' else '#ffffff'}; }}</style>")
    if not links.arrive():  # what the tab remembers is still on its way from the browser
        return
    here, title = next((part, name) for part, found in pages.items() for name, each in found.items() if each is page)
    places = bar.show(here)
    links.remember(
        None if title == "Heads" else state.selected(), title
    )  # first: the page looks at what the tab remembers
    page.run()
    bar.fill(places)


if __name__ == "__main__":
    show_app()

"""Start the app: the table of pages and the bar they share. `streamlit run` starts here, or in app.py."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from inspector.ui import bar, links, shown_pictures, state
from inspector.ui.markdown import plain, short
from inspector.ui.pages import ATLAS, PAGES, file_of
from inspector.ui.progress import shown_now
from inspector.ui.server import results, streamlit_patches
from inspector.views.provenance import line as provenance_line
from inspector.views.provenance import model_name

_HERE = Path(__file__).resolve().parent
# Streamlit's own tables and charts keep the theme's colours on paper.
_TURNED_OVER = """@media print { [data-testid="stDataFrame"], [data-testid="stVegaLiteChart"] :is(canvas, svg) {
  filter: invert(1) hue-rotate(180deg); } }"""


def show_app() -> None:
    """Run the script once: the bar, then the page."""
    streamlit_patches.mend_streamlit()
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
    for style in ("style.css", "print.css"):
        st.html(_HERE / style)
    dark = st.context.theme.type == "dark"
    st.html(
        f"<style>:root {{ --on-primary: {'#1a0d05' if dark else '#ffffff'}; }} {_TURNED_OVER if dark else ''}</style>"
    )
    if not links.arrive():  # what the tab remembers is still on its way from the browser
        return
    here, title = next((part, name) for part, found in pages.items() for name, each in found.items() if each is page)
    places = bar.show(here)
    shown_pictures.begin(wanted=places.export is not None and here != ATLAS)
    links.remember(
        None if title == "Heads" else state.selected(), title
    )  # first: the page looks at what the tab remembers
    page.run()
    bar.fill(places, title)
    if here != ATLAS:  # which shows no prompt
        _provenance(title)


def _provenance(page: str) -> None:
    """Write where the numbers come from; it shows on paper."""
    shown = shown_now()
    if shown is None:
        return
    # What was compared is attention in the text as it stands, not what the pages Change, Compare and Why make of it.
    report = results.finished_report(shown.request) if page not in ("Change", "Compare", "Why") else None
    said = [f"{model_name(shown.trace)}: “{short(shown.request.prompt, 100)}”" if shown.request.prompt else ""]
    said += [report.summary() if report is not None else "", provenance_line(shown.trace)]
    with st.container(key="provenance"):
        st.caption(" · ".join(plain(words) for words in said if words))


if __name__ == "__main__":
    show_app()

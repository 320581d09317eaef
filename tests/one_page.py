"""One page of Learn as an app, for AppTest: the others are there to be linked to; no bar, and Explore does not run."""

import streamlit as st
from screen_app import MAIN

from inspector.ui.screens.labs.table import PAGES

shown = st.session_state["page_alone"]
pages = [
    st.Page(MAIN.parent / "screens" / page.file, title=page.title, url_path=page.name, default=page.name == shown)
    for page in PAGES
]
st.navigation(pages, position="hidden").run()

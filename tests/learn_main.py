"""The pages of Learn in an app of their own, for test_browser_learn.py: no bar, no sidebar."""

from pathlib import Path

import streamlit as st

from inspector.ui import main
from inspector.ui.screens.labs.table import PAGES
from inspector.ui.server import streamlit_patches

streamlit_patches.ask_nobody()
streamlit_patches.log_no_words()
st.set_page_config(layout="wide")
screens = Path(main.__file__).parent / "screens"
st.navigation([st.Page(screens / page.file, title=page.title) for page in PAGES], position="hidden").run()

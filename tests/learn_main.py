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
# With those that Learn links to.
files = {page.file: page.title for page in PAGES} | {
    "heads.py": "Heads",
    "pair.py": "Pair",
}
st.navigation([st.Page(screens / file, title=title) for file, title in files.items()], position="hidden").run()

"""app.py, but that the background compares only what asks for it (quiet.py)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # streamlit puts this file's own folder there

import quiet
import streamlit as st

from inspector.ui.main import show_app

st.cache_resource(show_spinner=False)(quiet.be_quiet)()
show_app()

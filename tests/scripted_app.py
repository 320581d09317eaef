"""app.py with another script in place of the app's own: the one that the variable SCRIPT names."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # streamlit puts this file's own folder there

from streamlit.starlette import App

from inspector.ui.asgi import OPTIONS

app = App(os.environ["SCRIPT"], **OPTIONS)

"""app.py, and beside it a file that says what the store keeps and makes: test_browser_serving.py reads it."""

import json
import os
import sys
import threading
import time
from pathlib import Path

import streamlit as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # streamlit puts this file's own folder there

from inspector.ui import cached
from inspector.ui.main import main


@st.cache_resource(show_spinner=False)
def watch() -> None:
    """Starts the one thread that writes."""
    store, target = cached.store(), Path(os.environ["WATCHED_STORE"])

    def write() -> None:
        while True:
            with store.traces._lock:
                found = {
                    "kept": [repr(key) for key in store.traces._kept],
                    "making": [repr(key) for key in store.traces._making],
                    "threads": sum(thread.name == "store" for thread in threading.enumerate()),
                }
            part = target.with_suffix(".part")
            part.write_text(json.dumps(found), encoding="utf-8")
            part.replace(target)
            time.sleep(0.05)

    threading.Thread(target=write, daemon=True).start()


watch()
main()

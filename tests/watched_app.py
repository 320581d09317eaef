"""app.py, and beside it a file that says what the store keeps and makes: test_browser_serving.py reads it.

Two mistakes are planted, whose words quote the prompt as a careless library's might: one while it runs, one in a page.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

import streamlit as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # streamlit puts this file's own folder there

from inspector.model import Model
from inspector.ui import cached
from inspector.ui.main import main
from inspector.ui.screens import common

RUN, PAGE = "breaks while it runs", "breaks the page"


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
    trace, facts = Model.trace, common.facts

    def broken_trace(self, prompt, **options):
        if RUN in str(prompt):
            raise ValueError(f"cannot make anything of {prompt!r}")
        return trace(self, prompt, **options)

    def broken_facts(shown, **options):
        if PAGE in shown.request.prompt:
            raise LookupError(f"nothing is known of {shown.request.prompt!r}")
        return facts(shown, **options)

    Model.trace, common.facts = broken_trace, broken_facts


watch()
main()

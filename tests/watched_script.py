"""quiet_script.py, and beside it a file that says what the server stores and makes: test_browser_serving.py reads it.

Its clock for who has left is read from a file, too: so many seconds later than the real one.

Mistakes are planted, whose words quote the prompt as a careless library's might: one while it runs, one in a page, one
in a part of a page that runs by itself, one after a click.
"""

import json
import os
import sys
import threading
import time
import weakref
from pathlib import Path

import streamlit as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # streamlit puts this file's own folder there

import quiet

from inspector import Trace
from inspector.model.model import Model
from inspector.ui import state
from inspector.ui.main import show_app
from inspector.ui.screens import common
from inspector.ui.server import shared

RUN, PAGE, PART, CLICK = "breaks while it runs", "breaks the page", "breaks a part of it", "breaks after a click"


@st.cache_resource(show_spinner=False)
def watch() -> None:
    """Starts the one thread that writes."""
    store, target = shared.shared_store(), Path(os.environ["WATCHED_STORE"])
    alive: weakref.WeakValueDictionary[int, Trace] = weakref.WeakValueDictionary()

    path, looks, known = Path(os.environ["CLOCK"]), [0], set()
    sessions, connected = shared.shared_sessions(), shared._connected

    def now():
        looks[0] += 1
        return time.monotonic() + float(path.read_text(encoding="utf-8") if path.exists() else 0)

    def is_connected(session):
        (known.add if connected(session) else known.discard)(session)
        return session in known

    sessions._now, sessions._connected, sessions._every = now, is_connected, 0.1

    def write() -> None:
        while True:
            with store.traces._lock:
                found = {
                    "kept": [repr(key) for key in store.traces._stored],
                    "making": [repr(key) for key in store.traces._making],
                    "alive": [trace.prompt for trace in alive.values()],
                    "connected": list(known),
                    "looks": looks[0],
                    "threads": sum(thread.name == "store" for thread in threading.enumerate()),
                }
            part = target.with_suffix(".part")
            part.write_text(json.dumps(found), encoding="utf-8")
            part.replace(target)
            time.sleep(0.05)

    threading.Thread(target=write, daemon=True).start()
    quiet.be_quiet()
    trace, heading = Model.trace, common.heading

    def broken_trace(self, prompt, **options):
        if RUN in str(prompt):
            raise ValueError(f"cannot make anything of {prompt!r}")
        made = trace(self, prompt, **options)
        alive[id(made)] = made
        return made

    def broken_heading(*words):
        prompt = state.request().prompt
        if PAGE in prompt:
            raise LookupError(f"nothing is known of {prompt!r}")
        if PART in prompt:
            part(prompt)
        if CLICK in prompt:
            st.button("Break", on_click=click, args=(prompt,))
        return heading(*words)

    @st.fragment
    def part(prompt):
        raise LookupError(f"no part for {prompt!r}")

    def click(prompt):
        raise LookupError(f"no click for {prompt!r}")

    Model.trace, common.heading = broken_trace, broken_heading


watch()
show_app()

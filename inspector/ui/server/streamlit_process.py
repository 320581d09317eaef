"""Run Streamlit's own command, as `python -m streamlit` does, with two mends that must come before it.

Ctrl+C ends it without a word: uvicorn raises the signal again once it has ended, and click would print "Aborted!" for
it, to somebody who was told to end the app so. And a message of a browser is refused as it arrives, once it is longer
than Streamlit reads: Streamlit's own bound for what it takes into memory is that of its answers, 200 MB.
"""

from __future__ import annotations

import signal
import sys

from streamlit.runtime.runtime_util import get_max_widget_state_size_bytes
from streamlit.web.cli import main
from streamlit.web.server.starlette import starlette_server


def run() -> None:
    """Run what the arguments say until it ends."""
    setattr(starlette_server, "get_max_message_size_bytes", get_max_widget_state_size_bytes)  # noqa: B010 - on purpose
    signal.signal(signal.SIGINT, _end)
    main(prog_name="streamlit")


def _end(_number: int, _frame: object) -> None:
    """End this process as one that has done its work."""
    sys.exit(0)


if __name__ == "__main__":
    run()

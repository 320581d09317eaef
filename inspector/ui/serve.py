"""Streamlit's own command, without its one question to the outside.

When a page of another site tries to connect, Streamlit 1.67 asks checkip.amazonaws.com for this machine's address
before it says no (`streamlit/net_util.py`; every visitor waits up to two seconds meanwhile). No option turns that off;
an answer that is there already does. `launch` starts this; a plain `streamlit run app.py` has it from the first visit.
"""

from streamlit import net_util
from streamlit.web.cli import main


def ask_nobody() -> None:
    """Give the answer beforehand: a name that Streamlit allows anyway."""
    net_util._external_ip = "localhost"


if __name__ == "__main__":
    ask_nobody()
    main(prog_name="streamlit")

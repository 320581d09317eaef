"""Run Streamlit's own command without its one question to the outside, and without anybody's words in its log.

When a page of another site tries to connect, Streamlit 1.67 asks checkip.amazonaws.com for this machine's address
before it says no (`streamlit/net_util.py`; every visitor waits up to two seconds meanwhile). No option turns that off;
an answer that is there already does. `launch.py` starts this; a plain `streamlit run app.py` has it from the first
visit.
"""

import logging
import traceback

from streamlit import config, error_util, net_util
from streamlit.web.cli import main


def ask_nobody() -> None:
    """Give the answer beforehand: a name that Streamlit allows anyway."""
    net_util._external_ip = "localhost"


def log_no_words() -> None:
    """Log of an unforeseen error only what kind it is and where it happened: its words may quote a prompt.

    That is any error that no page has a sentence for: on a page, in a part of one or after a click.
    """
    config.set_option("logger.enableRich", False)  # which would print the error past the logger
    logger = logging.getLogger(error_util.__name__)
    if not any(isinstance(known, _WithoutWords) for known in logger.filters):
        logger.addFilter(_WithoutWords())


class _WithoutWords(logging.Filter):
    """Replaces an error's words by its kind and place."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.exc_info, tuple) and (error := record.exc_info[1]) is not None:
            where = "".join(traceback.format_tb(error.__traceback__))
            record.msg, record.args = f"Unforeseen {type(error).__name__}:\n{where}", ()
            record.exc_info = record.exc_text = None
        return True


if __name__ == "__main__":
    ask_nobody()
    main(prog_name="streamlit")

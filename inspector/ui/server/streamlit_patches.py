"""Mend what no option of Streamlit mends: its question to the outside, words in its log, sessions taken over by id.

When a page of another site tries to connect, Streamlit 1.67 asks checkip.amazonaws.com for this machine's address
before it says no (`streamlit/net_util.py`; every visitor waits up to two seconds meanwhile). No option turns that off;
an answer that is there already does. Reruns and downloads are mended in files of their own. All of it stands before the
first visitor comes (ui/asgi.py); a plain `streamlit run` of main.py has it from the first visit.
"""

import hashlib
import logging
import traceback
from typing import Any

from streamlit import config, net_util
from streamlit.watcher.local_sources_watcher import LocalSourcesWatcher
from streamlit.web.server.starlette import starlette_websocket
from streamlit.web.server.starlette.starlette_app_utils import decode_xsrf_token_string
from streamlit.web.server.starlette.starlette_server_config import XSRF_COOKIE_NAME

from inspector.ui.server import download_requests, reruns, running_pages

_of_headers = starlette_websocket.gather_user_info  # Streamlit's own
_look_for_files = LocalSourcesWatcher.update_watched_modules
_make_record = logging.getLogRecordFactory()


def mend_streamlit() -> None:
    """Put every mend in its place; a second time changes nothing."""
    ask_nobody()
    log_no_words()
    LocalSourcesWatcher.update_watched_modules = _look_if_watched  # type: ignore[method-assign]
    reruns.bound_reruns()
    running_pages.count_pages()
    download_requests.answer_downloads_here()
    starlette_websocket.gather_user_info = _and_browser


def ask_nobody() -> None:
    """Give the answer beforehand: a name that Streamlit allows anyway."""
    net_util._external_ip = "localhost"


def _look_if_watched(self: LocalSourcesWatcher) -> None:
    """Look for the files of all modules where changed files are to be noticed.

    Streamlit does so always: after a visitor's first run, and whenever something was imported, some 4,000 modules are
    asked in the thread that serves everybody, for a quarter of a second or more. Old releases of transformers raise an
    error there.
    """
    if config.get_option("server.fileWatcherType") != "none":
        _look_for_files(self)


def log_no_words() -> None:
    """Log of an unforeseen error only what kind it is and where it happened: its words may quote a prompt.

    That is any error that no page has a sentence for, wherever it is logged: on a page, in a part of one, after a
    click, while a file is made or a request is answered.
    """
    config.set_option("logger.enableRich", False)  # which would print the error past the logger
    logging.setLogRecordFactory(_without_words)


def _without_words(*args: Any, **more: Any) -> logging.LogRecord:
    """Make a record of the log, an error's words in it replaced by its kind and place."""
    record = _make_record(*args, **more)
    if isinstance(record.exc_info, tuple) and (error := record.exc_info[1]) is not None:
        where = "".join(traceback.format_tb(error.__traceback__))
        record.msg, record.args = f"Unforeseen {type(error).__name__}:\n{where}", ()
        record.exc_info = record.exc_text = None
    return record


def _and_browser(headers: Any) -> dict[str, str | bool | None]:
    """Return what Streamlit knows of a visitor, and which browser it is, by its cookie against cross-site requests.

    A session is given back to the same visitor only: its id alone, which stands in addresses, opens none.
    """
    cookies = headers.get("cookie", "").split(";")
    values = [text.strip().partition("=")[2] for text in cookies if text.strip().startswith(f"{XSRF_COOKIE_NAME}=")]
    token, _ = decode_xsrf_token_string(values[0]) if values else (None, None)
    browser = "" if token is None else hashlib.sha256(token).hexdigest()
    found: dict[str, str | bool | None] = _of_headers(headers)
    return found | {"browser": browser}

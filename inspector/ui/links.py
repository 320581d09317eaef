"""Make links that reopen what is on screen, and take what such a link asks for.

The address bar holds layer, head and options (state.py). A copied link adds the model, where this server was started
with it by name, and, when ticked, the prompt. The prompt stands after the #:

    http://localhost:8501/?model=owner%2Fname&layer=3&head=5&prompt=in-fragment#prompt=Houston%2C%20we%20have

A browser keeps that part to itself: measured, it was in no request, in no header of one and not in what Streamlit sends
by itself over its websocket, while a query goes to the server in the page's first request and into every log on the
way. So a small component reads it in the browser, takes it out of the address bar, and sends it over the websocket, as
a typed prompt travels. `prompt=in-fragment` announces it: Streamlit drops the fragment as soon as the script writes
to the address (measured, too), so nothing is written or run until the component has answered.

A link loads nothing but the models that this server was started with: one of their names, never a path.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlencode

import streamlit as st

from inspector.ui import state
from inspector.ui.markdown import plain, short
from inspector.ui.server.settings import limits, model_choice

if TYPE_CHECKING:
    from inspector.ui.progress import Current

MOST = 4096  # characters of a percent-encoded prompt: longer links break in mail and chat programs
IN_FRAGMENT = "in-fragment"
_MODEL, _PROMPT, _GENERATE = _ONCE = ("model", "prompt", "generate")  # taken once, then out of the address bar
_NOTE, _READER = "link_note", "link_reader"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)

_HERE = files("inspector.ui.components")
_mount = st.components.v2.component(
    "attention_inspector_link",
    html='<div class="link"><input readonly aria-label="The link" data-testid="link"><button>Copy</button>'
    '<span role="status"></span></div>',
    css=(_HERE / "link.css").read_text(encoding="utf-8"),
    js=(_HERE / "link.js").read_text(encoding="utf-8"),
)
_read = st.components.v2.component(
    "attention_inspector_link_reader", html="", js=(_HERE / "link.js").read_text(encoding="utf-8")
)


@dataclass(frozen=True)
class Note:
    """A sentence about what a link could not do, shown as long as its request is on screen."""

    request: state.Request
    sentence: str


# -- opening a link --------------------------------------------------------------------------------------


def arrive() -> bool:
    """Take what the address asks for beyond the selection.

    Returns:
        False where the link's prompt is still to come from the browser: nothing else is to be shown or computed until
        it has.
    """
    if any(name in st.query_params for name in _ONCE):
        if state.has_asked():  # a link is taken once, when it is opened
            _forget()
        elif st.query_params.get(_PROMPT) == IN_FRAGMENT:
            _read(data={"mode": "read"}, key=_READER, on_fragment_change=_take)
            st.caption("Reading the prompt from the link …")
            return False
        else:
            _ask(st.query_params.get(_MODEL), None)
            _forget()
    note: Note | None = st.session_state.get(_NOTE)
    if note is not None and note.request == state.request():
        st.warning(plain(note.sentence), icon=":material/link_off:")
    return True


def prompt_in(fragment: object) -> str | None:
    """Read the prompt after the # of an address.

    Args:
        fragment: what the browser sent of it.

    Returns:
        The prompt; None where there is none, or one that this app would not have written.
    """
    if not isinstance(fragment, str) or not fragment.startswith("prompt="):
        return None
    encoded = fragment.removeprefix("prompt=")
    try:
        return unquote(encoded, errors="strict") or None if len(encoded) <= MOST else None
    except UnicodeDecodeError:
        return None


def linkable(model: str) -> bool:
    """Return whether a link may name this model.

    Args:
        model: the model's name.

    Returns:
        True where it is in this server's choice of models, and is a name, not a place.
    """
    named = bool(_NAME.fullmatch(model)) and not model.endswith(".gguf")
    return named and model in model_choice().models and not Path(model).exists()


def _take() -> None:
    """Take what the component has read, before the run that it starts."""
    prompt = prompt_in(st.session_state[_READER].get("fragment"))
    missing = "" if prompt else "The link's prompt did not arrive whole; ask for the link again, or type the prompt."
    _ask(st.query_params.get(_MODEL), prompt, missing)


def _ask(model: str | None, prompt: str | None, note: str = "") -> None:
    """Ask for the link's model and prompt, as far as a link may."""
    if model is not None and not linkable(model):
        note += (" " if note else "") + (
            f"The link names the model “{short(model, 80)}”. This server was not started with it, and a link cannot "
            "load one."
        )
        model = None
    written = st.query_params.get(_GENERATE, "")
    generate = int(written) if prompt and state.NUMBER.fullmatch(written) else 0
    state.ask(model=model, prompt=prompt, generate=min(generate, limits().written))
    if note:
        st.session_state[_NOTE] = Note(state.request(), note)


def _forget() -> None:
    """Take out of the address what was taken once."""
    for name in _ONCE:
        if name in st.query_params:
            del st.query_params[name]


# -- making one ------------------------------------------------------------------------------------------


def address(request: state.Request, *, prompt: bool) -> tuple[str, str]:
    """Return what follows the page's own address in a link to what is on screen.

    Args:
        request: what is on screen.
        prompt: whether the link contains the prompt.

    Returns:
        Query and fragment, with "?" and "#", or empty.
    """
    said = {name: value for name, value in st.query_params.to_dict().items() if name not in _ONCE}
    if linkable(request.model):
        said = {_MODEL: request.model, **said}
    if not prompt:
        return (f"?{urlencode(said)}" if said else ""), ""
    said[_PROMPT] = IN_FRAGMENT
    if request.generate:
        said[_GENERATE] = str(request.generate)
    return f"?{urlencode(said)}", f"#prompt={_encoded(request.prompt)}"


def fits(prompt: str) -> bool:
    """Return whether this prompt is short enough for a link.

    Args:
        prompt: the prompt's text.

    Returns:
        True where its encoded form has at most MOST characters.
    """
    return len(_encoded(prompt)) <= MOST


def panel(shown: Current) -> None:
    """Draw the button "Copy link" and what opens below it.

    Args:
        shown: the prompt on screen.
    """
    with st.popover("Copy link", icon=":material/link:"):
        if shown.request.file:
            st.caption("A link cannot contain an uploaded trace: pass the file on, and open it in the sidebar.")
            return
        if linkable(shown.request.model):
            st.caption("Opens this model, layer, head and these options.")
        else:
            st.caption(
                "Opens this layer, head and these options, in the model that the other server starts with: "
                "this server was not started with the present model by name, and a link contains no path."
            )
        can = fits(shown.request.prompt)
        wanted = st.toggle(
            "With the prompt",
            key="link_with_prompt",
            disabled=not can,
            help="It stands after the # of the address, the part that a browser never sends to a server. Whoever "
            "gets the link can read it.",
        )
        if not can:
            encoded = len(_encoded(shown.request.prompt))
            st.caption(
                f"The prompt is too long for a link: written as one it takes {encoded:,} characters, and {MOST:,} "
                "fit. Save the whole trace instead."
            )
        search, fragment = address(shown.request, prompt=can and wanted)
        _mount(data={"mode": "copy", "search": search, "fragment": fragment}, key="link")


def _encoded(prompt: str) -> str:
    """Write a prompt as it stands in an address."""
    return quote(prompt, safe="", errors="replace")

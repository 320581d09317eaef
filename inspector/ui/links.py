"""Make links that reopen what is on screen, take what such a link asks for, and bring a tab back after a reload.

Everything stands after the # of the address:

    http://localhost:8501/#model=owner%2Fname&prompt=Houston%2C+we+have&layer=3&head=5

A browser keeps that part to itself: measured, it was in no request, in no header of one and not in what Streamlit sends
by itself over its websocket, while a query goes to the server in the page's first request and into every log on the
way. So a small component reads it in the browser, takes the prompt out of the address bar, and sends it over the
websocket, as a typed prompt travels. The same component says what its tab remembers of an earlier visit, so that a
reload, Back and a restarted server bring back prompt, model and selection. Older links have model and selection in the
query and open the same.

A link loads nothing but the models that this server was started with: one of their names, never a path. A prompt that
came in a link runs after one click, unless this browser made the link.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import streamlit as st

from inspector.ui import state
from inspector.ui.components.memory import ask_tab, tell_tab
from inspector.ui.components.mounting import mounted
from inspector.ui.markdown import plain, short
from inspector.ui.server.settings import MOST_CHARACTERS, limits, model_choice

if TYPE_CHECKING:
    from inspector.ui.progress import Current

MOST = 4096  # characters of a percent-encoded prompt: longer links break in mail and chat programs
_MODEL, _PROMPT, _GENERATE, _CHAT, _OTHER = "model", "prompt", "generate", "chat", "other"
_NOTE, _READER, _OFFERED = "link_note", "tab_reader", "offered_by_link"
_FORGET, _BRING = "forget_choice", "bring_choice"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)

_HERE = files("inspector.ui.components")
_mount = mounted(
    "link",
    html='<div class="link"><input readonly aria-label="The link" data-testid="link"><button>Copy</button>'
    '<span role="status"></span></div>',
    css=(_HERE / "link.css").read_text(encoding="utf-8"),
)


@dataclass(frozen=True)
class Note:
    """A sentence about what a link could not do, shown as long as its request is on screen."""

    request: state.Request
    sentence: str


@dataclass(frozen=True)
class Offer:
    """A prompt that came in a link, and what is to be chosen in it: nothing of either counts before a click."""

    request: state.Request
    selection: Mapping[str, str]


# -- opening the app -------------------------------------------------------------------------------------


def arrive() -> bool:
    """Take what the tab remembers and what its address asks for, once a session.

    Returns:
        False where the browser has still to say it: nothing else is to be shown or computed until it has.
    """
    if not state.has_asked():
        ask_tab(_take, key=_READER)
        st.caption("Opening …")
        return False
    note: Note | None = st.session_state.get(_NOTE)
    if note is not None and note.request == state.request():
        st.warning(plain(note.sentence), icon=":material/link_off:")
    offered: Offer | None = st.session_state.get(_OFFERED)
    if offered is not None:
        _offer(offered)
    return True


def remember(selection: Mapping[str, Any] | None, page: str) -> None:
    """Have the browser's tab remember what is asked for, and what is chosen.

    Args:
        selection: None on a screen that tells the tab itself.
        page: the page on screen.
    """
    asked = state.request()
    if st.session_state.pop(_BRING, False):
        selection = state.selected()
    said = {_MODEL: asked.model, _PROMPT: asked.prompt, _GENERATE: asked.generate, _CHAT: asked.chat}
    if (other := state.other_prompt()) is not None:
        said[_OTHER] = other
    tell_tab(said, selection, page=page, forget=bool(st.session_state.pop(_FORGET, False)), key="tab")


def forget_choice() -> None:
    """Have the tab begin with the next prompt's own head: an example was chosen, which has one."""
    st.session_state[_FORGET] = True
    state.forget_place()


def bring_choice() -> None:
    """Have the tab take what was chosen here, for the prompt that was asked for with it."""
    st.session_state[_BRING] = True


def request_in(said: object) -> state.Request | None:
    """Read a request from what a browser says; it may be anything.

    Args:
        said: names and values; numbers may be written as text.

    Returns:
        The request, of a model that this server's visitors may choose; None where there is no prompt in it.
    """
    if not isinstance(said, Mapping):
        return None
    prompt, model = said.get(_PROMPT), said.get(_MODEL)
    if not isinstance(prompt, str) or not prompt or len(prompt) > MOST_CHARACTERS:
        return None
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair is no text
        return None
    choice = model_choice()
    known = isinstance(model, str) and len(model) <= 1000 and choice.allows(model)
    written = str(said.get(_GENERATE, ""))
    generate = int(written) if state.NUMBER.fullmatch(written) else 0
    return state.Request(
        str(model) if known else choice.models[0],
        prompt,
        generate=min(generate, limits().written),
        chat=said.get(_CHAT) in (True, "1"),
    )


def linkable(model: str) -> bool:
    """Return whether a link may name this model.

    Args:
        model: the model's name.

    Returns:
        True where it is in this server's choice of models, and is a name, not a place.
    """
    named = bool(_NAME.fullmatch(model)) and not model.endswith(".gguf") and model in model_choice().models
    return named and not Path(model).exists()


def _take(answer: object) -> None:
    """Take what the tab said: first what it remembers, then what its address asks for."""
    said: Mapping[str, Any] = answer if isinstance(answer, Mapping) else {}
    address = said.get("said") if isinstance(said.get("said"), Mapping) else {}
    link = {**st.query_params.to_dict(), **(address or {})}
    link = {name: value for name, value in link.items() if isinstance(value, str)}
    before = request_in(said.get("request"))
    if before is not None:
        state.ask(model=before.model, prompt=before.prompt, generate=before.generate, chat=before.chat)
        state.take_other_prompt(said["request"].get(_OTHER))
    else:
        state.ask()
    state.select_said(said.get("selection"))
    model, note = link.get(_MODEL), ""
    if isinstance(model, str) and not linkable(model):
        note = (
            f"The link names the model “{short(model, 80)}”. This server was not started with it, and a link cannot "
            "load one."
        )
        model = None
    if link.get(_PROMPT) == "in-fragment" and not (address or {}).get(_PROMPT):  # an older link, cut off
        note += " The link's prompt did not arrive whole; ask for the link again, or type the prompt."
        link.pop(_PROMPT)
    asked = request_in({**link, _MODEL: model} if model else {k: v for k, v in link.items() if k != _MODEL})
    if asked is not None and (address or {}).get(_PROMPT):
        offer = Offer(asked, link)
        same = asked.prompt == state.request().prompt and not link.get(_OTHER)
        if said.get("own") is True or same:
            _run(offer)
        else:
            st.session_state[_OFFERED] = offer
    else:
        state.select_said(link)
        if model:
            state.ask(model=model)
    if note:
        st.session_state[_NOTE] = Note(state.request(), note.strip())


def _offer(offered: Offer) -> None:
    """Show a prompt that came in a link, and run it after one click: the visitor did not choose it."""
    asked = offered.request
    with st.container(border=True):
        written = f", and lets it write {asked.generate} tokens" if asked.generate else ""
        st.markdown(f"**This link brings a prompt** for {plain(asked.model)}{written}:")
        st.text(short(asked.prompt, 600))
        with st.container(horizontal=True):
            st.button("Run it", type="primary", key="run_link", on_click=_run, args=(offered,))
            st.button("Leave it", key="leave_link", on_click=_leave)


def _run(offered: Offer) -> None:
    """Run a link's prompt, and choose what the link says; the tab hears of it with the next run."""
    _leave()
    asked = offered.request
    state.ask(model=asked.model, prompt=asked.prompt, generate=asked.generate, chat=asked.chat)
    state.select_said(offered.selection)
    state.take_other_prompt(offered.selection.get(_OTHER))
    st.session_state[_BRING] = True


def _leave() -> None:
    """Forget a link's prompt."""
    st.session_state.pop(_OFFERED, None)


# -- making one ------------------------------------------------------------------------------------------


def panel(shown: Current) -> None:
    """Draw the link to what is on screen.

    Args:
        shown: the prompt on screen.
    """
    request = shown.request
    if request.file:
        st.caption("A link cannot contain an uploaded trace: save it under Export, pass the file on, and open it.")
        return
    can = fits(request.prompt)
    wanted = st.toggle("With the prompt", key="link_with_prompt", value=True, disabled=not can)
    said: dict[str, str] = {}
    if linkable(request.model):
        said[_MODEL] = request.model
    if can and wanted:
        said[_PROMPT] = request.prompt
        if request.generate:
            said[_GENERATE] = str(request.generate)
        if request.chat:
            said[_CHAT] = "1"
        other = state.other_prompt()
        if other and fits(request.prompt + other):
            said[_OTHER] = other
    _mount(data={"said": said}, key="link")
    st.caption(" ".join(_what_it_opens(request, with_prompt=can and wanted)))


def atlas_panel() -> None:
    """Draw the link to what the page Atlas shows."""
    _mount(data={"said": {}}, key="link")
    st.caption("It contains no prompt, and opens the same head and statistics wherever the same atlas is served.")


def _what_it_opens(request: state.Request, *, with_prompt: bool) -> list[str]:
    """Say what the link contains, and where it works."""
    said = []
    if not linkable(request.model):
        said.append(
            "It opens in the model that the other server starts with: this server was not started with the present "
            "model by name, and a link contains no path."
        )
    if with_prompt:
        said.append(
            "The prompt is in the link, after the #, a part that browsers send to no server. Whoever gets the link can "
            "read it."
        )
    elif not fits(request.prompt):
        said.append(
            f"The prompt is too long for a link: written as one it takes {len(_encoded(request.prompt)):,} characters, "
            f"and {MOST:,} fit. Save the whole trace under Export instead."
        )
    else:
        said.append("The link does not contain the prompt.")
    if st.get_option("server.address") in ("localhost", "127.0.0.1", "::1"):
        said.append("This app runs on your own machine: the link works there, while it runs.")
    return said


def fits(prompt: str) -> bool:
    """Return whether this prompt is short enough for a link.

    Args:
        prompt: the prompt's text.

    Returns:
        True where its encoded form has at most MOST characters.
    """
    return len(_encoded(prompt)) <= MOST


def _encoded(prompt: str) -> str:
    """Write a prompt as it stands in an address."""
    return quote(prompt, safe="", errors="replace")

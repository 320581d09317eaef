"""Draw the bar that stands on top of every page: where to go, the model, the prompt, the verdict, Share and Export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from inspector.errors import InspectorError
from inspector.trace import prompt_file
from inspector.ui import badge, downloads, links, state, uploads
from inspector.ui.examples import EXAMPLES
from inspector.ui.markdown import plain, short
from inspector.ui.pages import ATLAS, PAGES, file_of
from inspector.ui.progress import shown_now
from inspector.ui.server import traces
from inspector.ui.server.settings import MOST_CHARACTERS, ModelChoice, limits, model_choice

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator
    from streamlit.runtime.uploaded_file_manager import UploadedFile

_MODEL, _PROMPT = "model_field", "prompt_field"
_GENERATE, _CHAT = "generate_field", "chat_field"
_FILLED, _TIMES = "prompt_field_filled_with", "prompt_field_times"
_FILE, _FILE_PROBLEM = "trace_file", "trace_file_problem"
_TEXT, _TEXT_PROBLEM = "text_file", "text_file_problem"
_EDITION = "bar_edition"  # part of the popovers' keys: another one closes them
_ON_BAR = 200  # characters of the prompt that stand in the bar


@dataclass(frozen=True)
class Places:
    """What is drawn once the page has run: the badge, and Share and Export unless they are closed (None)."""

    badge: DeltaGenerator
    share: DeltaGenerator | None
    export: DeltaGenerator | None


def show(here: str) -> Places:
    """Draw the bar, and take what was typed or chosen.

    Args:
        here: the part of the app that is on screen, as PAGES calls it.

    Returns:
        What `fill` fills.
    """
    asked, uploaded = state.request(), state.uploaded()
    edition = st.session_state.setdefault(_EDITION, 0)
    on_screen = uploaded or asked
    with st.container(key="bar", horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown("**Attention Inspector**", width="content")
        with st.container(key="nav", horizontal=True, gap=None, width="content"):
            for part, pages in PAGES.items():
                with st.container(key=f"nav_{'here' if part == here else part.lower()}", width="content"):
                    st.page_link(file_of(pages[0][2]), label=part, width="content")
        with st.popover(plain(_short_name(on_screen.model)), key=f"bar_model_{edition}", icon=":material/memory:"):
            _models(model_choice(), asked.model)
        with st.popover(_line(on_screen), key=f"bar_prompt_{edition}", width="stretch"):
            _prompt(asked)
        verdict = st.container(key="badge", width="content")
        # Drawn when they are opened: until then the choice may change without a run of this script.
        share = st.popover("Share", key=f"bar_share_{edition}", icon=":material/link:", on_change="rerun")
        export = st.popover("Export", key=f"bar_export_{edition}", icon=":material/download:", on_change="rerun")
    return Places(verdict, share if share.open else None, export if export.open else None)


def fill(places: Places, page: str) -> None:
    """Draw the badge, Share and Export of what is on screen, once the page has run.

    Args:
        places: as `show` returned them.
        page: the title of the page on screen.
    """
    try:
        _fill(places, page)
    except InspectorError:  # such as a memory limit that is no number: the page has said it
        return


def _fill(places: Places, page: str) -> None:
    """Draw what stands on the bar of what is on screen."""
    with places.badge:
        badge.show(st.session_state[_EDITION])
    if places.share is None and places.export is None:
        return
    if page == ATLAS:
        if places.share is not None:
            with places.share:
                links.atlas_panel()
        if places.export is not None:
            with places.export:
                st.caption("The page has a button for each of its tables: CSV and JSON.")
        return
    shown = shown_now()
    if shown is not None and shown.request != (state.uploaded() or badge.shown_request()):
        shown = None  # another prompt was asked for on a page that runs none
    for place, draw in ((places.share, links.panel), (places.export, lambda now: downloads.panel(now, page))):
        if place is None:
            continue
        with place:
            if shown is None:
                st.caption("There is nothing on screen yet.")
            else:
                draw(shown)


def _line(on_screen: state.Request) -> str:
    """Return the prompt as one line, as Markdown."""
    if on_screen.file:
        return f":material/description: {plain(short(on_screen.file_name, 60))}"
    more = f" :gray[+ {on_screen.generate} tokens]" if on_screen.generate else ""
    return plain(short(on_screen.prompt, _ON_BAR)) + more or "Type a prompt"


def _short_name(model: str) -> str:
    """Return a model's name without the folders or the owner before it."""
    return short(model.rstrip("/\\").replace("\\", "/").rsplit("/", 1)[-1] or model, 28)


def _close() -> None:
    """Close what is open on the bar."""
    st.session_state[_EDITION] = st.session_state.get(_EDITION, 0) + 1


# -- the prompt ------------------------------------------------------------------------------------------


def _prompt(asked: state.Request) -> None:
    """Draw what the prompt may come from: a text, an example, a file, a saved trace."""
    if st.session_state.get(_FILLED) != asked:
        st.session_state[_FILLED], st.session_state[_TIMES] = asked, st.session_state.get(_TIMES, 0) + 1
    written = limits().written
    with st.form("prompt_form", border=False):
        st.text_area(
            "Prompt", asked.prompt, key=_field(_PROMPT), height=110, placeholder=EXAMPLES[0].prompt,
            max_chars=MOST_CHARACTERS, help="The text that the model reads. Ctrl+Enter runs it.",
        )  # fmt: skip
        with st.container(horizontal=True, vertical_alignment="bottom"):
            if written:  # a server for many may leave writing out
                st.number_input(
                    "Write n more tokens", 0, written, min(asked.generate, written), key=_field(_GENERATE), width=190,
                    help="The model writes this many tokens, the most probable each time, or fewer where it ends its "
                    "text; prompt and continuation are then run as one text and looked at together.",
                )  # fmt: skip
            st.toggle(
                "Chat template", asked.chat, key=_field(_CHAT),
                help="Put the prompt into the form in which the model was trained to answer: a user's turn.",
            )  # fmt: skip
            st.space("stretch")
            st.form_submit_button("Run", type="primary", on_click=_take_prompt)
    st.caption("Choose an example")
    with st.container(horizontal=True, gap="xsmall"):
        for at, example in enumerate(EXAMPLES):
            st.button(example.title, key=f"example_{at}", on_click=_take_example, args=(at,))
    _open_text()
    _open_trace()
    st.caption("Everything runs where this app was started. Prompts are not stored and not sent anywhere else.")


def _field(name: str) -> str:
    """Return a field's key: another one for each request, so that the field begins with what is asked for.

    What a script writes into a field that the browser has not drawn yet, in a popover that is closed, is lost with the
    next run.
    """
    return f"{name}_{st.session_state[_TIMES]}"


def _take_prompt() -> None:
    """Ask for the typed prompt."""
    state.ask(
        prompt=st.session_state[_field(_PROMPT)] or "",
        generate=int(st.session_state.get(_field(_GENERATE)) or 0),
        chat=bool(st.session_state.get(_field(_CHAT))),
    )
    _close()


def _take_example(at: int) -> None:
    """Ask for an example."""
    ask_for(EXAMPLES[at].prompt)
    links.forget_choice()


def ask_for(prompt: str) -> None:
    """Ask for a prompt as if it had been typed: the field says what runs.

    Args:
        prompt: the text.
    """
    st.session_state.pop(_FILLED, None)  # also where it is on screen already: what was typed meanwhile goes
    state.ask(prompt=prompt, generate=0, chat=False)
    _close()


def _open_text() -> None:
    """Draw the upload of a text file, which becomes the prompt of the field above."""
    with st.expander("Prompt from a file"):
        st.file_uploader(
            "Text file (UTF-8)",
            type=["txt", "md"],
            max_upload_size=prompt_file.MOST_BYTES // 2**20,
            key=_TEXT,
            on_change=_take_text,
        )
        if failed := st.session_state.get(_TEXT_PROBLEM):
            st.error(plain(failed), icon=":material/warning:")


def _take_text() -> None:
    """Take the uploaded text as the prompt."""
    uploaded = st.session_state[_TEXT]
    st.session_state[_TEXT_PROBLEM] = None
    if uploaded is None:
        return
    try:
        text = prompt_file.read_prompt(uploaded.getvalue(), f"“{uploaded.name}”")
    except InspectorError as error:
        st.session_state[_TEXT_PROBLEM] = str(error)
        return
    ask_for(text)


# -- a saved trace, the model ----------------------------------------------------------------------------


def _open_trace() -> None:
    """Draw the upload of a trace saved earlier, here or elsewhere; never read from a path of this machine."""
    with st.expander("Open a saved trace"):
        uploaded = st.file_uploader(
            "Trace file",
            type=["safetensors"],
            max_upload_size=uploads.MOST_MB,
            key=_FILE,
            on_change=_take_file,
            help='Made by "Export", then "Whole trace", by `trace.save(...)` or by `attention-inspector capture`.',
        )
        shown, failed = state.uploaded(), st.session_state.get(_FILE_PROBLEM)
        if failed and uploaded is not None:
            st.error(plain(failed), icon=":material/warning:")
        if uploaded is not None and shown is not None and not traces.is_stored(shown):
            _read(uploaded)  # this server's memory was needed for something else meanwhile
        if uploaded is not None and shown is None and not failed:
            st.button("Show it again", key="show_file", on_click=_take_file)


def _take_file() -> None:
    """Show the uploaded trace; a bad file leaves the one that is shown."""
    uploaded = st.session_state[_FILE]
    st.session_state[_FILE_PROBLEM] = None
    if uploaded is not None:
        _read(uploaded)


def _read(uploaded: UploadedFile) -> None:
    """Read an uploaded trace; remember the sentence where that fails."""
    try:
        state.show_upload(traces.open_file(uploaded.getvalue(), uploaded.name))
        _close()
    except InspectorError as error:
        st.session_state[_FILE_PROBLEM] = str(error)


def _models(choice: ModelChoice, chosen: str) -> None:
    """Draw the field that chooses the model."""
    names = list(dict.fromkeys([*choice.models, *([chosen] if choice.allows(chosen) else [])]))
    st.session_state[_MODEL] = chosen  # whatever happened to another field or session
    st.selectbox(
        "Model",
        names,
        key=_MODEL,
        accept_new_options=choice.any_other,
        on_change=_take_model,
        help=(
            "The packaged model, or type any hub id (owner/name), a folder or a .gguf file, then Enter."
            if choice.any_other
            else "The models that this server was started with."
        ),
    )


def _take_model() -> None:
    """Ask for the chosen model."""
    name = st.session_state[_MODEL]
    if name and model_choice().allows(name.strip()):  # the browser may send anything
        state.ask(model=name.strip())
        _close()

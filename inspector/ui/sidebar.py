"""Draw the sidebar that every page shares: model, prompt with examples, Run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from inspector.errors import InspectorError
from inspector.trace import prompt_file
from inspector.ui import state, uploads
from inspector.ui.examples import EXAMPLES
from inspector.ui.markdown import plain
from inspector.ui.server import traces
from inspector.ui.server.settings import MOST_CHARACTERS, ModelChoice, limits, model_choice

if TYPE_CHECKING:
    from streamlit.runtime.uploaded_file_manager import UploadedFile

_MODEL, _PROMPT, _EXAMPLE = "model_field", "prompt_field", "example_field"
_GENERATE = "generate_field"
_FILE, _FILE_PROBLEM = "trace_file", "trace_file_problem"
_TEXT, _TEXT_PROBLEM = "text_file", "text_file_problem"


def show() -> None:
    """Draw the sidebar and take what was typed or chosen."""
    choice, asked = model_choice(), state.request()
    st.session_state.setdefault(_PROMPT, asked.prompt)
    st.session_state.setdefault(_GENERATE, asked.generate)
    written = limits().written
    with st.sidebar:
        st.markdown("## Attention Inspector")
        _models(choice, asked.model)
        st.selectbox(
            "Example prompts",
            [example.title for example in EXAMPLES],
            index=None,
            key=_EXAMPLE,
            placeholder="Choose an example",
            on_change=_take_example,
        )
        with st.form("prompt_form", border=False):
            st.text_area("Prompt", key=_PROMPT, height=130, placeholder=EXAMPLES[0].prompt, max_chars=MOST_CHARACTERS)
            if written:  # a server for many may leave writing out
                st.number_input(
                    "Write n more tokens", 0, written, key=_GENERATE,
                    help="The model writes this many tokens, the most probable each time, or fewer where it ends its "
                    "text; prompt and continuation are then run as one text and looked at together.",
                )  # fmt: skip
            st.form_submit_button(
                "Run", type="primary", width="stretch", on_click=_take_prompt, help="Ctrl+Enter runs it too."
            )
        _open_text()
        _open_trace()
        st.caption("Everything runs on this machine. Prompts are not stored and not sent anywhere.")


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
    st.session_state[_PROMPT], st.session_state[_GENERATE] = text, 0
    state.ask(prompt=text, generate=0)


def _open_trace() -> None:
    """Draw the upload of a trace saved earlier, here or elsewhere; never read from a path of this machine."""
    with st.expander("Open a saved trace"):
        uploaded = st.file_uploader(
            "Trace file",
            type=["safetensors"],
            max_upload_size=uploads.MOST_MB,
            key=_FILE,
            on_change=_take_file,
            help='Made by "Save", then "Whole trace", by `trace.save(...)` or by `attention-inspector capture`.',
        )
        shown, failed = state.uploaded(), st.session_state.get(_FILE_PROBLEM)
        if failed and uploaded is not None:
            st.error(plain(failed), icon=":material/warning:")
        if uploaded is not None and shown is not None and not traces.is_stored(shown):
            _read(uploaded)  # this server's memory was needed for something else meanwhile
        if uploaded is not None and shown is None and not failed:
            st.button("Show it again", key="show_file", on_click=_take_file)


def _take_file() -> None:
    """Show the uploaded trace."""
    uploaded = st.session_state[_FILE]
    state.close_upload()
    st.session_state[_FILE_PROBLEM] = None
    if uploaded is not None:
        _read(uploaded)


def _read(uploaded: UploadedFile) -> None:
    """Read an uploaded trace; remember the sentence where that fails."""
    try:
        state.show_upload(traces.open_file(uploaded.getvalue(), uploaded.name))
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


def _take_prompt() -> None:
    """Ask for the typed prompt."""
    state.ask(prompt=st.session_state[_PROMPT] or "", generate=int(st.session_state.get(_GENERATE) or 0))


def _take_example() -> None:
    """Ask for the chosen example."""
    title = st.session_state[_EXAMPLE]
    for example in EXAMPLES:
        if example.title == title:
            st.session_state[_PROMPT] = example.prompt
            st.session_state[_GENERATE] = 0
            state.ask(prompt=example.prompt, generate=0)
    st.session_state[_EXAMPLE] = None  # the prompt field says what was taken, and may be edited from here on

"""The sidebar every page shares: model, prompt with examples, Run. What is asked for goes to `state.ask`."""

from __future__ import annotations

import streamlit as st

from inspector.ui import state
from inspector.ui.examples import EXAMPLES
from inspector.ui.offer import Offer, offer

_MODEL, _PROMPT, _EXAMPLE = "model_field", "prompt_field", "example_field"


def show() -> None:
    """Draw the sidebar and take what was typed or chosen."""
    offered, asked = offer(), state.request()
    st.session_state.setdefault(_PROMPT, asked.prompt)
    with st.sidebar:
        st.markdown("## Attention Inspector")
        _models(offered, asked.model)
        st.selectbox(
            "Example prompts",
            [example.title for example in EXAMPLES],
            index=None,
            key=_EXAMPLE,
            placeholder="Try one with something to see",
            on_change=_take_example,
        )
        with st.form("prompt_form", border=False):
            st.text_area("Prompt", key=_PROMPT, height=130, placeholder=EXAMPLES[0].prompt)
            st.form_submit_button(
                "Run", type="primary", width="stretch", on_click=_take_prompt, help="Ctrl+Enter runs it too."
            )
        st.caption("Everything runs on this machine. Prompts are not stored and not sent anywhere.")


def _models(offered: Offer, chosen: str) -> None:
    names = list(dict.fromkeys([*offered.models, *([chosen] if offered.allows(chosen) else [])]))
    st.session_state[_MODEL] = chosen  # another field's failure or a new session never leaves it behind
    st.selectbox(
        "Model",
        names,
        key=_MODEL,
        accept_new_options=offered.open,
        on_change=_take_model,
        help=(
            "The packaged model, or type any hub id (owner/name), a folder or a .gguf file, then Enter."
            if offered.open
            else "The models this server offers."
        ),
    )


def _take_model() -> None:
    name = st.session_state[_MODEL]
    if name and offer().allows(name.strip()):  # the browser may send anything
        state.ask(model=name.strip())


def _take_prompt() -> None:
    state.ask(prompt=st.session_state[_PROMPT] or "")


def _take_example() -> None:
    title = st.session_state[_EXAMPLE]
    for example in EXAMPLES:
        if example.title == title:
            st.session_state[_PROMPT] = example.prompt
            state.ask(prompt=example.prompt)
    st.session_state[_EXAMPLE] = None  # the prompt field says what was taken, and may be edited from here on

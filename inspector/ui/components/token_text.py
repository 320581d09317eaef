"""Write a text token by token, each coloured by a weight: an atlas's example, which wraps like any text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import streamlit as st

STRONGEST = 45  # per cent of the accent in the colour of a weight of 1: text stays readable on it
_STYLE = """<style>
.token-text { line-height: 1.9; font-size: 14px; overflow-wrap: anywhere; }
.token-text span { padding: 2px 1px; border-radius: 3px; white-space: pre-wrap; }
.token-text .query { outline: 2px solid light-dark(#0e141c, #e6eaf0); outline-offset: -1px; font-weight: 600; }
</style>"""


def show_token_text(tokens: Sequence[str], weights: Mapping[int, float], *, query: int, key: str) -> None:
    """Show a row of tokens with one query token's weights on others.

    Args:
        tokens: each token as people read it.
        weights: by position; tokens that are not in it stay plain.
        query: the position of the query token, which is framed.
        key: names it on the page.
    """
    with st.container(key=key):
        st.html(_STYLE + html_of(tokens, weights, query=query))


def html_of(tokens: Sequence[str], weights: Mapping[int, float], *, query: int) -> str:
    """Return the text as HTML: the square root of a weight is the strength of its colour.

    Args:
        tokens: as in `token_text`.
        weights: as in `token_text`.
        query: as in `token_text`.
    """
    spans = []
    for position, token in enumerate(tokens):
        said = f"{position} {token}"
        style = ""
        if position in weights:
            share = STRONGEST * min(max(weights[position], 0.0), 1.0) ** 0.5
            said += f": weight {weights[position]:.3f}"
            style = f"background: color-mix(in srgb, light-dark(#b8430a, #ff9a62) {share:.0f}%, transparent)"
        frame = ' class="query"' if position == query else ""
        spans.append(f'<span{frame} style="{style}" title="{escape(said)}">{escape(token)}</span><wbr>')
    return f'<div class="token-text">{"".join(spans)}</div>'

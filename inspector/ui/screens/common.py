"""What screens share: the pickers of layer and head, and sentences about a head."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from inspector.analysis import score_breakdown
from inspector.learn.glossary import TERMS
from inspector.ui import state
from inspector.ui.markdown import count, ordered, plain
from inspector.ui.progress import Current, current
from inspector.ui.server import results

_HERE = Path(__file__).resolve().parent

if TYPE_CHECKING:
    import pandas as pd

    from inspector.analysis.maps import Kind, Thumbnails
    from inspector.capture.records import LayerInfo
    from inspector.trace.trace import Trace


def begin_page(how_to_read: str) -> tuple[Current, state.Selection] | None:
    """How every page but the first begins: how to read it, the prompt on screen (None, with the reason on screen, if
    there is none yet), facts about it, and what is selected."""
    st.markdown(f"**How to read it.** {how_to_read}")
    shown = current()
    if shown is None:
        return None
    facts(shown)
    return shown, selection(shown)


def selection(current: Current, pictures: Thumbnails | None = None) -> state.Selection:
    """The selection, fitted to the model on screen. Where nothing is chosen yet: a telling head, if the small
    pictures are at hand to tell it from; else the first head of a layer in the middle."""
    layers = current.trace.layers
    return state.selection(
        layers, current.trace.n, lambda: pictures.telling(layers) if pictures else (len(layers) // 2, 0)
    )


def facts(current: Current, *, badge: bool = True) -> None:
    """One quiet line: which model, how large, how many tokens; below it whether the numbers have been verified."""
    layers = current.trace.layers
    heads, groups = layers[0].heads, layers[0].kv_heads
    alike = all((layer.heads, layer.kv_heads) == (heads, groups) for layer in layers)
    words = [
        plain(current.request.model),
        count(current.trace.n, "token"),
        count(len(layers), "layer")
        + (f" × {count(heads, 'query head')}" if alike else "")
        + (f" sharing {count(groups, 'key/value head')}" if alike and groups < heads else ""),
        f"d_head {layers[0].d_head}" if alike else "",
        f"numbers from vectors rounded to {plain(current.trace.precision)}" if current.trace.precision else "",
    ]
    st.caption(" · ".join(filter(None, words)))
    if badge:
        _badge(current)


def _badge(current: Current) -> None:
    """Whether these numbers have been verified for this prompt, and the way there."""
    if current.request.file:
        return  # numbers from a file, and no model to compare them with
    report = results.finished_report(current.request)
    if report is None:
        words, icon = "Not verified yet for this prompt: compare every stage with the library", ":material/help:"
    else:
        words, icon = plain(report.summary()), ":material/check_circle:" if report.ok else ":material/error:"
    st.page_link(_HERE / "verification.py", label=words, icon=icon)


def head_pickers(layers: Sequence[LayerInfo], chosen: state.Selection) -> None:
    """Two number fields, for those who know where they want to go, and for the keyboard."""
    st.session_state["layer_field"], st.session_state["head_field"] = chosen.layer, chosen.head

    def take() -> None:
        state.select(layer=st.session_state["layer_field"], head=st.session_state["head_field"])

    st.number_input("Layer", 0, len(layers) - 1, step=1, key="layer_field", on_change=take, width=130)
    heads = layers[chosen.layer].heads
    st.number_input("Head", 0, heads - 1, step=1, key="head_field", on_change=take, width=130)


def pair_pickers(trace: Trace, chosen: state.Selection) -> tuple[int, int, pd.DataFrame]:
    """Fields for layer, head, query token and key token; the query and key position to show, and the query's row
    (score_breakdown.row). Where none is chosen: the last token, and the key it looks at most but for the first."""
    query = chosen.query if chosen.query >= 0 else trace.n - 1
    row = score_breakdown.row(trace, chosen.layer, chosen.head, query)
    seen = row["position"][row["allowed"]].to_list()
    key = chosen.key if chosen.key in seen else score_breakdown.strongest_key(row)

    kept = weakref.ref(trace)  # Streamlit keeps what it calls, and what that holds, longer than the page

    def take_query(position: int) -> None:  # a key that was chosen is kept where this query may look at it too
        found, may = kept(), False
        if found is not None and chosen.key >= 0:
            may = bool(score_breakdown.row(found, chosen.layer, chosen.head, position)["allowed"][chosen.key])
        state.select(query=position, key=chosen.key if may else -1)

    with st.container(horizontal=True):
        head_pickers(trace.layers, chosen)
        token_picker("Query token", "query_field", range(trace.n), query, trace, take_query)
        token_picker("Key token", "key_field", seen, key, trace, lambda position: state.select(key=position))
    if 0 <= chosen.key != key:
        st.caption(f"Query token {query} cannot look at key token {chosen.key}: shown with its strongest other key.")
    return query, key, row


def token_picker(
    title: str, field: str, positions: Sequence[int], present: int, trace: Trace, on_pick: Callable[[int], None]
) -> None:
    """A field to choose one of the prompt's tokens by position and text."""
    st.session_state[field] = present
    labels = [label(trace, position) for position in range(trace.n)]
    st.selectbox(
        title,
        list(positions),
        key=field,
        format_func=labels.__getitem__,
        on_change=lambda: on_pick(st.session_state[field]),
        width=185,
    )


def label(trace: Trace, position: int) -> str:
    """A token by its position and text: 4 ␣we."""
    return f"{position} {trace.tokens.labels[position]}"


def number(value: float) -> str:
    """Five significant digits, with a real minus sign."""
    return f"{value:.5g}".replace("-", "−")


def terms(*names: str) -> None:
    """The words a page uses, each with what it means on pointing at it (or reaching it with the Tab key)."""
    with st.container(horizontal=True, gap="medium"):
        for name in names:
            st.markdown(f"**{name}**", help=TERMS[name], width="content")


def kind_of(chosen: state.Selection) -> Kind:
    """Which numbers the selection shows."""
    kinds: dict[str, Kind] = {"scaled_scores": "scaled_scores", "weighted_values": "weighted_values"}
    return kinds.get(chosen.show, "weights")


def sharing(layer: LayerInfo, head: int) -> str:
    """Which query heads share this head's keys and values."""
    share = layer.heads // layer.kv_heads
    group = layer.kv_head(head)
    if share == 1:
        return f"Query head {head} has a key/value head of its own."
    others = [other for other in range(group * share, (group + 1) * share) if other != head]
    noun = "head" if len(others) == 1 else "heads"
    return (
        f"Query head {head} shares key/value head {group} with query {noun} {ordered(others)}: "
        f"{share} query heads look through the same keys and values."
    )


def choice(label: str, name: str, options: dict[str, str], present: str) -> None:
    """A row of buttons bound to one field of the selection."""
    key = f"{name}_field"
    st.session_state[key] = present

    def take() -> None:
        state.select(**{name: st.session_state[key]})

    st.segmented_control(label, list(options), format_func=options.__getitem__, key=key, on_change=take, required=True)

"""Share what several screens draw: the fields for layer, head and tokens, and sentences about a head."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import streamlit as st

from inspector.analysis import score_breakdown
from inspector.learn.glossary import TERMS
from inspector.loading.source import PACKAGED
from inspector.ui import state
from inspector.ui.examples import EXAMPLES
from inspector.ui.markdown import count, ordered, plain
from inspector.ui.pages import EXPLORE, PAGES, file_of
from inspector.ui.progress import Current, current

if TYPE_CHECKING:
    import pandas as pd

    from inspector.analysis.maps import Kind
    from inspector.capture.records import LayerInfo
    from inspector.trace.trace import Trace


def begin_page(how_to_read: str, *, title: str = "") -> tuple[Current, state.Selection] | None:
    """Begin a page: its heading, how to read it, and facts about the prompt on screen.

    Args:
        how_to_read: a sentence or two, as Markdown.
        title: the page's title in PAGES; empty: the page has drawn its heading.

    Returns:
        The prompt on screen and what is selected; None, with the reason on screen, if there is no prompt yet.
    """
    if title:
        heading(title)
    shown = current()
    st.caption(how_to_read)
    if shown is None:
        return None
    facts(shown)
    return shown, selection(shown)


def heading(title: str, sentence: str = "") -> None:
    """Draw a page's heading, and the tabs of the part of the app that it belongs to where it has tabs.

    Args:
        title: the page's title in PAGES.
        sentence: the heading; empty: the title.
    """
    with st.container(key="heading", horizontal=True, vertical_alignment="center"):
        st.title(plain(sentence or title), anchor=False)
        tabs = [each for _, _, each in PAGES[EXPLORE]]
        if title not in tabs:
            return
        with st.container(key="tabs", horizontal=True, gap=None, width="content"):
            for each in tabs:
                with st.container(key=f"tab_{'here' if each == title else each.lower()}", width="content"):
                    st.page_link(file_of(each), label=each, width="content")


def lacks_model(current: Current, what: str) -> bool:
    """Say that a page needs the model itself, where a file is open instead of a prompt.

    Args:
        current: what is on screen.
        what: what needs it, as a sentence begins.

    Returns:
        Whether a file is open.
    """
    if current.request.file:
        st.info(
            f"{what} needs the model itself, which a trace opened from a file does not bring along: close the file and "
            "run the prompt.",
            icon=":material/info:",
        )
    return bool(current.request.file)


def selection(current: Current) -> state.Selection:
    """Return the selection, fitted to the model on screen.

    Args:
        current: the prompt on screen.

    Returns:
        The selection. Where nothing is chosen yet: the head that shows best what an example is there for; of another
        prompt the first head of a layer in the middle.
    """
    layers = current.trace.layers
    return state.selection(layers, current.trace.n, lambda: of_example(current) or (len(layers) // 2, 0))


def of_example(current: Current) -> tuple[int, int] | None:
    """Return the layer and head that show best what an example is there for.

    Args:
        current: the prompt on screen.

    Returns:
        They were measured in the packaged model: None for any other, and for any other prompt.
    """
    if current.request.model != PACKAGED:
        return None
    return next((example.where for example in EXAMPLES if example.prompt == current.request.prompt), None)


def facts(current: Current) -> None:
    """Draw one line about the prompt: which model, how large, how many tokens.

    Args:
        current: the prompt on screen.
    """
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


def head_pickers(layers: Sequence[LayerInfo], chosen: state.Selection) -> None:
    """Draw two number fields, for those who know where they want to go, and for the keyboard.

    Args:
        layers: the model's layers.
        chosen: the selection.
    """
    st.session_state["layer_field"], st.session_state["head_field"] = chosen.layer, chosen.head

    def take() -> None:
        state.select(layer=st.session_state["layer_field"], head=st.session_state["head_field"])

    st.number_input("Layer", 0, len(layers) - 1, step=1, key="layer_field", on_change=take, width=130)
    heads = layers[chosen.layer].heads
    st.number_input("Head", 0, heads - 1, step=1, key="head_field", on_change=take, width=130)


def pair_pickers(trace: Trace, chosen: state.Selection) -> tuple[int, int, pd.DataFrame]:
    """Draw fields for layer, head, query token and key token.

    Args:
        trace: the trace on screen.
        chosen: the selection.

    Returns:
        The query position and the key position to show, and the query's row (score_breakdown.row). Where none is
        chosen: the last token, and the key it looks at most but for the first.
    """
    query = chosen.query if chosen.query >= 0 else trace.n - 1
    row = score_breakdown.row(trace, chosen.layer, chosen.head, query)
    seen = row["position"][row["allowed"]].to_list()
    key = chosen.key if chosen.key in seen else score_breakdown.strongest_key(row)

    reference = weakref.ref(trace)  # Streamlit keeps what it calls, and what that refers to, longer than the page

    def take_query(position: int) -> None:  # a key that was chosen stays where this query may look at it too
        found, allowed = reference(), False
        if found is not None and chosen.key >= 0:
            allowed = bool(score_breakdown.row(found, chosen.layer, chosen.head, position)["allowed"][chosen.key])
        state.select(query=position, key=chosen.key if allowed else -1)

    with st.container(horizontal=True):
        head_pickers(trace.layers, chosen)
        token_picker("Query token", "query_field", range(trace.n), query, trace, take_query)
        token_picker("Key token", "key_field", seen, key, trace, lambda position: state.select(key=position))
    if 0 <= chosen.key != key:
        st.caption(
            f"Query token {query} “{plain(trace.tokens.labels[query])}” cannot look at key token {chosen.key} "
            f"“{plain(trace.tokens.labels[chosen.key])}”: shown with its strongest other key."
        )
    return query, key, row


def token_picker(
    title: str, field: str, positions: Sequence[int], present: int, trace: Trace, on_pick: Callable[[int], None]
) -> None:
    """Draw a field to choose one of the prompt's tokens by position and text.

    Args:
        title: the field's label.
        field: its key in the session.
        positions: the tokens to choose from.
        present: the token that is chosen.
        trace: the trace on screen.
        on_pick: called with the position that was chosen.
    """
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
    """Name a token by its position and text, to stand in tables and beside bars: 4 ␣we.

    Args:
        trace: the trace on screen.
        position: the token's position.

    Returns:
        The name.
    """
    return f"{position} {trace.tokens.labels[position]}"


def quoted(trace: Trace, position: int) -> str:
    """Name a token in a sentence, as Markdown: 4 “␣we”.

    Args:
        trace: the trace on screen.
        position: the token's position.

    Returns:
        The name, its token's text as literal characters.
    """
    return f"{position} “{plain(trace.tokens.labels[position])}”"


def number(value: float) -> str:
    """Write a number with five significant digits and a real minus sign.

    Args:
        value: any number.

    Returns:
        The text.
    """
    return f"{value:.5g}".replace("-", "−")


def terms(*names: str) -> None:
    """Draw words that a page uses, each with what it means on pointing at it (or reaching it with the Tab key).

    Args:
        names: words of the glossary.
    """
    with st.container(horizontal=True, gap="medium"):
        for name in names:
            st.markdown(f"**{name}**", help=TERMS[name], width="content")


def kind_of(chosen: state.Selection) -> Kind:
    """Return which numbers the selection shows.

    Args:
        chosen: the selection.

    Returns:
        What `maps.picture` draws.
    """
    kinds: dict[str, Kind] = {"scaled_scores": "scaled_scores", "weighted_values": "weighted_values"}
    return kinds.get(chosen.show, "weights")


def sharing(layer: LayerInfo, head: int) -> str:
    """Say which query heads share this head's keys and values.

    Args:
        layer: the head's layer.
        head: the query head, from 0.

    Returns:
        A sentence.
    """
    share = layer.heads // layer.kv_heads
    group = layer.kv_head(head)
    if share == 1:
        return f"Query head {head} has a key/value head of its own."
    others = [other for other in range(group * share, (group + 1) * share) if other != head]
    noun = "head" if len(others) == 1 else "heads"
    return (
        f"Query head {head} shares key/value head {group} with query {noun} {ordered(others)}: "
        f"{share} query heads use the same keys and values."
    )


def choice(label: str, name: str, options: dict[str, str], present: str) -> None:
    """Draw a row of buttons bound to one field of the selection.

    Args:
        label: stands above the buttons.
        name: the selection's field.
        options: what may be chosen, and what each button says.
        present: what is chosen.
    """
    key = f"{name}_field"
    st.session_state[key] = present

    def take() -> None:
        state.select(**{name: st.session_state[key]})

    st.segmented_control(label, list(options), format_func=options.__getitem__, key=key, on_change=take, required=True)

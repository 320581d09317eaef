"""Draw what all pages of Learn share: the heading, the line about the prompt, proofs, two questions, the way back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from inspector.analysis import score_breakdown
from inspector.learn.middle_word import content_word
from inspector.learn.questions import Question, questions_of
from inspector.ui import state
from inspector.ui.markdown import count, plain, short
from inspector.ui.progress import Current, current
from inspector.ui.screens import common
from inspector.ui.screens.labs.table import BY_NAME, HOME, WALKTHROUGH, Page

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

    from inspector.trace.trace import Trace
    from inspector.verification.compare import Check

_SCREENS = Path(__file__).resolve().parents[1]
_STYLE = Path(__file__).with_name("learn.css")
PROMPT_SHOWN = 60  # characters


def begin(name: str, lede: str) -> tuple[Current, state.Selection] | None:
    """Begin a laboratory: what it asks, and how to read it.

    Args:
        name: the page's name in the table.
        lede: a sentence or two, as Markdown.

    Returns:
        The prompt on screen and what is selected, its query token a word in the middle where none is chosen; None, with
        the reason on screen, if there is no prompt yet.
    """
    style()
    link(HOME, "Learn", icon=":material/arrow_back:")
    st.title(BY_NAME[name].title, anchor=False)
    st.markdown(lede)
    shown = current()
    return None if shown is None else (shown, with_query(shown, common.selection(shown)))


def with_query(shown: Current, chosen: state.Selection) -> state.Selection:
    """Return the selection with a query token: where none is chosen, a word in the middle.

    Args:
        shown: the prompt on screen.
        chosen: the selection.

    Returns:
        The selection; what is remembered stays as it was.
    """
    return chosen if chosen.query >= 0 else replace(chosen, query=content_word(shown.trace.tokens))


def with_pair(shown: Current, chosen: state.Selection) -> state.Selection:
    """Return the selection with a query and a key token: where none is chosen, the query's strongest other key.

    Args:
        shown: the prompt on screen.
        chosen: the selection.

    Returns:
        The selection. The first token and the query itself are passed over where there is another key.
    """
    chosen = with_query(shown, chosen)
    if chosen.key >= 0:
        return chosen
    row = score_breakdown.row(shown.trace, chosen.layer, chosen.head, chosen.query)
    others = row[row["allowed"] & (row["position"] > 0) & (row["position"] != chosen.query)]
    if not len(others):
        return chosen
    return replace(chosen, key=int(others.loc[others["scaled score"].idxmax(), "position"]))


def choices(shown: Current, words: str) -> DeltaGenerator:
    """Draw the line about the prompt, and a button that opens what can be chosen.

    Args:
        shown: the prompt on screen.
        words: what is chosen now; stands on the button.

    Returns:
        Where the fields are to be drawn.
    """
    with st.container(horizontal=True, vertical_alignment="center", key="choices"):
        opened: DeltaGenerator = st.popover(words, icon=":material/tune:")
        about(shown)
    return opened


def head_and_query(shown: Current, chosen: state.Selection, *, query: bool = True) -> None:
    """Draw the line about the prompt with fields for layer, head and query token.

    Args:
        shown: the prompt on screen.
        chosen: the selection, with a query token.
        query: whether the page is about one query token.
    """
    trace = shown.trace
    words = f"Layer {chosen.layer}, head {chosen.head}"
    words += f" · query “{plain(word(trace, chosen.query))}”" if query else ""
    with choices(shown, words):
        common.head_pickers(trace.layers, chosen)
        if query:
            common.token_picker(
                "Query token", "query_field", range(trace.n), chosen.query, trace,
                lambda at: state.select(query=at, key=-1),
            )  # fmt: skip


def word(trace: Trace, position: int) -> str:
    """Return a token's text for a sentence: without the space before it.

    Args:
        trace: the trace on screen.
        position: the token's position.

    Returns:
        The text; the label where nothing else is left.
    """
    label = trace.tokens.labels[position]
    return label.removeprefix("␣") or label


def style() -> None:
    """Bring in the style of Learn's pages."""
    st.html(_STYLE)


def about(shown: Current) -> None:
    """Say in one line which prompt and model the page is about.

    Args:
        shown: the prompt on screen.
    """
    said = [f"“{plain(short(shown.request.prompt, PROMPT_SHOWN))}”"] if shown.request.prompt.strip() else []
    said += [count(shown.trace.n, "token"), plain(shown.request.model)]
    st.caption(" · ".join(said))


def link(page: Page, label: str, *, icon: str | None = None) -> None:
    """Draw a link to a page of Learn; Streamlit refuses one that the app does not have.

    Args:
        page: the page.
        label: the link's text.
        icon: an icon before it.
    """
    st.page_link(_SCREENS / page.file, label=label, icon=icon)


@contextmanager
def proof(words: str, *checks: Check) -> Iterator[None]:
    """Put what is drawn within it behind a check mark.

    Args:
        words: what was checked, in a few words.
        checks: the comparisons; one that fails turns the mark red and opens it.

    Yields:
        Nothing; draw the proof within.
    """
    ok = all(check.ok for check in checks)
    icon = ":material/check_circle:" if ok else ":material/error:"
    with st.expander(words if ok else f"Not equal: {words}", icon=icon, expanded=not ok):
        yield


def small(value: float, tolerance: float) -> str:
    """Write a number that should be zero: what is not above the tolerance is rounding.

    Args:
        value: the number.
        tolerance: up to where it is rounding.

    Returns:
        "0", "0 (rounding)" or the number.
    """
    if value == 0:
        return "0"
    return "0 (rounding)" if abs(value) <= tolerance else common.number(value)


def end(name: str) -> None:
    """End a laboratory: two questions whose answer shows once an option is chosen, and the way back.

    Args:
        name: the page's name in the table.
    """
    with st.container(border=True, key="questions"):
        st.header("Two questions", anchor=False)
        for number, (place, question) in enumerate(zip(st.columns(2, gap="large"), questions_of(name), strict=True)):
            with place:
                _ask(question, f"question_{name}_{number}")
        st.caption("Your answers are not stored: the page asks anew when you come back to it.")
    with st.container(horizontal=True, gap="medium"):
        link(HOME, "More questions", icon=":material/school:")
        link(WALKTHROUGH, "To the Walkthrough", icon=f":material/{WALKTHROUGH.icon}:")


@st.fragment  # an answer changes nothing else on the page
def _ask(question: Question, key: str) -> None:
    """Draw a question, and once an option is chosen whether it is right, and why."""
    chosen = st.radio(question.asks, question.options, index=None, key=key)
    if chosen is None:
        return
    if chosen == question.options[question.right]:
        st.success(f"Right. {question.why}", icon=":material/check_circle:")
    else:
        st.warning(f"Not quite. {question.why}", icon=":material/lightbulb:")

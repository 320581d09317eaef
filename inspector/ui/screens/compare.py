"""Put the prompt on screen beside another one: which heads look elsewhere, and where: the screen Compare."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import streamlit as st

from inspector.analysis.maps import EXACT_UP_TO
from inspector.ui import state
from inspector.ui.examples import EXAMPLES
from inspector.ui.markdown import plain, short
from inspector.ui.progress import Current, attempt
from inspector.ui.screens import change, common
from inspector.ui.server import changes, traces

if TYPE_CHECKING:
    from inspector import Trace
    from inspector.lab import ComparisonReport
    from inspector.text import Progress

FIELD = "other_prompt_field"


def show() -> None:
    """Draw the screen for the prompt on screen."""
    page = common.begin_page(
        "Two prompts in one model, aligned by the tokens that both have. A head's distance is the Jensen-Shannon "
        "divergence of its two patterns over these tokens and one bin for all others: 0 bits where it looks the same "
        "way, 1 where nothing is shared.",
        title="Compare",
    )
    if page is None:
        return
    shown, chosen = page
    if common.lacks_model(shown, "A second prompt"):
        return
    other = _other_prompt(shown)
    with st.container(horizontal=True):
        common.head_pickers(shown.trace.layers, chosen)
    if not other.strip():
        st.info("Type another prompt above: it runs through the same model.", icon=":material/info:")
        return
    asked = replace(shown.request, prompt=other, generate=0)

    def make(report: Progress) -> tuple[ComparisonReport, Trace]:
        return changes.compared_prompts(shown.request, asked, report), traces.trace(asked, report)

    found = attempt(make)
    if found is None:
        return
    report, second = found
    st.markdown(plain(report.summary()))
    _tokens(shown.trace, second, report)
    st.markdown(f"## Layer {chosen.layer}, head {chosen.head}: where it looks")
    change.heads_that_changed(report.table, "Heads that look elsewhere most, in bits")
    longest = max(shown.trace.n, second.n)
    if longest > EXACT_UP_TO:
        st.caption(f"Maps are drawn for texts of up to {EXACT_UP_TO} tokens; one of these has {longest:,}.")
        return
    note = f"The other prompt: “{short(other, 200)}”"
    change.three_maps(shown.trace, second, chosen, ("this prompt", "the other"), notes=("", note), pairs=report.aligned)
    if len(report.aligned) < longest:
        st.caption("The difference has the tokens that have a partner in the other prompt.")


def _other_prompt(shown: Current) -> str:
    """Draw the field for the other prompt; return what stands in it."""
    other = state.other_prompt()
    if other is None:
        other = next((each.beside for each in EXAMPLES if each.prompt == shown.request.prompt), "")
    st.session_state[FIELD] = other

    def take() -> None:
        state.take_other_prompt(st.session_state[FIELD])

    st.text_area("The other prompt", key=FIELD, on_change=take, height=68)
    return other


def _tokens(first: Trace, second: Trace, report: ComparisonReport) -> None:
    """Write the two prompts' tokens, those without a partner in the other in bold; of long prompts only how many."""
    if max(first.n, second.n) > EXACT_UP_TO:
        st.caption(f"{len(report.aligned):,} tokens have a partner in the other prompt.")
        return
    for title, trace, side in (("This prompt", first, 0), ("The other", second, 1)):
        both = {pair[side] for pair in report.aligned}
        words = [plain(label) if at in both else f"**{plain(label)}**" for at, label in enumerate(trace.tokens.labels)]
        st.markdown(f"{title}: {' · '.join(words)}")
    st.caption("Bold: a token without a partner in the other prompt.")


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()

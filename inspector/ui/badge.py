"""Say on the bar whether the numbers on screen are verified, and verify short prompts while nobody waits.

Nothing is called verified before a comparison with the library has said so. In the background every stage of every
layer is compared, for prompts and models for which that takes a moment; the run inside the library's model and planted
mistakes follow on the page Verify, on a click.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from inspector.ui import state
from inspector.ui.markdown import count, plain
from inspector.ui.pages import file_of
from inspector.ui.progress import shown_now
from inspector.ui.server import results

if TYPE_CHECKING:
    from inspector import VerificationReport

_STAGES_ALONE = (
    "Only the stages were compared; on the page Verify mistakes are planted, and the layers swapped into the model."
)
LOOKED_SECONDS = 1.5  # between two looks whether the background is done


def show(edition: int) -> None:
    """Draw the badge.

    Args:
        edition: part of its key; another one closes it.
    """
    uploaded = state.uploaded()
    if uploaded is not None:
        _popover(
            "From a file", ":material/description:", edition, "Numbers from a file, and no model to compare them with."
        )
        return
    request = shown_request()
    report = results.finished_report(request) or results.compared(request)
    if report is None and results.compares_in_background(request):
        _pending(request, edition)
    else:
        _draw(report, edition)


def shown_request() -> state.Request:
    """Return the request whose numbers are on screen: an earlier one where the present one failed."""
    shown = shown_now() if state.problem() is not None else None
    return state.request() if shown is None else shown.request


@st.fragment(run_every=LOOKED_SECONDS)
def _pending(request: state.Request, edition: int) -> None:
    """Draw the badge of a comparison that goes on; once it is there, the page says so."""
    if results.compare_in_background(request) is not None or not results.compares_in_background(request):
        st.rerun()  # it is there, or it will not come
    _popover(
        "Verifying", ":material/pending:", edition, "Every stage of every layer is being compared with the library."
    )


def _draw(report: VerificationReport | None, edition: int) -> None:
    """Draw the badge of a report, or of none yet."""
    if report is None:
        text = "Compare every stage of every layer with the library's own numbers for this prompt on the page Verify."
        _popover("Not verified", ":material/help:", edition, text)
        return
    differing = report.differing
    if not report.ok:
        _popover("Differs", ":material/error:", edition, plain(report.summary()))
        return
    words = "Verified, 0 differ" if not differing else f"Verified, {differing:,} differ by rounding"
    checked = "" if report.control_results else f" {_STAGES_ALONE}"
    numbers = f"{count(report.elements, 'number')} compared, {differing:,} differ. "
    _popover(words, ":material/verified:", edition, numbers + plain(report.summary()) + checked)


def _popover(label: str, icon: str, edition: int, text: str) -> None:
    """Draw the badge with its explanation."""
    with st.popover(label, key=f"bar_badge_{edition}", icon=icon):
        st.markdown(text)
        st.page_link(file_of("Verify"), label="Open the report on the page Verify")

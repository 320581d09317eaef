"""Say in one line whether a check holds, by how much, and what is allowed and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from inspector.ui.markdown import plain

if TYPE_CHECKING:
    from inspector.verification.compare import Check


def show_verdict(check: Check, what: str, *, control: bool = False) -> None:
    """Write one line about a check.

    Args:
        check: the comparison.
        what: what was compared with what, in Markdown.
        control: whether this one must not hold.
    """
    if control:
        mark, words = ("✗", "differs, as it must") if not check.ok else ("✓", "does not differ: nothing to see yet")
        colour = "orange"
    else:
        equal = "equal, but for rounding" if check.differing else "equal to the last bit"
        mark, words = ("✓", equal) if check.ok else ("✗", "NOT equal")
        colour = "green" if check.ok else "red"
    st.markdown(
        f":{colour}[**{mark} {what}: {words}.**] Largest difference {check.max_abs:.3g}; {check.differing:,} of "
        f"{check.elements:,} numbers differ at all; tolerance {check.tolerance:.2g} ({plain(check.reason)})."
    )

"""Compute one context vector by loops, matrices, a batch and blocks: "Are all implementations equal?"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from inspector.learn import four_ways
from inspector.ui import state
from inspector.ui.components.verdict import show_verdict
from inspector.ui.markdown import count, plain
from inspector.ui.progress import Current, attempt
from inspector.ui.screens import common
from inspector.ui.screens.common import number, quoted
from inspector.ui.screens.labs import frame
from inspector.ui.server import results, traces

if TYPE_CHECKING:
    from inspector import Trace
    from inspector.learn.four_ways import Way
    from inspector.text import Progress

NAME = "four_ways"
NUMBERS_SHOWN = 5


def show() -> None:
    """Draw the screen for the prompt on screen."""
    page = frame.begin(
        NAME,
        "One token's context vector, computed in four ways from the same queries, keys and values. Green: equal but "
        "for rounding. Red: a mistake on purpose, to show that it would be seen.",
    )
    if page is None:
        return
    shown, chosen = page
    frame.head_and_query(shown, chosen)
    _four(shown, chosen)
    common.terms("context vector", "softmax", "mask", "attention weight")
    frame.end(NAME)


def _block(n: int) -> int:
    """Ask how many keys the blockwise way takes at once: fewer than there are."""
    if n <= 2:
        return 1
    key = "block_size"
    if not 1 <= st.session_state.get(key, 0) < n:  # first visit, or a shorter prompt now
        st.session_state[key] = max(1, min(256, n // 3))
    return int(st.slider("Keys in a block", 1, n - 1, key=key, width=260))


def _four(shown: Current, chosen: state.Selection) -> None:
    """Compute the vector in every way, and draw the comparison."""
    layer, head, query = chosen.layer, chosen.head, chosen.query
    picture = st.container()
    block = _block(shown.trace.n)

    def make(report: Progress) -> list[Way]:
        return traces.from_trace(
            shown.request,
            ("four ways", layer, head, query, block),
            lambda trace, _: four_ways.compute_four_ways(trace, layer, head, query, block=block),
            progress=report,
        )

    ways = attempt(make)
    if ways is None:
        return
    trace = shown.trace
    with picture:
        st.markdown(
            f"## The context vector of {quoted(trace, query)} by four ways and "
            f"{count(sum(way.control for way in ways), 'planted mistake')}"
        )
        _table(ways)
        _verdict(ways)
    with st.expander("What each way does"):
        for way in ways:
            st.markdown(f"- **{way.name}**: {plain(way.how)}.")
    with frame.proof("Differences, tolerance and the library's own output"):
        _numbers(ways)
        _limits(trace, layer, query)
        _library(shown, layer, query)


def _table(ways: list[Way]) -> None:
    """List the ways with their first numbers."""
    table = pd.DataFrame([_row(way) for way in ways])
    styled = table.style.apply(_colours, axis=1, ways=ways)
    numbers = {name: st.column_config.NumberColumn(format="%.6f") for name in table.columns if name.startswith("[")}
    config = {"way": st.column_config.TextColumn(pinned=True), **numbers}
    st.dataframe(styled, hide_index=True, column_config=config)


def _row(way: Way) -> dict[str, object]:
    """Return one way's row of the table."""
    if way.check is None or way.context is None:
        return {"way": way.name, "result": "not possible here"}
    result = "✗ not equal" if not way.check.ok else "not told apart" if way.control else "✓ equal"
    difference = frame.small(way.check.max_abs, way.check.tolerance)
    return {"way": way.name, "result": result, "difference": difference} | {
        f"[{d}]": float(each) for d, each in enumerate(way.context[:NUMBERS_SHOWN])
    }


def _numbers(ways: list[Way]) -> None:
    """List the exact differences, and say what is allowed and why."""
    table = pd.DataFrame(
        [
            {
                "way": way.name,
                "largest difference": way.check.max_abs,
                "differing": way.check.differing,
                "of": way.check.elements,
                "tolerance": way.check.tolerance,
            }
            for way in ways
            if way.check is not None
        ]
    )
    small = st.column_config.NumberColumn(format="%.3g", help="From the trace's own context vector.")
    config = {
        "largest difference": small,
        "differing": st.column_config.NumberColumn(help="Numbers of the vector that differ at all, in its dtype."),
        "tolerance": st.column_config.NumberColumn(format="%.3g"),
    }
    st.dataframe(table, hide_index=True, column_config=config)
    check = next(way.check for way in ways if way.check is not None)
    st.caption(
        f"The tolerance, {number(check.tolerance)}: {check.reason}. The loops count in float64, the rest in the "
        "model's dtype, and blocks add up in another order: rounding differs, nothing else. A difference of exactly 0 "
        "means the same operations in the same order."
    )


def _colours(row: pd.Series, ways: list[Way]) -> list[str]:
    """Return a row's background: green where equal, red where not, amber for a mistake that changes nothing here."""
    way = ways[row.name]
    equal = "rgba(210, 153, 34, 0.20)" if way.control else "rgba(46, 160, 67, 0.16)"
    shade = "" if way.check is None else equal if way.check.ok else "rgba(218, 54, 51, 0.20)"
    return [f"background-color: {shade}" if shade else ""] * len(row)


def _verdict(ways: list[Way]) -> None:
    """Say in a sentence whether the ways agree and the mistakes were seen."""
    real = [way for way in ways if not way.control and way.check is not None]
    controls = [way for way in ways if way.control]
    wrong = [way.name for way in real if way.check is not None and not way.check.ok]
    missed = [way.name for way in controls if way.check is not None and way.check.ok]
    if wrong:
        st.error(f"Not within the tolerance: {', '.join(wrong)}.", icon=":material/error:")
    elif missed:
        st.warning(
            f"Not told apart here: {', '.join(missed)}. The values may be alike, or the weights on one key alone: "
            "choose another query token or head.",
            icon=":material/warning:",
        )
    elif controls:
        st.success(
            f"{len(real)} ways, one vector; {count(len(controls), 'planted mistake')} caught.",
            icon=":material/check_circle:",
        )
    else:
        st.info("One token alone: there is no other order and no mask to forget, so no control applies.")
    if controls and not any(way.name == four_ways.FORGOTTEN for way in controls):
        st.caption(
            "A forgotten mask cannot show here, since this query token may look at every key: choose an earlier one "
            "to see that control too."
        )
    for way in ways:
        if way.refused:
            st.info(f"{way.name}: {plain(way.refused)}", icon=":material/info:")


def _limits(trace: Trace, layer: int, query: int) -> None:
    """Say which rows the matrices have, where not all."""
    rows = four_ways.strip(trace, layer, query)
    if (rows.start, rows.stop) != (0, trace.n):
        st.caption(
            f"Of {count(trace.n, 'query token')}, the matrices have rows {rows.start} to {rows.stop - 1} here: all "
            "rows of all heads would not fit the memory set aside for them."
        )


def _library(shown: Current, layer: int, query: int) -> None:
    """Compare the attention output with the library's own."""
    st.markdown("**And the library?** All heads' context vectors of this token, times W_o, give the attention output.")
    found = attempt(lambda report: results.output(shown.request, layer, query, report), may_lack=True)
    if found is None:
        return
    if found.why_not:
        st.info(plain(found.why_not), icon=":material/info:")
    else:
        show_verdict(found.check, "Their sum against the library's own attention output")


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()

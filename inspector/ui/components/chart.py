"""Show a chart, and behind "Table" the numbers that it draws: for the keyboard, and for those who cannot see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import streamlit as st

from inspector.ui import shown_pictures

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd
    from streamlit.delta_generator import DeltaGenerator

TABLE = "Table"


def show_chart(
    chart: alt.Chart | alt.LayerChart | alt.FacetChart | dict[str, Any],
    frame: pd.DataFrame,
    *,
    title: str,
    key: str,
    width: Literal["stretch", "content"] = "stretch",
    place: DeltaGenerator | None = None,
) -> None:
    """Show a chart with its table.

    Args:
        chart: what is drawn; as Vega-Lite's own words where altair, which checks them each time, takes too long.
        frame: the numbers that it draws.
        title: what it shows, for screen readers and for Export.
        key: names the chart.
        width: as wide as its place, or as it needs.
        place: where it is shown; None: here.
    """
    with place or st.container():
        if isinstance(chart, dict):
            st.vega_lite_chart(frame, chart | {"description": title}, width=width, key=key)
        else:
            st.altair_chart(chart.properties(description=title), width=width, key=key)
        show_table(frame, title=title, key=key)


def show_table(frame: pd.DataFrame, *, title: str, key: str, label: str = TABLE) -> None:
    """Show numbers in a table that is folded away, and have Export offer them.

    Args:
        frame: the numbers.
        title: what they are, for Export.
        key: names them on the page.
        label: what opens the table.
    """
    shown_pictures.keep(key, shown_pictures.Chart(title, frame))
    with st.expander(label):
        st.dataframe(frame, hide_index=True, height=min(320, 37 + 35 * len(frame)), key=f"{key}_table")

"""Show what every head does over a corpus, of an atlas that this server was started with: the page Atlas."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st

from inspector.ui import state
from inspector.ui.components.chart import show_chart
from inspector.ui.components.heatmap import matrix_map
from inspector.ui.markdown import plain
from inspector.ui.progress import attempt
from inspector.ui.screens import atlas_card, common
from inspector.ui.server import atlases
from inspector.ui.server.settings import atlas_folders
from inspector.views import csv_files

if TYPE_CHECKING:
    from inspector.atlas import Atlas

MAKE = "attention-inspector atlas smollm2-135m-instruct --out atlas\nattention-inspector app --atlas atlas"
_BY_LAYER = ["#3f86d0", "#8a6fc0", "#c8457a", "#d9691e"]  # from the first layer to the last; seen on white and on black


def show() -> None:
    """Draw the page."""
    common.heading("Atlas", "What every head does over a corpus")
    st.caption(
        "Means over the query tokens of many texts, where a single prompt is an anecdote. Choose a head in the grid: "
        "its card has what it looks at, and examples."
    )
    names = list(atlas_folders())
    if not names:
        st.info("This server was started without an atlas. This makes one, and then shows it:", icon=":material/info:")
        st.code(MAKE, language=None)
        return
    chosen = state.selected()
    said = chosen.get("atlas")
    name = said if isinstance(said, str) and said in names else names[0]
    found = attempt(lambda _: atlases.opened(name))
    if found is None:
        return
    by, beside = (_statistic(found, chosen, field) for field in ("by", "beside"))
    layer, head = _head(found, chosen, by)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if len(names) > 1:
            _field("Atlas", "atlas", {each: each for each in names}, name)
        titles = {each: state.STATISTICS[each] for each in state.STATISTICS if _known(found, each)}
        _field("Colour by", "by", titles, by)
        _field("Scatter against", "beside", titles, beside)
        _pickers(found, layer, head)
    _what_it_is(found)
    grid, scatter = st.columns(2, gap="large")
    with grid:
        _grid(found, by, layer, head)
    with scatter:
        _scatter(found, by, beside, layer, head)
    _files(found)
    atlas_card.show(found, layer, head)


def _known(found: Atlas, name: str) -> bool:
    """Return whether an atlas has a statistic of any head."""
    return name in found.heads and bool(found.heads[name].notna().any())


def _statistic(found: Atlas, chosen: dict[str, object], field: str) -> str:
    """Return the chosen statistic, or the usual one where this atlas does not have it."""
    usual = {"by": "first", "beside": "entropy"}[field]
    said = chosen.get(field)
    return said if isinstance(said, str) and said in state.STATISTICS and _known(found, said) else usual


def _head(found: Atlas, chosen: dict[str, object], by: str) -> tuple[int, int]:
    """Return the chosen layer and head, or the head of the largest number where this atlas does not have it."""
    heads = found.heads
    same = (heads["layer"] == chosen.get("layer", -1)) & (heads["head"] == chosen.get("head", -1))
    row = heads[same].iloc[0] if same.any() else heads.loc[heads[by].fillna(-np.inf).idxmax()]
    return int(row["layer"]), int(row["head"])


def _field(label: str, name: str, options: dict[str, str], present: str) -> None:
    """Draw a field bound to one field of the selection."""
    key = f"atlas_{name}_field"
    st.session_state[key] = present

    def take() -> None:
        state.select(**{name: st.session_state[key]})

    st.selectbox(label, list(options), format_func=options.__getitem__, key=key, on_change=take, width=260)


def _pickers(found: Atlas, layer: int, head: int) -> None:
    """Draw number fields for layer and head."""
    st.session_state["atlas_layer"], st.session_state["atlas_head"] = layer, head

    def take() -> None:
        atlas_card.choose(st.session_state["atlas_layer"], st.session_state["atlas_head"])

    layers = found.heads["layer"]
    st.number_input("Layer", 0, int(layers.max()), key="atlas_layer", on_change=take, width=130)
    most = int(found.heads["head"][layers == layer].max())
    st.number_input("Head", 0, most, key="atlas_head", on_change=take, width=130)


def _what_it_is(found: Atlas) -> None:
    """Say of what the atlas is, and how it was checked."""
    summary = plain(atlases.without_places(found).summary())
    if found.ok:
        st.caption(summary)
    else:
        st.error(summary, icon=":material/error:")


def _grid(found: Atlas, by: str, layer: int, head: int) -> None:
    """Draw a statistic of all heads, a row for each layer."""
    heads = found.heads
    values = np.full((int(heads["layer"].max()) + 1, int(heads["head"].max()) + 1), np.nan, dtype=np.float32)
    values[heads["layer"], heads["head"]] = heads[by]
    st.markdown(f"**{plain(state.STATISTICS[by])}**, a row for each layer, a column for each head")
    matrix_map(
        values,
        name=state.STATISTICS[by],
        row_name="layer",
        column_name="head",
        scale="linear",
        limit=float(np.nanmax(values)) or 1.0,
        legend=state.STATISTICS[by],
        max_height=420,
        selected=(layer, head),
        on_pick=atlas_card.choose,
        key="atlas_grid",
    )


def _scatter(found: Atlas, by: str, beside: str, layer: int, head: int) -> None:
    """Draw two statistics against each other, a point for each head."""
    titles = [state.STATISTICS[name] for name in (by, beside)]
    if by == beside:
        st.info("Choose two different statistics to see them against each other.", icon=":material/info:")
        return
    frame = found.heads[["layer", "head", by, beside]].copy()
    frame["chosen"] = (frame["layer"] == layer) & (frame["head"] == head)
    st.markdown(f"**{plain(titles[0])}** against **{plain(titles[1].lower())}**, a point for each head")
    points = alt.Chart(frame).encode(
        x=alt.X(by, type="quantitative", title=titles[0]),
        y=alt.Y(beside, type="quantitative", title=titles[1]),
        tooltip=["layer", "head", alt.Tooltip(by, format=".4f"), alt.Tooltip(beside, format=".4f")],
    )
    last = int(frame["layer"].max())
    steps = sorted({round(last * part / 4) for part in range(5)})
    legend = alt.Legend(type="symbol", values=steps, format="d")  # a bar of colours is not drawn by every version
    chart = points.mark_circle(size=45, opacity=0.75).encode(
        color=alt.Color("layer", type="quantitative", scale=alt.Scale(range=_BY_LAYER), legend=legend)
    ) + points.mark_point(size=220, strokeWidth=2.5, color="#d5540f").transform_filter("datum.chosen")
    title = f"{titles[0]} against {titles[1].lower()}, a point for each head"
    show_chart(chart.properties(height=380), frame.drop(columns="chosen"), title=title, key="atlas_scatter")


def _files(found: Atlas) -> None:
    """Draw the buttons that save the tables of all heads."""
    heads, manifest = found.heads, atlases.without_places(found).manifest
    with st.container(horizontal=True):
        atlas_card.save("All heads (CSV)", "atlas-heads.csv", csv_files.exact(heads))
        atlas_card.save("All heads (JSON)", "atlas-heads.json", json_of(heads, model=manifest["model"]))
        atlas_card.save("What it is of (JSON)", "atlas-manifest.json", json.dumps(manifest, indent=1).encode())
    with st.expander("Table: all heads"):
        st.dataframe(heads, hide_index=True, height=320, key="atlas_heads_table")


def json_of(frame: pd.DataFrame, **said: object) -> bytes:
    """Return a table as JSON with what it is of.

    Args:
        frame: the table.
        said: what it is of, by name.
    """
    rows = json.loads(frame.to_json(orient="records", double_precision=15))
    return json.dumps({"schema": 1, "kind": "atlas table", **said, "rows": rows}, indent=1).encode()


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()

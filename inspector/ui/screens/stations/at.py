"""Where a walk stands: prompt, layer, head, query token and key token. Every station of the Walkthrough is given it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import streamlit as st

from inspector.analysis import score_breakdown
from inspector.ui.progress import Current, attempt
from inspector.ui.screens.common import label
from inspector.ui.server import results

if TYPE_CHECKING:
    import pandas as pd

    from inspector.capture.records import LayerInfo
    from inspector.learn.token_vectors import StreamNumbers
    from inspector.trace.trace import Trace


@dataclass(frozen=True)
class At:
    """query, key: positions of the query token and the key token; `row` is that query's (score_breakdown.row)."""

    shown: Current
    layer: int
    head: int
    query: int
    key: int
    row: pd.DataFrame

    @property
    def trace(self) -> Trace:
        return self.shown.trace

    @property
    def info(self) -> LayerInfo:
        return self.trace.layers[self.layer]

    @property
    def query_label(self) -> str:
        return label(self.trace, self.query)

    @property
    def key_label(self) -> str:
        return label(self.trace, self.key)

    def residual_stream(self) -> StreamNumbers | None:
        """The query token's vectors around this layer; None, with the reason on screen, where there are none."""
        return attempt(
            lambda report: results.residual_stream(self.shown.request, self.layer, self.query, report), may_lack=True
        )

    @cached_property
    def steps(self) -> score_breakdown.PairSteps:
        """From the two vectors to the weight."""
        return score_breakdown.pair_steps(self.trace, self.layer, self.head, self.query, self.key)


def formula(latex: str, *shapes: tuple[str, str]) -> None:
    """What is computed, and the shape of everything in it."""
    with st.container(border=True):
        st.latex(latex)
        st.caption(" · ".join(f"{name} {shape}" for name, shape in shapes), text_alignment="center")

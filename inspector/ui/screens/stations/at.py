"""Say where the Walkthrough stands: prompt, layer, head, query token and key token. Every station takes it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import streamlit as st

from inspector.analysis import score_breakdown
from inspector.ui.progress import Current, attempt
from inspector.ui.screens import common
from inspector.ui.screens.common import label
from inspector.ui.server import results

if TYPE_CHECKING:
    import pandas as pd
    from streamlit.delta_generator import DeltaGenerator

    from inspector.capture.records import LayerInfo
    from inspector.learn.token_vectors import StreamNumbers
    from inspector.trace.trace import Trace


@dataclass(frozen=True)
class At:
    """Where the Walkthrough stands.

    Attributes:
        shown: the prompt on screen.
        layer: counts attention layers from 0.
        head: the query head, from 0.
        query: the query token's position.
        key: the key token's position.
        row: the query's row (score_breakdown.row).
        beside: where the formula goes, beside the picture.
        words: where sentences and terms go, below the formula.
    """

    shown: Current
    layer: int
    head: int
    query: int
    key: int
    row: pd.DataFrame
    beside: DeltaGenerator
    words: DeltaGenerator

    @property
    def trace(self) -> Trace:
        """The trace on screen."""
        return self.shown.trace

    @property
    def info(self) -> LayerInfo:
        """The layer's facts."""
        return self.trace.layers[self.layer]

    @property
    def query_label(self) -> str:
        """The query token by position and text."""
        return label(self.trace, self.query)

    @property
    def key_label(self) -> str:
        """The key token by position and text."""
        return label(self.trace, self.key)

    def residual_stream(self) -> StreamNumbers | None:
        """Return the query token's vectors of the residual stream at this layer.

        Returns:
            The vectors; None, with the reason on screen, where they cannot be read.
        """
        return attempt(
            lambda report: results.residual_stream(self.shown.request, self.layer, self.query, report), may_lack=True
        )

    @cached_property
    def steps(self) -> score_breakdown.PairSteps:
        """The steps from the two vectors to the weight."""
        return score_breakdown.pair_steps(self.trace, self.layer, self.head, self.query, self.key)


def formula(at: At, latex: str, *shapes: tuple[str, str]) -> None:
    """Draw a formula beside the picture, and the shape of everything in it.

    Args:
        at: where the Walkthrough stands.
        latex: the formula.
        shapes: name and shape of each thing in it.
    """
    with at.beside.container(border=True):
        st.latex(latex)
        st.caption(" · ".join(f"{name} {shape}" for name, shape in shapes), text_alignment="center")


def terms(at: At, *names: str) -> None:
    """Draw words that the station uses, each with what it means.

    Args:
        at: where the Walkthrough stands.
        names: words of the glossary.
    """
    with at.words:
        common.terms(*names)

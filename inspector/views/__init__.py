"""Figures and tables of a trace, for notebooks and files: no Streamlit, no network.

In a notebook a view or a figure shows itself. matplotlib is imported when the first SVG, PDF or PNG is made.
"""

from inspector.views.bertviz import View, head_view, model_view, neuron_view
from inspector.views.explorer import explore, explore_page
from inspector.views.figure_forms import Figure
from inspector.views.figures import grid_figure, head_figure
from inspector.views.tables import HeadVectors, frame, vectors

__all__ = [
    "Figure",
    "HeadVectors",
    "View",
    "explore",
    "explore_page",
    "frame",
    "grid_figure",
    "head_figure",
    "head_view",
    "model_view",
    "neuron_view",
    "vectors",
]

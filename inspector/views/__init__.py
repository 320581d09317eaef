"""Pictures and tables of a trace to keep: no Streamlit, no network; in a notebook a view or figure shows itself."""

from inspector.views.bertviz import View, head_view, model_view, neuron_view
from inspector.views.figures import Figure, grid_figure, head_figure
from inspector.views.tables import HeadVectors, frame, vectors

__all__ = [
    "Figure",
    "HeadVectors",
    "View",
    "frame",
    "grid_figure",
    "head_figure",
    "head_view",
    "model_view",
    "neuron_view",
    "vectors",
]

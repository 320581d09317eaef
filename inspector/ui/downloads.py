"""Draw what Export offers of the head on screen; each file is made when it is asked for.

A file's maker runs on a thread without a visitor. Streamlit keeps it longer than the page: it refers to the
request, and asks for the trace when it runs.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from inspector import views
from inspector.ui import state, uploads
from inspector.ui.markdown import plain
from inspector.ui.server import pictures, results, traces
from inspector.views.figures import DRAWN_UP_TO, KINDS
from inspector.views.provenance import model_name
from inspector.views.tables import MOST_PAIRS

if TYPE_CHECKING:
    from inspector import Trace
    from inspector.analysis.maps import Kind
    from inspector.ui.progress import Current
    from inspector.ui.state import Request, Selection

MOST_TRACE_BYTES = 500 * 2**20  # a file lies in the server's memory while it is downloaded
_TYPES = {
    "svg": "image/svg+xml",
    "pdf": "application/pdf",
    "png": "image/png",
    "html": "text/html",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "safetensors": "application/octet-stream",
}


def panel(shown: Current) -> None:
    """Draw a button for each kind of file, of the head that is chosen now.

    Args:
        shown: the prompt on screen.
    """
    layers = shown.trace.layers
    _save(shown, state.selection(layers, shown.trace.n, lambda: (len(layers) // 2, 0)))


def file_name(trace: Trace, what: str, suffix: str, layer: int | None = None, head: int | None = None) -> str:
    """Return a file's name: smollm2-135m-instruct-layer3-head5-weights.svg.

    Args:
        trace: the trace that it is made from.
        what: what it shows.
        suffix: the format.
        layer: its layer, if it is of one head.
        head: its head, if it is of one.

    Returns:
        The name, of letters that every system takes.
    """
    model = re.sub(r"[^A-Za-z0-9._-]+", "-", model_name(trace)).strip("-.")[-60:] or "model"
    place = "" if layer is None else f"-layer{layer}-head{head}"
    return f"{model}{place}-{what}.{suffix}"


def _save(shown: Current, chosen: Selection) -> None:
    """Draw a button for each kind of file."""
    trace, request, layer, head = shown.trace, shown.request, chosen.layer, chosen.head
    kind: Kind = next((known for known in KINDS if known == chosen.show), "weights")
    without = chosen.sink == "without"
    report = results.finished_report(shown.request)
    said = report.summary() if report is not None else ""
    dark = st.toggle("Dark pictures", key="save_dark", value=st.context.theme.type == "dark")

    def figure() -> views.Figure:
        look: dict[str, Any] = {"kind": kind, "scale": chosen.scale, "dark": dark, "without_first": without}
        return views.head_figure(traces.trace(request), layer, head, **look, verification=said)

    def every_head() -> bytes:
        thumbnails = pictures.thumbnails(request)
        look: dict[str, Any] = {"scale": chosen.scale, "dark": dark, "selected": (layer, head)}
        made = views.grid_figure(traces.trace(request), **look, verification=said, pictures=thumbnails)
        return made.html.encode()

    def one(what: str, suffix: str, make: Callable[[], bytes], label: str) -> None:
        _button(file_name(trace, what, suffix, layer, head), make, label)

    what = kind.replace("_", "-")
    drawn = not trace.stored[layer].unexplained
    st.caption(f"**Layer {layer}, head {head}**")
    with st.container(horizontal=True):
        if drawn:
            one(what, "svg", lambda: figure().svg.encode(), "SVG")
            one(what, "pdf", lambda: figure().pdf, "PDF")
            one(what, "png", lambda: figure().png(), "PNG")
            one(what, "html", lambda: figure().html.encode(), "HTML page")
    with st.container(horizontal=True):
        if drawn:
            one("pairs", "csv", lambda: _pairs(traces.trace(request), layer, head, "csv"), "CSV")
            one("pairs", "parquet", lambda: _pairs(traces.trace(request), layer, head, "parquet"), "Parquet")
        one("vectors", "safetensors", lambda: _vectors(request, layer, head), "Vectors (safetensors)")
    st.caption("**All heads**")
    with st.container(horizontal=True):
        if not any(stored.unexplained for stored in trace.stored):
            _button(file_name(trace, "all-heads", "html"), every_head, "HTML page of all heads")
        if trace.nbytes <= MOST_TRACE_BYTES:
            size = f"{trace.nbytes / 2**20:,.1f} MB"
            _button(
                file_name(trace, "trace", "safetensors"),
                lambda: _whole(traces.trace(request)),
                f"Whole trace ({size})",
            )
    if not drawn:
        st.caption(f"No weights of this layer can be saved: {plain(trace.stored[layer].unexplained)}.")
    st.caption(" ".join(_limits(trace, words=chosen.unit == "words")))


def _limits(trace: Trace, *, words: bool) -> list[str]:
    """Return what a visitor should know before choosing."""
    said = ["An HTML page opens in any browser, without a network, and reads exact numbers like this one."]
    if words:
        said.append("Files contain single tokens, also while whole words are shown.")
    if trace.n > DRAWN_UP_TO:
        said.append(f"SVG, PDF and PNG are pooled to {DRAWN_UP_TO} × {DRAWN_UP_TO} cells at most.")
    if trace.n * (trace.n + 1) // 2 > MOST_PAIRS:
        said.append(
            f"This head has up to {trace.n * (trace.n + 1) // 2:,} pairs: CSV and Parquet contain whole query tokens "
            f"from the first on, {MOST_PAIRS:,} pairs at most; `inspector.views.frame` in Python gives all."
        )
    if trace.nbytes > MOST_TRACE_BYTES:
        said.append(
            f"The whole trace takes {trace.nbytes / 2**20:,.0f} MB, more than the {MOST_TRACE_BYTES // 2**20} MB "
            "served here; `attention-inspector capture` writes it to a file."
        )
    elif trace.nbytes > uploads.MOST_MB * 2**20:
        said.append(f"A trace of more than {uploads.MOST_MB} MB is opened in Python, not by this app.")
    return said


def _button(name: str, make: Callable[[], bytes], label: str) -> None:
    """Draw one download button."""
    suffix = name.rpartition(".")[2]
    st.download_button(
        label,
        data=make,
        file_name=name,
        mime=_TYPES[suffix],
        on_click="ignore",
        key=f"save {label.partition(' (')[0]}",
    )


def _pairs(trace: Trace, layer: int, head: int, suffix: str) -> bytes:
    """Write one head's weights as a table."""
    frame = views.frame(trace, layer, head, most_pairs=MOST_PAIRS)
    if suffix == "csv":
        text: str = frame.to_csv(index=False)
        return text.encode()
    written: bytes = frame.to_parquet(None, index=False)
    return written


def _vectors(request: Request, layer: int, head: int) -> bytes:
    """Write one head's vectors."""
    return views.vectors(traces.trace(request), layer, head).safetensors


def _whole(trace: Trace) -> bytes:
    """Write the whole trace."""
    with tempfile.TemporaryDirectory() as folder:
        return trace.save(Path(folder) / "trace.safetensors").read_bytes()

"""Draw what Export offers of the page on screen; each file is made when it is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import streamlit as st

from inspector import views
from inspector.ui import shown_pictures, state, uploads
from inspector.ui.components.printing import print_button
from inspector.ui.markdown import plain
from inspector.ui.savable import Savable, list_savable
from inspector.ui.server import results, traces
from inspector.views import csv_files
from inspector.views.figures import DRAWN_UP_TO
from inspector.views.provenance import model_name
from inspector.views.tables import MOST_PAIRS

if TYPE_CHECKING:
    from inspector import Trace
    from inspector.ui.progress import Current
    from inspector.ui.state import Request

_PICTURE = "export_picture"
_TYPES = {
    "svg": "image/svg+xml",
    "pdf": "application/pdf",
    "png": "image/png",
    "html": "text/html",
    "csv": "text/csv",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
    "safetensors": "application/octet-stream",
}


def panel(shown: Current, page: str) -> None:
    """Draw a field that chooses a picture of the page, and a button for each kind of file.

    Args:
        shown: the prompt on screen.
        page: the page's title.
    """
    layers = shown.trace.layers
    chosen = state.selection(layers, shown.trace.n, lambda: (len(layers) // 2, 0))
    report = results.finished_report(shown.request)
    found = list_savable(shown, chosen, page=page, verification=report.summary() if report is not None else "")
    drawn = not shown.trace.stored[chosen.layer].unexplained
    offer = None
    if found:
        titles = [offer.title for offer in found]
        if st.session_state.get(_PICTURE) not in titles:
            st.session_state[_PICTURE] = titles[0]
        picked = st.selectbox("Picture", titles, key=_PICTURE)
        offer = found[titles.index(picked)]
        _files(shown.trace, offer)
    if not drawn:
        st.caption(f"No weights of this layer can be saved: {plain(shown.trace.stored[chosen.layer].unexplained)}.")
    _data(shown, chosen.layer, chosen.head)
    print_button("Print this page, or save it as PDF", key="print")
    st.caption(" ".join(_limits(shown.trace, offer, words=chosen.unit == "words")))


def file_name(trace: Trace, what: str, suffix: str, head: tuple[int, int] | None = None) -> str:
    """Return a file's name: smollm2-135m-instruct-layer3-head5-weights.svg.

    Args:
        trace: the trace that it is made from.
        what: what it shows.
        suffix: the format.
        head: its layer and head, if it is of one.

    Returns:
        The name, of letters that every system takes.
    """
    model = re.sub(r"[^A-Za-z0-9._-]+", "-", model_name(trace)).strip("-.")[-60:] or "model"
    said = re.sub(r"[^A-Za-z0-9._-]+", "-", what).strip("-.") or "picture"
    place = "" if head is None else f"-layer{head[0]}-head{head[1]}"
    return f"{model}{place}-{said}.{suffix}"


def _files(trace: Trace, offer: Savable) -> None:
    """Draw a button for each form of a picture, and of its table."""

    def one(suffix: str, make: Callable[[], bytes], label: str, what: str = offer.what) -> None:
        _button(file_name(trace, what, suffix, offer.head), make, label)

    table = offer.table or offer.what
    make, page = offer.figure, offer.html
    dark = False
    if make or page:
        dark = st.toggle("Dark pictures", key="save_dark", value=st.context.theme.type == "dark")
    if make:
        with st.container(horizontal=True):
            one("svg", lambda: make(dark).svg.encode(), "SVG")
            one("pdf", lambda: make(dark).pdf, "PDF")
            one("png", lambda: make(dark).png(), "PNG")
            one("html", lambda: make(dark).html.encode(), "HTML page")
    elif page:
        one("html", lambda: page(dark).encode(), "HTML page")
    if frame := offer.frame:
        with st.container(horizontal=True):
            one("csv", lambda: csv_files.exact(frame()), "CSV", table)
            one("csv", lambda: csv_files.for_spreadsheets(frame()), "CSV for spreadsheets", f"{table}-for-spreadsheets")
            if offer.parquet:
                one("parquet", lambda: frame().to_parquet(None, index=False), "Parquet", table)
        st.caption(
            "CSV has every text as it is. The one for spreadsheets puts an apostrophe before texts that a spreadsheet "
            "would take for a formula, such as a token “=”; numbers are the same in both."
        )


def _data(shown: Current, layer: int, head: int) -> None:
    """Draw buttons for what is no picture: vectors, the trace, the verification report."""
    trace, request = shown.trace, shown.request
    st.caption("**Data**")
    with st.container(horizontal=True):
        vectors = file_name(trace, "vectors", "safetensors", (layer, head))
        _button(vectors, lambda: _vectors(request, layer, head), "Vectors (safetensors)")
        if trace.nbytes <= traces.MOST_FILE_BYTES:
            size = f"{trace.nbytes / 2**20:,.1f} MB"
            whole = file_name(trace, "trace", "safetensors")
            _button(whole, lambda: traces.file_of(traces.trace(request)), f"Whole trace ({size})")
        report = results.finished_report(request)
        if report is not None:
            _button(file_name(trace, "verification", "json"), lambda: report.to_json().encode(), "Report (JSON)")
        for one in shown_pictures.documents():
            _button(file_name(trace, one.what, one.suffix), one.make, one.title)
    st.caption(f"Vectors are those of layer {layer}, head {head}.")


def _limits(trace: Trace, offer: Savable | None, *, words: bool) -> list[str]:
    """Return what a visitor should know before choosing a form of this picture."""
    said = []
    if offer is not None and (offer.figure or offer.html):
        said.append("An HTML page opens in any browser, without a network, and reads exact numbers like this one.")
    of_head = offer is not None and offer.head is not None
    if of_head and words:
        said.append("Files contain single tokens, also while whole words are shown.")
    if of_head and trace.n > DRAWN_UP_TO:
        said.append(f"A head's SVG, PDF and PNG are pooled to {DRAWN_UP_TO} × {DRAWN_UP_TO} cells at most.")
    if of_head and trace.n * (trace.n + 1) // 2 > MOST_PAIRS:
        said.append(
            f"This head has up to {trace.n * (trace.n + 1) // 2:,} pairs: CSV and Parquet contain whole query tokens "
            f"from the first on, {MOST_PAIRS:,} pairs at most; `inspector.views.frame` in Python gives all."
        )
    if trace.nbytes > traces.MOST_FILE_BYTES:
        said.append(
            f"The whole trace takes {trace.nbytes / 2**20:,.0f} MB, more than the {traces.MOST_FILE_BYTES // 2**20} MB "
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


def _vectors(request: Request, layer: int, head: int) -> bytes:
    """Write one head's vectors."""
    return views.vectors(traces.trace(request), layer, head).safetensors

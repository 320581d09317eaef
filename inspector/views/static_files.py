"""Write a matplotlib figure as SVG, PDF or PNG: the same bytes each time, and nothing of matplotlib's settings changed.

matplotlib's settings belong to the whole process. They are set for the moment of drawing and writing, by one thread of
ours at a time, and are as they were afterwards.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import matplotlib
import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.text import Text

from inspector.views import fonts, svg

_ONE_AT_A_TIME = threading.RLock()
_SETTINGS: Any = {  # by name
    "font.family": [fonts.FAMILIES[0]],
    "svg.fonttype": "none",  # text stays text, to be searched and edited
    "svg.hashsalt": "attention-inspector",  # else names in an SVG are random
    "pdf.fonttype": 42,  # TrueType, embedded: publishers refuse Type 3
    "text.parse_math": False,
    "text.usetex": False,
    "axes.unicode_minus": True,
}
CREATOR = "Attention Inspector"


@dataclass(frozen=True)
class Drawing:
    """A finished figure; `readings` say each cell's number in an SVG (see svg.py)."""

    figure: Figure
    title: str
    description: str
    readings: list[svg.Reading] = field(default_factory=list)


@contextmanager
def settings() -> Iterator[None]:
    """Draw and write under matplotlib's own defaults and what a file needs, whatever the process has set."""
    with _ONE_AT_A_TIME, matplotlib.style.context("default"), matplotlib.rc_context(_SETTINGS):
        yield


def to_svg(drawing: Drawing) -> str:
    """Return the figure as an SVG document whose text is text."""
    texts = {}
    for number, text in enumerate(_texts(drawing.figure)):
        text.set_gid(f"text-{number}")
        texts[f"text-{number}"] = str(text.get_label())
    written = _written(drawing, "svg", metadata={"Date": None}).decode()
    return svg.finished(
        written, texts, drawing.readings, title=fonts.clean(drawing.title), description=fonts.clean(drawing.description)
    )


def to_pdf(drawing: Drawing) -> bytes:
    """Return the figure as a PDF page with its fonts in it."""
    facts = {"Title": fonts.clean(drawing.title), "Subject": fonts.clean(drawing.description), "Creator": CREATOR}
    return _written(drawing, "pdf", metadata={**facts, "CreationDate": None})


def to_png(drawing: Drawing, width: int) -> bytes:
    """Return the figure as PNG, this many pixels wide."""
    facts = {"Title": fonts.clean(drawing.title), "Description": fonts.clean(drawing.description), "Software": CREATOR}
    # A hundredth of a pixel more: matplotlib cuts the rest off, and a rounding error would cost a whole pixel.
    return _written(drawing, "png", metadata=facts, dpi=(width + 0.01) / drawing.figure.get_figwidth())


def _written(drawing: Drawing, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    with settings():
        drawing.figure.savefig(out, format=kind, **options)
    return out.getvalue()


def _texts(figure: Figure) -> list[Text]:
    """Return the figure's texts that say something."""
    return [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_label() and text.get_text()]

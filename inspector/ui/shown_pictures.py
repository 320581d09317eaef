"""Remember the pictures that a page draws while Export is open, so that it can offer each of them as a file.

Whatever shows a canvas or a chart says so here. A run of the whole page begins the list anew; a part of a page that
runs again replaces what it showed before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import streamlit as st

if TYPE_CHECKING:
    import pandas as pd

    from inspector.views.header_types import MapHeader, StripsHeader

Numbers = npt.NDArray[np.float32]

_PICTURES = "pictures_on_screen"


@dataclass(frozen=True)
class Map:
    """A map of numbers: what its canvas was told."""

    title: str
    header: MapHeader
    values: Numbers
    note: str = ""  # what its numbers are of, where that is more than the text on screen


@dataclass(frozen=True)
class Strips:
    """Strips and bars: what their canvas was told."""

    title: str
    header: StripsHeader
    values: Numbers
    note: str = ""  # as a map's


@dataclass(frozen=True)
class Chart:
    """A chart, by the numbers that it draws."""

    title: str
    frame: pd.DataFrame


@dataclass(frozen=True)
class Page:
    """A whole page in a frame."""

    title: str
    html: str


@dataclass(frozen=True)
class Document:
    """A file that is no picture: its button's label, its name in a file's name, its kind, and what makes it."""

    title: str
    what: str
    suffix: str
    make: Callable[[], bytes]


Picture = Map | Strips | Chart | Page


def begin(*, wanted: bool) -> None:
    """Begin a run of the page.

    Args:
        wanted: whether Export is open; otherwise nothing is remembered.
    """
    st.session_state[_PICTURES] = {} if wanted else None


def keep(key: str, picture: Picture | Document) -> None:
    """Remember a picture that is shown.

    Args:
        key: names it on the page.
        picture: what is shown.
    """
    kept = st.session_state.get(_PICTURES)
    if kept is not None:
        kept[key] = picture


def pictures() -> list[Picture]:
    """Return the pictures of the page, in the order in which they were drawn."""
    return [found for found in (st.session_state.get(_PICTURES) or {}).values() if not isinstance(found, Document)]


def documents() -> list[Document]:
    """Return the page's files that are no pictures."""
    return [found for found in (st.session_state.get(_PICTURES) or {}).values() if isinstance(found, Document)]

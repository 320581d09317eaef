"""Draw one head's map with matplotlib, into anybody's axes or as a whole figure.

Cells lie where their tokens are: query token 3 and key token 1 meet at x = 1, y = 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection

from inspector.analysis.maps import Kind, Picture
from inspector.errors import InspectorError
from inspector.views import colours, fonts, ramps
from inspector.views import payload as data
from inspector.views.captions import Captions
from inspector.views.colours import Scale, Theme
from inspector.views.sheet import Sheet, label_ticks, write
from inspector.views.static_files import Drawing
from inspector.views.svg import CELLS, Reading

CELLS_UP_TO = 64  # a side: so many are shapes of their own, with their readings in an SVG; more are one image
_SHARP = 1024  # pixels a side of the image at least: some viewers smooth images, which then does not show
_OVERLAP = 0.25  # of a cell: it reaches beneath its neighbours, so that nothing shines through between them
_FEWEST = 40  # points a side that a map takes at least


@dataclass(frozen=True)
class HeadMap:
    """What is drawn of one head: its numbers, its tokens' labels, and how numbers become colours."""

    picture: Picture
    labels: Sequence[str]
    kind: Kind
    scale: Scale
    theme: Theme

    @cached_property
    def ramp(self) -> ramps.Ramp:
        """The colours of these numbers."""
        largest = 1.0 if self.kind == "weights" else data.limit(self.picture.values)
        return ramps.ramp(self.theme, self.kind, self.scale, largest=largest)

    @cached_property
    def painted(self) -> npt.NDArray[np.uint8]:
        """Each cell's colour, [rows, columns, 3]."""
        values = self.picture.values
        largest = data.limit(values)
        limit = largest if self.kind == "scaled_scores" else None
        top = largest if self.kind == "weighted_values" else 1.0
        return colours.painted(values, self.theme, scale=self.scale, top=top, limit=limit)

    @cached_property
    def names(self) -> list[str]:
        """What each row and column is called, as in the app: 3 ␣we, or 6–7 for a pooled one."""
        pool, n = self.picture.pool, len(self.labels)
        if pool == 1:
            return [f"{t} {label}" for t, label in enumerate(self.labels)]
        starts = range(0, pool * len(self.picture.values), pool)
        return [f"{start}–{min(start + pool, n) - 1}" for start in starts]

    @property
    def readings(self) -> list[Reading]:
        """Each visible cell's number, row after row; none where cells are no shapes of their own."""
        values = self.picture.values
        if max(values.shape) > CELLS_UP_TO:
            return []
        pooled = "largest " if self.picture.pool > 1 else ""
        what = pooled + ramps.VALUE_NAMES[self.kind]
        found = []
        for row, column in zip(*np.nonzero(~np.isnan(values)), strict=True):
            value = values[row, column]
            said = f"{self.names[row]} → {self.names[column]}: {what} {value:.4g}"
            found.append(Reading(int(row), int(column), str(value), fonts.clean(said)))
        return found


def draw(axes: Axes, head: HeadMap, *, size: float, room: float, side: float) -> ScalarMappable:
    """Draw a map into axes: cells, token labels, names of both axes.

    Args:
        axes: to draw into; its limits, ticks and aspect are set.
        head: what to draw.
        size: of the labels, in points.
        room: how long a label may be, in points.
        side: how long the map's side will be, in points; labels that would overlap are left out.

    Returns:
        What a colour bar is made for.
    """
    values, pool = head.picture.values, head.picture.pool
    rows, columns = values.shape
    axes.set_facecolor(head.theme.masked)
    if max(rows, columns) <= CELLS_UP_TO:
        seen = head.painted[~np.isnan(values)] / 255
        cells = PolyCollection(list(_cells(values, pool)), facecolors=seen, linewidths=0, antialiaseds=False, gid=CELLS)
        axes.add_collection(cells, autolim=False)
    else:
        times = math.ceil(_SHARP / max(rows, columns))
        pixels = head.painted.repeat(times, axis=0).repeat(times, axis=1)
        axes.imshow(pixels, interpolation="none", extent=(-0.5, pool * columns - 0.5, pool * rows - 0.5, -0.5))
    axes.set(xlim=(-0.5, pool * columns - 0.5), ylim=(pool * rows - 0.5, -0.5), aspect="equal")
    short = [fonts.fitted(name, room, size) for name in head.names]
    middles = [pool * at + (pool - 1) / 2 for at in range(rows)]
    beside, above = _labelled(rows, size, side)
    label_ticks(axes.yaxis, middles[beside], short[beside], size=size)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    label_ticks(axes.xaxis, middles[above], short[above], size=size, turn=45)
    write(axes.yaxis.label, "query token", size)
    write(axes.xaxis.label, "key token", size)
    return ScalarMappable(head.ramp.norm, head.ramp.cmap)


def figure(head: HeadMap, captions: Captions, *, width: float | None, font_size: float) -> Drawing:
    """Draw a whole figure: title, model, prompt, map, legend, and where the numbers come from.

    Args:
        head: what to draw.
        captions: what stands around it.
        width: of the figure in inches; None: as wide as map and captions need.
        font_size: of the labels, in points; all else follows it.

    Returns:
        The figure, to be written to a file.

    Raises:
        InspectorError: the map finds no room in this width.
    """
    count, pool = max(head.picture.values.shape), head.picture.pool
    sheet = Sheet(head.theme, font_size, margin=24 if width is None else 4, width=width and 72 * width)
    unit = sheet.unit
    widths = [fonts.width(name, font_size) for name in head.names]
    room = min(150 * unit, max(widths), math.inf if width is None else 0.18 * sheet.width)
    left, right = sheet.margin + 30 * unit + room, 0.75 * min(room, widths[-1]) + sheet.margin
    side = max(5, min(56, 680 // count)) * unit * count
    if width is not None:
        side = min(sheet.width - left - right, 120 * unit * count)
        if side < _FEWEST:
            raise InspectorError(
                f"A figure {width:g} inches wide has no room for a map beside labels of {font_size:g} points: choose a "
                f"width of {(left + right + _FEWEST) / 72:.1f} inches or more, or a smaller font_size."
            )
    sheet.needs(left + side + right)
    pooled = [f"Each cell is the largest of {pool} × {pool}."] if pool > 1 else []
    _, above = _labelled(count, font_size, side)
    slanted = min(room, max(widths[above]))  # the longest label above the map
    top = sheet.above(captions, [*captions.lines, *pooled], head.ramp) + 0.72 * slanted + 48 * unit
    axes = sheet.axes(left, top, side, side)
    draw(axes, head, size=font_size, room=room, side=side)
    sheet.below(top + side + 24 * unit, captions, head.ramp)
    return Drawing(sheet.figure, captions.title, captions.description, head.readings)


def _labelled(count: int, size: float, side: float) -> tuple[slice, slice]:
    """Return which rows and which columns have labels, so that none touches the next one."""
    step = side / count
    return slice(None, None, math.ceil(1.25 * size / step)), slice(None, None, math.ceil(1.8 * size / step))


def _cells(values: npt.NDArray[np.float32], pool: int) -> npt.NDArray[np.float64]:
    """Return the corners of each visible cell, row after row, [cells, 4, 2].

    A cell reaches beneath its right and lower neighbours, which are drawn over it, so that no viewer that smooths edges
    lets the ground shine through between two cells.
    """
    seen = np.pad(~np.isnan(values), ((0, 1), (0, 1)))
    row, column = np.nonzero(seen)
    beside, below, across = seen[row, column + 1], seen[row + 1, column], seen[row + 1, column + 1]
    wide = 1 + _OVERLAP * (beside & (across | ~below))
    high = 1 + _OVERLAP * (below & (across | ~beside))
    left, top = column - 0.0, row - 0.0
    corners = [(left, top), (left + wide, top), (left + wide, top + high), (left, top + high)]
    return np.stack([np.stack(corner, axis=-1) for corner in corners], axis=1) * pool - 0.5

"""Draw any map of a canvas with matplotlib, as a whole figure: vectors, cosines, shares, matrices."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from inspector.analysis.maps import Kind
from inspector.views import canvas_tables, colours, fonts, ramps
from inspector.views import payload as data
from inspector.views.captions import Captions
from inspector.views.colours import Theme
from inspector.views.header_types import MapHeader
from inspector.views.sheet import Sheet, label_ticks, write
from inspector.views.static_files import Drawing

_SHARP = 1024  # pixels a side of the image at least: some viewers smooth images, which then does not show
_WIDEST = 12  # units of a cell that is free to fill the width


@dataclass(frozen=True)
class Table:
    """What is drawn: a canvas's header, its numbers [rows, columns], and the colours of one shade."""

    header: MapHeader
    values: npt.NDArray[np.float32]
    theme: Theme

    @cached_property
    def ramp(self) -> ramps.Ramp:
        """The colours of these numbers, as the canvas has them."""
        header = self.header
        name = header["legend"] or header["value_name"]
        if header["palette"] == "diverging":
            found = ramps.ramp(self.theme, "scaled_scores", "linear", largest=header["limit"])
        else:
            kind: Kind = "weights" if header["top"] is None else "weighted_values"
            found = ramps.ramp(self.theme, kind, header["scale"], largest=header["top"] or 1.0)
        return replace(found, name=name, masked=data.MASKED_NOTE if np.isnan(self.values).any() else "")

    @cached_property
    def painted(self) -> npt.NDArray[np.uint8]:
        """Each cell's colour, [rows, columns, 3]."""
        header = self.header
        limit = header["limit"] if header["palette"] == "diverging" else None
        return colours.painted(self.values, self.theme, scale=header["scale"], top=header["top"] or 1.0, limit=limit)


def figure(table: Table, captions: Captions, *, font_size: float) -> Drawing:
    """Draw a whole figure: title, model, prompt, map, legend, and where the numbers come from.

    Args:
        table: what to draw.
        captions: what stands around it.
        font_size: of the labels, in points; all else follows it.

    Returns:
        The figure, to be written to a file.
    """
    rows, columns = table.values.shape
    beside, above = canvas_tables.map_names(table.header | {"shape": [rows, columns]})
    numbered = table.header["columns"] is None
    sheet = Sheet(table.theme, font_size, margin=24, width=None)
    unit = sheet.unit
    room = min(150 * unit, max(fonts.width(name, font_size) for name in beside))
    left, right = sheet.margin + 30 * unit + room, sheet.margin + (0 if numbered else 0.75 * room)
    high = min(56, 680 / rows) * unit
    wide = high if table.header["cell"] == "square" else min(_WIDEST * 4, 680 / columns) * unit
    sheet.needs(left + wide * columns + right)
    each = math.ceil(1.25 * font_size / high)
    step = math.ceil((fonts.width(str(columns), font_size) + 6 * unit if numbered else 1.8 * font_size) / wide)
    shown = range(0, columns, step)
    slanted = 0.0 if numbered else min(room, max(fonts.width(above[at], font_size) for at in shown))
    top = sheet.above(captions, captions.lines, table.ramp) + 0.72 * slanted + 48 * unit
    axes = sheet.axes(left, top, wide * columns, high * rows)
    pixels = table.painted.repeat(math.ceil(_SHARP / rows), axis=0).repeat(math.ceil(_SHARP / columns), axis=1)
    axes.imshow(pixels, interpolation="none", aspect="auto", extent=(-0.5, columns - 0.5, rows - 0.5, -0.5))
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    short = [fonts.fitted(name, room, font_size) for name in above]
    named = range(0, rows, each)
    label_ticks(axes.yaxis, named, [fonts.fitted(beside[at], room, font_size) for at in named], size=font_size)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    label_ticks(axes.xaxis, shown, [short[at] for at in shown], size=font_size, turn=0 if numbered else 45)
    write(axes.yaxis.label, table.header["row_name"], font_size)
    write(axes.xaxis.label, table.header["column_name"], font_size)
    sheet.below(top + high * rows + 24 * unit, captions, table.ramp)
    return Drawing(sheet.figure, captions.title, captions.description)

"""Draw every head as a small picture with matplotlib: layers across, heads downwards.

All small pictures are one image; head 2 of layer 5 lies around x = 5, y = 2 (lower where gaps part groups of heads).
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

from inspector.analysis.thumbnails import MASKED, Thumbnails
from inspector.capture.records import LayerInfo
from inspector.errors import InspectorError
from inspector.views import colours, fonts, ramps
from inspector.views.captions import Captions
from inspector.views.colours import Scale, Theme
from inspector.views.sheet import Sheet, label_ticks, write
from inspector.views.static_files import Drawing

GROUPED = "A gap parts groups of query heads that share a key/value head."
_CELL = 48  # pixels of a head's place in the image, at least; a small picture's cells are whole pixels of it
_GAP = 0.2  # of a place, between groups
_FEWEST = 5  # points that a head takes at least


@dataclass(frozen=True)
class HeadGrid:
    """What is drawn of all heads: their small pictures, their layers, and how numbers become colours."""

    pictures: Thumbnails
    layers: Sequence[LayerInfo]
    scale: Scale
    theme: Theme

    @cached_property
    def ramp(self) -> ramps.Ramp:
        """The colours of attention weights."""
        return ramps.ramp(self.theme, "weights", self.scale)

    @property
    def grouped(self) -> bool:
        """Whether all layers share keys and values among heads in the same way, which gaps then show."""
        counts = {(layer.kv_heads, layer.heads) for layer in self.layers}
        return len(counts) == 1 and all(groups < heads for groups, heads in counts)

    @property
    def rows(self) -> list[float]:
        """Where each head's middle is, in places of one head."""
        longest = max(self.layers, key=lambda layer: layer.heads)
        gap = round(_GAP * self.place) / self.place if self.grouped else 0.0
        return [head + gap * longest.kv_head(head) for head in range(longest.heads)]

    @property
    def side(self) -> int:
        """How many cells a small picture has on a side."""
        return int(self.pictures.pixels.shape[-1])

    @property
    def times(self) -> int:
        """How many pixels of the image are one cell of a small picture, on a side."""
        return math.ceil(_CELL / self.side)

    @property
    def place(self) -> int:
        """How many pixels of the image one head takes, on a side, with the gap to the next."""
        side = self.times * self.side
        return side + max(2, side // 18)

    def image(self) -> npt.NDArray[np.uint8]:
        """Return all small pictures in one, [height, width, 4]; between them it is transparent."""
        levels = self.pictures.pixels.astype(np.float64)
        weights = np.where(levels == MASKED, np.nan, ((levels - 1) / 254) ** 2)
        painted = colours.painted(weights, self.theme, scale=self.scale)
        place, rows = self.place, self.rows
        found = np.zeros((round((rows[-1] + 1) * place), len(self.layers) * place, 4), dtype=np.uint8)
        found[..., :3] = colours.rgb(self.theme.background)  # some viewers mix the edges of an image with it
        at = 0
        for layer, info in enumerate(self.layers):
            for head in range(info.heads):
                cells = painted[at].repeat(self.times, axis=0).repeat(self.times, axis=1)
                gap = (place - len(cells)) // 2
                top, left = round(rows[head] * place) + gap, layer * place + gap
                found[top : top + len(cells), left : left + len(cells), :3] = cells
                found[top : top + len(cells), left : left + len(cells), 3] = 255
                at += 1
        return found


def draw(axes: Axes, grid: HeadGrid, *, size: float, step: float) -> ScalarMappable:
    """Draw all heads into axes: small pictures, numbers of layers and heads, names of both axes.

    Args:
        axes: to draw into; its limits, ticks and aspect are set.
        grid: what to draw.
        size: of the labels, in points.
        step: how wide a head will be, in points; numbers that would touch are left out.

    Returns:
        What a colour bar is made for.
    """
    rows, columns = grid.rows, len(grid.layers)
    extent = (-0.5, columns - 0.5, rows[-1] + 0.5, -0.5)
    axes.imshow(grid.image(), interpolation="none", extent=extent)
    axes.set(xlim=extent[:2], ylim=extent[2:], aspect="equal")
    across = math.ceil((fonts.width(str(columns), size) + 0.4 * size) / step)
    down = math.ceil(1.25 * size / step)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    label_ticks(axes.xaxis, range(0, columns, across), [str(at) for at in range(0, columns, across)], size=size)
    label_ticks(axes.yaxis, rows[::down], [str(head) for head in range(0, len(rows), down)], size=size)
    write(axes.xaxis.label, "layer", size)
    write(axes.yaxis.label, "head", size)
    return ScalarMappable(grid.ramp.norm, grid.ramp.cmap)


def figure(grid: HeadGrid, captions: Captions, *, width: float | None, font_size: float) -> Drawing:
    """Draw a whole figure of all heads: title, model, prompt, small pictures, legend, and where numbers come from.

    Args:
        grid: what to draw.
        captions: what stands around it.
        width: of the figure in inches; None: as wide as small pictures and captions need.
        font_size: of most texts, in points; all else follows it.

    Returns:
        The figure, to be written to a file.

    Raises:
        InspectorError: the small pictures find no room in this width.
    """
    columns = len(grid.layers)
    sheet = Sheet(grid.theme, font_size, margin=24 if width is None else 4, width=width and 72 * width)
    unit = sheet.unit
    left = sheet.margin + 48 * unit
    step = max(18, min(72, 1100 // columns)) * unit
    if width is not None:
        step = min((sheet.width - left - sheet.margin) / columns, 144 * unit)
        if step < _FEWEST:
            raise InspectorError(
                f"A figure {width:g} inches wide has no room for {columns} layers: choose a width of "
                f"{(left + sheet.margin + _FEWEST * columns) / 72:.1f} inches or more."
            )
    sheet.needs(left + columns * step + sheet.margin)
    top = sheet.above(captions, captions.lines, grid.ramp) + 50 * unit
    high = (grid.rows[-1] + 1) * step
    axes = sheet.axes(left, top, columns * step, high)
    axes.patch.set_visible(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    draw(axes, grid, size=11 * unit, step=step)
    bottom = top + high
    if grid.grouped:
        for line in fonts.wrapped(GROUPED, sheet.width - 2 * sheet.margin, 11 * unit):
            bottom += 16 * unit
            sheet.text(sheet.margin, bottom, line, grid.theme.quiet, units=11)
    sheet.below(bottom + 24 * unit, captions, grid.ramp)
    return Drawing(sheet.figure, captions.title, captions.description)

"""A matplotlib figure laid out in points from its upper left corner: title above, legend and small print below."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Affine2D

from inspector.views import fonts
from inspector.views.captions import Captions
from inspector.views.colours import Theme
from inspector.views.ramps import Ramp

_BAR, _BAR_HEIGHT = 260, 11  # of the legend, in units


def write(text: Text, said: str, size: float, *, bold: bool = False) -> None:
    """Make a Text say anything: never read as mathematics or TeX, each letter in a font that has it.

    Letters are of matplotlib's chosen font where it has them. The whole text is stored as the artist's label, from
    where an SVG takes it (svg.py).
    """
    font = fonts.properties(said, size, bold=bold)
    font.set_family(list(dict.fromkeys([*matplotlib.rcParams["font.family"], *font.get_family()])))
    text.set(text=fonts.drawable(said, bold=bold), fontproperties=font, parse_math=False, usetex=False)
    text.set_label(fonts.clean(said))


def label_ticks(axis: Axis, places: Sequence[float], names: Sequence[str], *, size: float, turn: float = 0) -> None:
    """Set an axis's ticks and their labels; slanted ones (`turn`, in degrees) begin at their tick."""
    axis.set_ticks(places, labels=[fonts.drawable(name) for name in names])
    for tick, name in zip(axis.get_major_ticks(), names, strict=True):
        for label in (tick.label1, tick.label2):
            write(label, name, size)
            if turn:
                label.set(rotation=turn, rotation_mode="anchor", ha="left", va="center_baseline")


class Sheet:
    """A figure under construction. One unit is a twelfth of the font size; lengths are in points, y downwards."""

    def __init__(self, theme: Theme, font_size: float, *, margin: float, width: float | None) -> None:
        """Begin a sheet: `margin` in units, `width` in points, or None for as wide as what stands on it."""
        self.theme, self.size, self.unit = theme, font_size, font_size / 12
        self.margin = margin * self.unit
        self.width, self._fixed = width or 0.0, width is not None
        self.figure = Figure(facecolor=theme.background)
        self._axes: list[tuple[Axes, float, float, float, float]] = []
        self._down = Affine2D()  # from points below the upper edge to inches above the lower one

    def needs(self, width: float) -> None:
        """Make the sheet wide enough for something, its margins included, unless its width was chosen."""
        if not self._fixed:
            self.width = max(self.width, width)

    def text(
        self, x: float, y: float, said: str, colour: str, *, units: float = 12, bold: bool = False, anchor: str = "left"
    ) -> None:
        """Write a line whose middle is at y."""
        placed = self.figure.text(x, y, "", color=colour, ha=anchor, va="center_baseline")
        placed.set_transform(self._down + self.figure.dpi_scale_trans)
        write(placed, said, units * self.unit, bold=bold)

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Add axes with a thin frame and no tick marks."""
        axes = self.figure.add_axes((0, 0, 1, 1))
        axes.tick_params(length=0, pad=6 * self.unit, labelcolor=self.theme.text)
        for spine in axes.spines.values():
            spine.set(color=self.theme.border, linewidth=self.unit)
        for axis in (axes.xaxis, axes.yaxis):
            axis.label.set_color(self.theme.quiet)
        self._axes.append((axes, x, y, width, height))
        return axes

    def above(self, captions: Captions, lines: Sequence[str], legend: Ramp | None) -> float:
        """Write title and lines at the top; return where what follows can begin."""
        widths = [fonts.width(captions.title, 18 * self.unit, bold=True)]
        widths += [fonts.width(line, self.size) for line in lines]
        widths += [] if legend is None else [self._legend_width(legend)]
        self.needs(max(widths) + 2 * self.margin)
        room = self.width - 2 * self.margin + 1
        y = self.margin + 8 * self.unit
        for line in fonts.wrapped(captions.title, room, 18 * self.unit, bold=True):
            self.text(self.margin, y, line, self.theme.text, units=18, bold=True)
            y += 24 * self.unit
        y += 2 * self.unit
        for whole in lines:
            for line in fonts.wrapped(whole, room, self.size):
                self.text(self.margin, y, line, self.theme.quiet)
                y += 18 * self.unit
        return y - 6 * self.unit

    def below(self, y: float, captions: Captions, legend: Ramp | None) -> None:
        """Draw the legend (None: there is none) at y and the small print beneath it, and close the sheet under it."""
        y = (y if legend is None else self._legend(y, legend)) + 26 * self.unit
        for whole in captions.footer:
            for line in fonts.wrapped(whole, self.width - 2 * self.margin + 1, 10 * self.unit):
                self.text(self.margin, y, line, self.theme.quiet, units=10)
                y += 14 * self.unit
            y += 2 * self.unit
        self._close(y + self.margin - 8 * self.unit)

    def _close(self, height: float) -> None:
        """Give the figure its size and everything on it its place."""
        self.figure.set_size_inches(self.width / 72, height / 72)
        self._down.clear().scale(1 / 72, -1 / 72).translate(0, height / 72)
        for axes, x, y, wide, high in self._axes:
            axes.set_position((x / self.width, 1 - (y + high) / height, wide / self.width, high / height))
            for artist in (*axes.images, *axes.collections, axes.patch, *axes.spines.values()):
                artist.set_clip_on(False)  # all lies inside; an SVG then needs no clip path

    # -- the legend --------------------------------------------------------------------------------------------------

    def _legend_width(self, legend: Ramp) -> float:
        """Return how wide name, ramp and the masked cells' sign are in one row."""
        texts = fonts.width(legend.name, self.size) + fonts.width(legend.masked, self.size)
        return texts + (22 + _BAR + 47) * self.unit

    def _legend(self, y: float, legend: Ramp) -> float:
        """Draw it in one row, or in three where the sheet is narrow; return the y of its last line."""
        unit, room = self.unit, self.width - 2 * self.margin
        middle = _BAR_HEIGHT * unit / 2
        self.text(self.margin, y + middle, legend.name, self.theme.text)
        if self._legend_width(legend) <= room + 1:
            x = self.margin + fonts.width(legend.name, self.size) + 22 * unit
            self._bar(x, y, _BAR * unit, legend)
            self._masked(x + (_BAR + 26) * unit, y, legend.masked)
            return y + 23 * unit
        first, last = (fonts.width(legend.ticks[at][1], 11 * unit) / 2 for at in (0, -1))
        self._bar(self.margin + first, y + 20 * unit, min(_BAR * unit, room - first - last), legend)
        self._masked(self.margin, y + 62 * unit, legend.masked)
        return y + (70 if legend.masked else 48) * unit

    def _bar(self, x: float, y: float, width: float, legend: Ramp) -> None:
        """Draw a ramp with its numbers beneath, those left out that would touch others."""
        axes = self.axes(x, y, width, _BAR_HEIGHT * self.unit)
        axes.imshow(
            legend.cmap(np.arange(256), bytes=True)[None, :, :3],
            aspect="auto",
            interpolation="none",
            extent=(0, 1, 0, 1),
        )
        size = 11 * self.unit
        ticks = [((256 * float(legend.norm(number)) - 0.5) / 255, said) for number, said in legend.ticks]
        halves = [fonts.width(said, size) / 2 + 2 * self.unit for _, said in ticks]
        shown = [0]
        for at in range(1, len(ticks)):
            last = at == len(ticks) - 1
            while last and len(shown) > 1 and _touch(ticks, halves, shown[-1], at, width):
                shown.pop()
            if last or not _touch(ticks, halves, shown[-1], at, width):
                shown.append(at)
        axes.yaxis.set_visible(False)
        label_ticks(axes.xaxis, [ticks[at][0] for at in shown], [ticks[at][1] for at in shown], size=size)
        axes.tick_params(pad=5 * self.unit)

    def _masked(self, x: float, y: float, said: str) -> None:
        """Draw a masked cell and what is said of it; nothing where nothing is."""
        if not said:
            return
        axes = self.axes(x, y, 14 * self.unit, _BAR_HEIGHT * self.unit)
        axes.set(facecolor=self.theme.masked, xticks=[], yticks=[])
        middle = y + _BAR_HEIGHT * self.unit / 2
        self.text(x + 21 * self.unit, middle, said, self.theme.text)


def _touch(ticks: Sequence[tuple[float, str]], halves: Sequence[float], one: int, other: int, width: float) -> bool:
    """Say whether two numbers beneath a ramp would touch; `halves` of their widths, in points."""
    return (ticks[other][0] - ticks[one][0]) * width < halves[one] + halves[other]

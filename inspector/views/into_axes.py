"""Draw into axes that somebody else made: their size, place and style stay theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.font_manager import FontProperties

from inspector.errors import InspectorError
from inspector.views import static_grid, static_map
from inspector.views.ramps import Ramp
from inspector.views.sheet import label_ticks, write

_BAR, _PAD = 0.1, 0.04  # what a colour bar takes of its axes' width, and the space before it

if TYPE_CHECKING:
    from inspector.views.static_grid import HeadGrid
    from inspector.views.static_map import HeadMap


def head(axes: Axes, drawn: HeadMap, *, font_size: float | None, colorbar: bool) -> None:
    """Draw one head's map, and a colour bar if one is wanted; font size None: matplotlib's own of tick labels."""
    size = _label_size(axes, font_size)
    shown = static_map.draw(axes, drawn, size=size, room=12.5 * size, side=min(_size(axes)))
    if colorbar:
        _add_colorbar(axes, shown, drawn.ramp, size)


def grid(axes: Axes, drawn: HeadGrid, *, font_size: float | None, colorbar: bool) -> None:
    """Draw all heads as small pictures, and a colour bar if one is wanted."""
    size = _label_size(axes, font_size)
    wide, high = _size(axes)
    step = min(wide / len(drawn.layers), high / (drawn.rows[-1] + 1))
    shown = static_grid.draw(axes, drawn, size=size, step=step)
    if colorbar:
        _add_colorbar(axes, shown, drawn.ramp, size)


def _label_size(axes: Axes, font_size: float | None) -> float:
    """Return the size of labels in points; refuse what is no axes."""
    if not isinstance(axes, Axes):
        said = type(axes).__name__
        raise InspectorError(
            f"ax= takes one Axes of matplotlib's, and this is of type {said}: pass what fig.subplots() or "
            "fig.add_subplot() returns, one of several."
        )
    if font_size is not None:
        return font_size
    return float(FontProperties(size=matplotlib.rcParams["ytick.labelsize"]).get_size_in_points())


def _size(axes: Axes) -> tuple[float, float]:
    """Return width and height of axes in points."""
    box, dpi = axes.get_window_extent(), axes.figure.dpi
    return box.width * 72 / dpi, box.height * 72 / dpi


def _add_colorbar(axes: Axes, shown: ScalarMappable, ramp: Ramp, size: float) -> None:
    """Add a colour bar with the ramp's numbers, as high as what is drawn, which is rarely as high as its axes."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    wide, high = _size(axes)
    drawn = wide * (1 - _BAR - _PAD) * abs(top - bottom) / abs(right - left)
    bar = axes.figure.colorbar(shown, ax=axes, fraction=_BAR, pad=_PAD, shrink=min(1.0, drawn / high), aspect=15)
    label_ticks(bar.ax.yaxis, [number for number, _ in ramp.ticks], [said for _, said in ramp.ticks], size=size)
    bar.ax.minorticks_off()
    write(bar.ax.yaxis.label, ramp.name, size)

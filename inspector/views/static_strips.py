"""Draw strips of colour and rows of bars over the same columns with matplotlib, as a whole figure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from inspector.views import colours, fonts
from inspector.views.captions import Captions
from inspector.views.colours import Theme
from inspector.views.header_types import StripsHeader, StripsPanel
from inspector.views.sheet import Sheet, label_ticks
from inspector.views.static_files import Drawing

_STRIP, _BARS = 30, 110  # units that a panel is high
_CLOSEST = 0.12  # of the height of bars: between two numbers beside them
_ROOM = 130  # units for a label that stands upright
_TWO = (("#17806a", "#7b3fb5"), ("#46b39d", "#c39bf0"))  # of two kinds of bars, light and dark, as in strips_picture.js


@dataclass(frozen=True)
class Strips:
    """What is drawn: a canvas's header, its numbers [series, columns], and the colours of one shade."""

    header: StripsHeader
    values: npt.NDArray[np.float32]
    theme: Theme


def figure(strips: Strips, captions: Captions, *, font_size: float) -> Drawing:
    """Draw a whole figure: title, model, prompt, the panels, and where the numbers come from.

    Args:
        strips: what to draw.
        captions: what stands around it.
        font_size: of the labels, in points; all else follows it.

    Returns:
        The figure, to be written to a file.
    """
    header, theme = strips.header, strips.theme
    count = strips.values.shape[1]
    sheet = Sheet(theme, font_size, margin=24, width=None)
    unit = sheet.unit
    left = sheet.margin + 56 * unit
    across = min(40, max(10, 900 / count)) * unit * count
    sheet.needs(left + across + sheet.margin)
    longest = max(fonts.width(_title(panel), font_size) for panel in header["panels"])
    sheet.needs(left + longest + sheet.margin)
    y = sheet.above(captions, captions.lines, None) + 26 * unit
    for panel in header["panels"]:
        sheet.text(left, y, _title(panel), theme.text)
        high = (_STRIP if panel["kind"] == "strip" else _BARS) * unit
        axes = sheet.axes(left, y + 12 * unit, across, high)
        axes.set_facecolor(theme.background)
        (_strip if panel["kind"] == "strip" else _bars)(axes, strips, panel, font_size)
        axes.xaxis.set_visible(False)
        y += high + 36 * unit
    axes.xaxis.set_visible(True)
    room = _ROOM * unit
    names = [fonts.fitted(name, room, font_size) for name in header["axis"]]
    widest = max(fonts.width(name, font_size) for name in names)
    step = math.ceil((1.4 * font_size if header["turned"] else widest + 8 * unit) / (across / count))
    shown = range(0, count, step)
    label_ticks(axes.xaxis, shown, [names[at] for at in shown], size=font_size)
    y -= 24 * unit
    if header["turned"]:
        for tick in axes.xaxis.get_major_ticks():
            tick.label1.set(rotation=90, va="top", ha="center")
        y += min(room, widest)
    else:
        y += 12 * unit
    if header["axis_name"]:
        sheet.text(left, y + 18 * unit, header["axis_name"], theme.quiet)
        y += 18 * unit
    sheet.below(y, captions, None)
    return Drawing(sheet.figure, captions.title, captions.description)


def _title(panel: StripsPanel) -> str:
    """Return what stands above a panel: its name, and what its colours or its two kinds of bars are."""
    if panel["kind"] == "strip":
        return f"{panel['title']} · full colour: ±{panel['limit']:.4g}"
    return panel["title"] + (f" (filled), {panel['also']} (hollow)" if panel["also"] else "")


def _strip(axes: Axes, strips: Strips, panel: StripsPanel, size: float) -> None:  # noqa: ARG001 - as _bars is called
    """Draw one row of colours around zero; where there is no number, the ground shows."""
    row = strips.values[panel["rows"][0]]
    painted = colours.painted(row[None], strips.theme, scale="linear", limit=panel["limit"])
    painted[np.isnan(row)[None]] = colours.rgb(strips.theme.background)
    times = max(1, math.ceil(1024 / len(row)))
    axes.imshow(painted.repeat(times, axis=1), interpolation="none", aspect="auto", extent=(-0.5, len(row) - 0.5, 0, 1))
    axes.set(xlim=(-0.5, len(row) - 0.5), yticks=[])


def _bars(axes: Axes, strips: Strips, panel: StripsPanel, size: float) -> None:
    """Draw one row of bars, or two side by side, with lines at the ticks behind them."""
    theme, count = strips.theme, strips.values.shape[1]
    below, above = theme.diverging[1], theme.diverging[-2]
    blue = theme.sequential[3]
    wide = 0.8 / len(panel["rows"])
    for place, row in enumerate(panel["rows"]):
        numbers = np.nan_to_num(strips.values[row].astype(np.float64))
        heights = colours.SCALES[panel["scale"]][0](numbers) if panel["scale"] else numbers / panel["limit"]
        at = np.arange(count) - 0.4 + (place + 0.5) * wide
        if len(panel["rows"]) > 1:
            paint: str | list[str] = _TWO[theme == colours.DARK][place]
        else:
            paint = blue if panel["scale"] else [below if number < 0 else above for number in numbers]
        filled = {"color": paint} if place == 0 else {"facecolor": "none", "edgecolor": paint, "linewidth": 0.8}
        axes.bar(at, heights, width=wide, **filled)
    axes.set(xlim=(-0.5, count - 0.5), ylim=(0 if panel["scale"] or panel["upward"] else -1, 1))
    axes.axhline(0, color=theme.text, linewidth=0.8)
    label_ticks(axes.yaxis, *_ticks(panel), size=0.85 * size)
    axes.yaxis.grid(visible=True, color=theme.border, linewidth=0.5)
    axes.set_axisbelow(True)


def _ticks(panel: StripsPanel) -> tuple[list[float], list[str]]:
    """Return the heights of the lines behind bars and their numbers, as the canvas has them; none touches the next."""
    if panel["scale"]:
        place, numbers = colours.SCALES[panel["scale"]]
        ends = [(float(place(np.array([number]))[0]), f"{number:g}") for number in numbers]
    else:
        limit = f"{panel['limit']:.4g}"
        ends = [*([] if panel["upward"] else [(-1.0, f"−{limit}")]), (0.0, "0"), (1.0, limit)]
    kept: list[tuple[float, str]] = []
    for height, said in ends:
        if not kept or height - kept[-1][0] >= _CLOSEST:
            kept.append((height, said))
    return [height for height, _ in kept], [said for _, said in kept]

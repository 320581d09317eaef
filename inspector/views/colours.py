"""Give numbers the colours that the app's canvases give them; a test holds the ramps equal to views/js/colours.js."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

RGB = tuple[int, int, int]
Numbers = npt.NDArray[np.float64]
Scale = Literal["linear", "sqrt", "log"]


@dataclass(frozen=True)
class Theme:
    """The colours of one shade. Ramps are stops from low to high."""

    background: str
    text: str
    quiet: str
    border: str
    masked: str
    sequential: tuple[str, ...]
    diverging: tuple[str, ...]


LIGHT = Theme(
    background="#ffffff",
    text="#0e141c",
    quiet="#4d5866",
    border="#d5dae1",
    masked="#dcdde1",
    sequential=("#fbfcfe", "#cfe1f2", "#8cbbdf", "#3f86c0", "#13528f", "#06264d"),
    diverging=("#083a73", "#3f86c0", "#b9d5ea", "#fbfbfa", "#f5cda9", "#d97a2b", "#7a3503"),
)
DARK = Theme(
    background="#0f141b",
    text="#e6eaf0",
    quiet="#a3adba",
    border="#333d4a",
    masked="#090c11",
    sequential=("#151e29", "#17375a", "#1f5c94", "#3f92d2", "#8cc8f5", "#f0f8ff"),
    diverging=("#b5dcff", "#4c9fe0", "#1c4468", "#12161c", "#5c3613", "#dd8136", "#ffd9b0"),
)


def _log(weights: Numbers) -> Numbers:
    """Place weights on four decades; 0.0001 and below look alike."""
    return np.where(weights <= 1e-4, 0.0, 1 + np.log10(np.maximum(weights, 1e-4)) / 4)


# Scale -> weight 0..1 to place 0..1 on the ramp, and the legend's numbers.
SCALES: dict[Scale, tuple[Callable[[Numbers], Numbers], tuple[float, ...]]] = {
    "linear": (lambda weights: weights, (0, 0.25, 0.5, 0.75, 1)),
    "sqrt": (np.sqrt, (0, 0.01, 0.1, 0.25, 0.5, 1)),
    "log": (_log, (1e-4, 1e-3, 1e-2, 0.1, 1)),
}


def rgb(colour: str) -> RGB:
    """Read #rrggbb as three numbers from 0 to 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def ramp(stops: tuple[str, ...]) -> npt.NDArray[np.uint8]:
    """Return 256 colours between the stops, [256, 3]."""
    colours = np.array([rgb(stop) for stop in stops], dtype=np.float64)
    place = np.linspace(0, 1, 256) * (len(stops) - 1)
    at = np.minimum(place.astype(int), len(stops) - 2)
    mixed = colours[at] + (colours[at + 1] - colours[at]) * (place - at)[:, None]
    rounded: npt.NDArray[np.uint8] = np.floor(mixed + 0.5).astype(np.uint8)
    return rounded


def place(numbers: Numbers, *, scale: Scale, top: float = 1.0, limit: float | None = None) -> Numbers:
    """Return where numbers lie on a ramp, 0 to 1 where they are within it.

    Args:
        numbers: of any shape.
        scale: how weights are spread over the ramp; scores (with `limit`) are spread evenly.
        top: the strongest colour's number.
        limit: colours stand around zero, this far to both sides; None: from zero to `top`.

    Returns:
        Places, in the numbers' shape.
    """
    return SCALES[scale][0](numbers / top) if limit is None else 0.5 + numbers / (2 * limit)


def painted(
    values: npt.NDArray[np.floating], theme: Theme, *, scale: Scale, top: float = 1.0, limit: float | None = None
) -> npt.NDArray[np.uint8]:
    """Return a colour for each number, [..., 3]; NaN is masked grey.

    Args:
        values: numbers of any shape.
        theme: light or dark colours.
        scale: as for `place`.
        top: as for `place`.
        limit: as for `place`.

    Returns:
        Red, green and blue from 0 to 255, [..., 3].
    """
    numbers = values.astype(np.float64)
    at = place(numbers, scale=scale, top=top, limit=limit)
    level = np.clip(np.floor(255 * np.nan_to_num(at) + 0.5), 0, 255).astype(int)
    colours: npt.NDArray[np.uint8] = ramp(theme.sequential if limit is None else theme.diverging)[level]
    colours[np.isnan(numbers)] = rgb(theme.masked)
    return colours

"""Colour ramps as matplotlib knows them: a colour map, the norm that places numbers on it, and the legend's ticks.

Every number gets exactly the colour that `colours.painted` gives it; a test holds both equal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.colors import Colormap, ListedColormap, Normalize

from inspector.analysis.maps import Kind
from inspector.views import colours
from inspector.views import payload as data
from inspector.views.colours import Numbers, Scale, Theme

# Kind -> what one number is called.
VALUE_NAMES: dict[Kind, str] = {
    "weights": "attention weight",
    "scaled_scores": "scaled score",
    "weighted_values": "weight × value length",
}
_LEVELS = 256
_INVERSES: dict[Scale, Callable[[Numbers], Numbers]] = {
    "linear": lambda place: place,
    "sqrt": np.square,
    "log": lambda place: np.power(10.0, 4 * (place - 1)),
}


class RampNorm(Normalize):
    """Place numbers on a ramp of 256 colours: weights by a scale from 0 to `top`, or scores around 0 by `limit`."""

    def __init__(self, scale: Scale, *, top: float = 1.0, limit: float | None = None) -> None:
        self._scale_name, self._top, self._limit = scale, top, limit
        lowest = 1e-4 * top if scale == "log" else 0.0
        super().__init__(lowest, top) if limit is None else super().__init__(-limit, limit)

    def __call__(self, value: Any, clip: bool | None = None) -> Any:  # noqa: ARG002 - matplotlib's signature
        """Return places 0 to 1 on the ramp; what is masked or no number stays masked."""
        numbers = np.ma.masked_invalid(np.ma.asarray(value, dtype=np.float64))
        place = colours.place(numbers.filled(0.0), scale=self._scale_name, top=self._top, limit=self._limit)
        # A colour map takes the whole part of 256 times this: the rounded 255 * place.
        found = np.ma.array((255 * np.clip(place, 0, 1) + 0.5) / _LEVELS, mask=np.ma.getmaskarray(numbers))
        return found if np.ndim(value) else found.reshape(-1)[0]

    def inverse(self, value: Any) -> Any:
        """Return the numbers that lie at places 0 to 1; a colour bar asks for them."""
        place = np.clip((_LEVELS * np.asarray(value, dtype=np.float64) - 0.5) / 255, 0, 1)
        if self._limit is not None:
            return (2 * place - 1) * self._limit
        return _INVERSES[self._scale_name](place) * self._top


@dataclass(frozen=True)
class Ramp:
    """A ramp's name, its colours, the numbers that a legend writes beneath it, and what it says of masked cells."""

    name: str
    norm: RampNorm
    cmap: Colormap
    ticks: list[tuple[float, str]]
    masked: str = data.MASKED_NOTE


def ramp(theme: Theme, kind: Kind, scale: Scale, *, largest: float = 1.0) -> Ramp:
    """Return the ramp of one kind of numbers; `largest`: their largest distance from zero (weights: 1)."""
    limit = largest if kind == "scaled_scores" else None
    top = largest if kind == "weighted_values" else 1.0
    stops = theme.sequential if limit is None else theme.diverging
    cmap = ListedColormap(colours.ramp(stops) / 255).with_extremes(bad=theme.masked)
    norm = RampNorm(scale, top=top, limit=limit)
    if limit is not None:
        shares = (-1.0, -0.5, 0.0, 0.5, 1.0)
        ticks = [(share * limit, f"{share * limit:.3g}".replace("-", "−")) for share in shares]
        return Ramp(VALUE_NAMES[kind], norm, cmap, ticks)
    ticks = []
    for number in colours.SCALES[scale][1]:
        said = f"{number * top:.3g}" if kind == "weighted_values" else f"{number:g}"
        ticks.append((number * top, f"≤ {said}" if scale == "log" and number <= 1e-4 else said))
    name = (data.WEIGHTED if kind == "weighted_values" else data.WEIGHT) + data.SCALE_NOTES[scale]
    return Ramp(name, norm, cmap, ticks)

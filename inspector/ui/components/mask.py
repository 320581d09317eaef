"""Show one head's map with a slider that takes its mask off and lays it on again, computed in the browser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from inspector.analysis.maps import Picture
from inspector.ui import shown_pictures
from inspector.ui.components.mounting import mounted
from inspector.views import canvases, map_headers
from inspector.views.payload import digest, encode

_mount = mounted(
    "mask",
    html=canvases.SKELETONS["heatmap"] + '<div class="controls"></div>',
    css=canvases.style("heatmap") + canvases.text(canvases.JS / "learn.css"),
)


def mask_slider(
    free: npt.NDArray[np.float32],
    masked: npt.NDArray[np.float32],
    tokens: Sequence[str],
    *,
    scale: str,
    label: str,
    name: str,
) -> None:
    """Show the map, at first under its mask.

    Args:
        free: the weights with every key allowed, [n, n].
        masked: the same under the mask, NaN where it forbids.
        tokens: the tokens' labels.
        scale: of weights: linear, sqrt or log.
        label: what the map is of, for screen readers.
        name: names the component.
    """
    header = map_headers.map_header(Picture(masked, 1, len(tokens)), tokens, kind="weights", scale=scale, label=label)
    for said, values in (("", masked), (", mask off", free)):
        shown_pictures.keep(name + said, shown_pictures.Map(label + said, header, values))
    both = np.stack([free, masked])
    header["version"] = digest(header, both)
    _mount(data=encode(cast(dict[str, Any], header), both), key=name)

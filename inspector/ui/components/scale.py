"""Show one row of scores and what softmax makes of it, with a slider for the scale that answers in the browser."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from inspector.ui import shown_pictures
from inspector.ui.components.mounting import mounted
from inspector.views import canvases

_mount = mounted("scale", html='<div class="scaling"></div>', css=canvases.text(canvases.JS / "learn.css"))


def scale_slider(
    scores: Sequence[float], labels: Sequence[str], *, divisor: float, marks: Sequence[tuple[str, float]], name: str
) -> None:
    """Show the row, a bar for each key token.

    Args:
        scores: the row's scores, neither scaled nor masked.
        labels: what each key token is called.
        divisor: what scores are divided by to begin with.
        marks: buttons that divide by a number: what they say, and the number.
        name: names the component.
    """
    data = {
        "scores": list(scores),
        "labels": list(labels),
        "marks": [{"name": said, "divisor": number} for said, number in marks],
        "divisor": divisor,
        "most": 2 * max(divisor, *(number for _, number in marks)),
    }
    row = pd.DataFrame({"key token": list(labels), "score": list(scores)})
    shown_pictures.keep(name, shown_pictures.Chart("Scores of one row, before the scale", row))
    _mount(data=data, key=name)

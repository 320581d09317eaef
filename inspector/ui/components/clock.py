"""Show RoPE as clocks whose hands turn in the browser as positions move on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inspector.ui import shown_pictures
from inspector.ui.components.mounting import mounted
from inspector.views import canvases

if TYPE_CHECKING:
    import pandas as pd

_mount = mounted("clock", html='<div class="clocks"></div>', css=canvases.text(canvases.JS / "learn.css"))
MOST = 60  # positions that both tokens can be moved on


def rope_clock(planes: pd.DataFrame, *, score: float, query: int, key: int, names: tuple[str, str], name: str) -> None:
    """Show the planes of a pair as clocks, with a slider that moves both tokens on.

    Args:
        planes: as `position.turned_planes` gives them.
        score: the pair's score; what the planes do not give of it, dimensions give that do not turn.
        query: the query token's position.
        key: the key token's position.
        names: what the query token and the key token are called.
        name: names the component.
    """
    numbers = planes.to_dict("records")
    first = numbers[0]
    before = first["query_before_x"] ** 2 + first["query_before_y"] ** 2
    after = first["query_after_x"] ** 2 + first["query_after_y"] ** 2
    data = {
        "planes": [
            {
                "plane": int(one["plane"]),
                "speed": float(one["degrees_per_token"]),
                "query": [float(one["query_before_x"]), float(one["query_before_y"])],
                "key": [float(one["key_before_x"]), float(one["key_before_y"])],
            }
            for one in numbers
        ],
        "rest": float(score - planes["share"].sum()),
        "factor": float((after / before) ** 0.5) if before else 1.0,
        "query": query,
        "key": key,
        "names": list(names),
        "most": MOST,
    }
    shown_pictures.keep(name, shown_pictures.Chart("RoPE's planes of this pair", planes))
    _mount(data=data, key=name)

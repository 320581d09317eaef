"""Show a rail of dots, one a step, of which one is where the visitor stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from inspector.ui.components.mounting import mounted, picked_number
from inspector.views import canvases

_mount = mounted(
    "rail", html='<nav class="rail" aria-label="Steps"></nav>', css=canvases.text(canvases.JS / "rail.css")
)


def step_rail(titles: Sequence[str], at: int, *, key: str, on_pick: Callable[[int], None]) -> None:
    """Show the rail; when the step changes the page scrolls back to its top.

    Args:
        titles: the steps.
        at: the step where the visitor stands, from 0.
        key: names the component.
        on_pick: called with a step before the rerun of a click.
    """

    def picked() -> None:
        step = picked_number(key)
        if step is not None and 0 <= step < len(titles):
            on_pick(step)

    _mount(data={"titles": list(titles), "at": at}, key=key, on_pick_change=picked)

"""Show a button that opens the browser's own dialog for printing, where a page can be saved as PDF too."""

from __future__ import annotations

from importlib.resources import files

from inspector.ui.components.mounting import mounted

_mount = mounted(
    "printing",
    html='<div class="link"><button type="button"></button></div>',
    css=(files("inspector.ui.components") / "link.css").read_text(encoding="utf-8"),
)


def print_button(label: str, *, key: str) -> None:
    """Show the button.

    Args:
        label: what it says.
        key: names the component.
    """
    _mount(data={"label": label}, key=key)

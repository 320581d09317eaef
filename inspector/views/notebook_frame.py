"""Put a page into a notebook's cell, in a frame that can run scripts and reach nothing around it."""

from __future__ import annotations

import html


def framed(page: str, *, title: str, height: int) -> str:
    """Return the HTML of a cell's output that shows a page.

    A notebook that is not trusted strips frames and styles: what is left are the words that say what to do.

    Args:
        page: the whole page's HTML.
        title: what the frame is called.
        height: of the frame, in CSS pixels.
    """
    shown = html.escape(title)
    return (
        "<style>.attention-inspector-instead { display: none }</style>"
        f'<p class="attention-inspector-instead">{shown}. This picture is shown once the notebook is trusted, or its '
        "cell is run.</p>"
        f'<iframe sandbox="allow-scripts" title="{shown}" srcdoc="{html.escape(page)}" '
        f'style="width: 100%; height: {height}px; border: 0"></iframe>'
    )

"""Show a standalone page in a frame that can run its scripts and cannot reach the app.

Streamlit's own `st.iframe` gives a page this app's origin; `sandbox="allow-scripts"` alone gives it none, so that
nothing in it can read or click anything around it. frame.js is the other half.
"""

from __future__ import annotations

import re

from inspector.ui import shown_pictures
from inspector.ui.components.mounting import mounted
from inspector.views import View, headers

_mount = mounted(
    "frame",
    html='<iframe sandbox="allow-scripts" referrerpolicy="no-referrer" data-testid="frame"></iframe>',
    css="iframe { display: block; width: 100%; border: 0; border-radius: 8px; "
    "box-shadow: 0 0 0 1px var(--canvas-border); }",
)


def in_theme(html: str, *, dark: bool) -> str:
    """Return a page in another theme. It says its theme once, in its first element, in front of any token.

    Args:
        html: the page.
        dark: draw light on dark.

    Returns:
        The page.
    """
    return re.sub(r'data-theme="\w+"', f'data-theme="{"dark" if dark else "light"}"', html, count=1)


def page_frame(view: View, *, key: str) -> None:
    """Show a page at its full height and no wider than it draws, in the app's theme.

    Args:
        view: the page.
        key: names the component.
    """
    shown_pictures.keep(key, shown_pictures.Page(view.title.partition(",")[0], view.html))
    data = headers.frame_payload(view.html, title=view.title, height=view.height, width=view.width)
    _mount(data=data, key=key)

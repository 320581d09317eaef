"""Show the app's Explore screen in a notebook, as a widget or as a page of one file.

views.explore(trace)                                    # a widget: pip install "attention-inspector[notebook]"
views.explore_page(trace).save("explore.html")          # one file without a kernel, for anybody's browser
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inspector.errors import InspectorError
from inspector.trace.whole_numbers import shown
from inspector.views import standalone
from inspector.views.bertviz import View
from inspector.views.captions import Captions
from inspector.views.explore_data import explore_payload
from inspector.views.explore_message import ALL_UP_TO

if TYPE_CHECKING:
    from inspector.trace.trace import Trace


def explore(trace: Trace, layer: int | None = None, head: int | None = None) -> Any:
    """Show every head, one head's map, the text and the next tokens of a trace, on one choice.

    Choosing paints in the browser; the kernel is asked for single heads' exact numbers when they are looked at.

    Args:
        trace: the prompt's trace.
        layer: the layer to begin with, from 0; None: one is chosen.
        head: its query head, from 0.

    Returns:
        The widget, an Explorer, which shows itself; `explorer.close()` ends it.

    Raises:
        InspectorError: anywidget is not installed, or there is no such head.
    """
    selected = _selected(trace, layer, head)
    try:
        from inspector.views.widget import Explorer
    except ImportError as error:
        raise InspectorError(
            "Widgets need the package anywidget: run `pip install 'attention-inspector[notebook]'` and restart the "
            "kernel, or use views.explore_page(trace), which needs none."
        ) from error
    return Explorer(trace, selected)


def explore_page(trace: Trace, layer: int | None = None, head: int | None = None, *, dark: bool = False) -> View:
    """Put the Explore screen into one page that needs no server: all small pictures, roles, text and next tokens.

    Args:
        trace: the prompt's trace, of ALL_UP_TO tokens at most: then every head's weights are in the page, in float16.
        layer: the layer to begin with, from 0; None: one is chosen.
        head: its query head, from 0.
        dark: always dark; else as the reader's system is set.

    Returns:
        The page; it shows itself in a notebook, and `save` writes it.

    Raises:
        InspectorError: the prompt is longer, or there is no such head.
    """
    if trace.n > ALL_UP_TO:
        raise InspectorError(
            f"This prompt has {trace.n} tokens, and a page holds every head's weights of {ALL_UP_TO} at most: use a "
            "shorter prompt, views.grid_figure(trace), or views.explore(trace) beside a kernel."
        )
    _, message = explore_payload(trace, _selected(trace, layer, head))
    captions = Captions(trace, "Where each attention head looks", note="attention weights, to three digits (float16)")
    html = standalone.page(
        title=captions.title,
        facts=captions.facts,
        footer=captions.footer,
        component="explore",
        payload=message,
        dark=dark,
    )
    return View(html, captions.title, 1000, 1080)


def _selected(trace: Trace, layer: int | None, head: int | None) -> tuple[int, int] | None:
    """Return the head to begin with; refuse one that does not exist."""
    if layer is None and head is None:
        return None
    if layer is None or head is None:
        raise InspectorError(f"layer={shown(layer)}, head={shown(head)} name no head: give both, or neither.")
    trace.query(layer, head)  # refuses, in a sentence, a head that does not exist
    return layer, head

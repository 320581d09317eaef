"""Measure how many bytes a browser is sent to show one layer's heads, ours and BertViz's.

    stock   the page that bertviz.head_view makes of one layer (all its heads): weights as decimal text
    ours    the same view by `inspector.views.head_view`, the same numbers as float32; up to the length it stays usable
    layer   every head of that layer as the Heads page's pictures, all of them: float32, exact up to 1024 tokens
    head    one of them: what a click sends
    grid    the small pictures of all heads of all layers, which is what the Heads page opens with

Before sizes are given, the numbers are read back out of every page and are the trace's, bit for bit.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable
from typing import Any

from benchmarks.ways import ids_of

LAYER = 5


def measure(tokens: list[int]) -> dict[str, Any]:
    """Measure the bytes of each of the above, and the seconds that making it took.

    Args:
        tokens: prompt lengths.

    Returns:
        Sizes by length (None: not made).
    """
    import inspector

    model = inspector.load()
    return {str(n): of_trace(model.trace(ids_of(model, n))) for n in tokens}


def of_trace(trace: Any) -> dict[str, Any]:
    """Measure the sizes at one length, every page read back first.

    Args:
        trace: the prompt's trace.

    Returns:
        Bytes and seconds by name.
    """
    from inspector import views
    from inspector.analysis import thumbnails
    from inspector.errors import InspectorError

    heads = range(trace.layers[LAYER].heads)
    payloads, layer_seconds = _timed(lambda: [picture(trace, head) for head in heads])
    assert_pictures(trace, payloads)
    page, stock_seconds = _timed(lambda: stock(trace))
    assert_stock(trace, page)
    sizes: dict[str, Any] = {
        "layer": sum(map(len, payloads)),
        "layer_seconds": layer_seconds,
        "head": len(payloads[0]),
        "stock": len(page.encode()),
        "stock_seconds": stock_seconds,
        "grid": thumbnails.draw_thumbnails(trace).nbytes,
    }
    try:
        view, ours_seconds = _timed(lambda: views.head_view(trace, layers=[LAYER]))
    except InspectorError as why:  # more shapes than BertViz's script stays usable with
        return sizes | {"ours": None, "why": str(why)}
    assert_ours(trace, view.html)
    return sizes | {"ours": len(view.html.encode()), "ours_seconds": ours_seconds}


def picture(trace: Any, head: int) -> bytes:
    """Make the bytes that a browser is sent for one head.

    Args:
        trace: the prompt's trace.
        head: of LAYER.

    Returns:
        The payload.
    """
    from inspector.analysis import maps
    from inspector.views.map_headers import map_header, map_payload

    shown = maps.picture(trace, LAYER, head)
    header = map_header(shown, trace.tokens.labels, kind="weights", scale="sqrt", label="one head")
    return map_payload(header, shown.values)


def stock(trace: Any) -> str:
    """Make BertViz's own page of the layer's weights, as its user makes it.

    Args:
        trace: the prompt's trace.

    Returns:
        The page.
    """
    from bertviz import head_view

    shown = head_view([trace.weights(LAYER, None)[None]], list(trace.tokens.labels), html_action="return")
    page: str = shown.data
    return page


def assert_pictures(trace: Any, payloads: list[bytes]) -> None:
    """Assert that exact pictures have the trace's weights.

    Args:
        trace: the prompt's trace.
        payloads: of all heads of LAYER.
    """
    import numpy as np

    from inspector.views.payload import decode

    for head, payload in enumerate(payloads):
        header, numbers = decode(payload, np.float32)
        if header["pool"] == [1, 1]:
            _same(f"picture of head {head}", _square(trace.n, numbers), trace.weights(LAYER, head).numpy())


def assert_stock(trace: Any, page: str) -> None:
    """Assert that BertViz's page has the trace's weights.

    Args:
        trace: the prompt's trace.
        page: BertViz's.
    """
    import numpy as np

    text = page[page.index('"attn": ') + len('"attn": ') :]
    numbers, _ = json.JSONDecoder().raw_decode(text)
    _same("BertViz's page", np.array(numbers[0], np.float32), trace.weights(LAYER, None).numpy())


def assert_ours(trace: Any, page: str) -> None:
    """Assert that our page of the same view has the trace's weights.

    Args:
        trace: the prompt's trace.
        page: ours.
    """
    import numpy as np

    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    attention = data["attention"][0]["attn"]
    assert attention["lower"], "a causal layer travels without its upper triangle"
    numbers = np.frombuffer(base64.b64decode(attention["bytes"]), "<f4").reshape(attention["shape"][1], -1)
    for head, kept in enumerate(numbers):
        _same(f"our page, head {head}", _square(trace.n, kept), trace.weights(LAYER, head).numpy())


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def _square(n: int, lower: Any) -> Any:
    import numpy as np

    whole = np.zeros((n, n), np.float32)
    whole[np.tri(n, dtype=bool)] = lower
    return whole


def _same(name: str, found: Any, expected: Any) -> None:
    import numpy as np

    assert np.array_equal(found, expected), f"{name} does not hold the trace's weights"

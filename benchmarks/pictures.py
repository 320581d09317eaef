"""Measure what it costs the server to show one head, and all heads.

    head   what a click on another head makes the server do: that head's picture (its n x n weights, pooled for a long
           prompt), the bytes for the browser, and the table of its strongest pairs. The prompt's vectors are at hand.
    grid   the small pictures of all heads, the vectors at hand; above 1024 tokens as the app draws them, from a sample
           of query tokens
    eager  the same grid made from the library's own weights: one eager pass that keeps them all, then the same pooling

Before anything is timed: the picture a browser decodes is the trace's weights, bit for bit where it is not pooled, and
the eager ones to 2e-5; each cell of the grid is within two of 254 levels of the eager one's (a level is a square root:
next to zero, 2e-5 is 1.2 levels, and rounding adds a half).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.ways import WEIGHTS_APART, Run

SAMPLE = 64  # query tokens from which the app draws all heads of a long prompt (inspector/ui/server/results.py)
COMPARED_UP_TO = 512  # tokens: eager's weights of 512 are 0.3 GB
LEVELS_APART = 2
SHOWN = (5, 2)  # layer and head


def measure(trace: Any, eager: Run | None, rounds: int) -> dict[str, Any]:
    """Time each of the above.

    Args:
        trace: the prompt's trace.
        eager: the library's eager pass; None where the prompt is too long.
        rounds: how often each is timed.

    Returns:
        Seconds of each, and the bytes sent.
    """
    from inspector.analysis import maps, thumbnails

    ids = list(trace.tokens.ids)
    payload = head(trace)
    sample = SAMPLE if trace.n > maps.EXACT_UP_TO else None
    grid = thumbnails.draw_thumbnails(trace, sample=sample)
    work: dict[str, Callable[[], Any]] = {
        "head": lambda: head(trace),
        "grid": lambda: thumbnails.draw_thumbnails(trace, sample=sample),
    }
    if eager is not None and trace.n <= COMPARED_UP_TO:
        assert_equal(trace, payload, grid, eager(ids).attentions)
        work["eager"] = lambda: eager_grid(eager(ids).attentions)
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, do in work.items():
            start = time.perf_counter()
            do()
            taken[name].append(time.perf_counter() - start)
    found: dict[str, Any] = {name: statistics.median(seconds) for name, seconds in taken.items()}
    return found | {"head_bytes": len(payload), "grid_bytes": grid.nbytes}


def head(trace: Any) -> bytes:
    """Do what the server does for one head.

    Args:
        trace: the prompt's trace.

    Returns:
        The bytes it sends for the picture.
    """
    from inspector.analysis import maps
    from inspector.views.map_headers import map_header, map_payload

    picture = maps.picture(trace, *SHOWN)
    maps.strongest_pairs(trace, *SHOWN)
    header = map_header(picture, trace.tokens.labels, kind="weights", scale="sqrt", label="one head")
    return map_payload(header, picture.values)


def eager_grid(attentions: Any, side: int = 32) -> Any:
    """Pool all heads' weights by maximum to at most side x side.

    Args:
        attentions: the library's weights, [1, h, n, n] by layer.
        side: cells along one side, at most.

    Returns:
        [all heads, side, side], -1 where masked.
    """
    import torch

    from reimpl.blockwise import pool_max

    n = attentions[0].shape[-1]
    future = torch.ones(n, n, dtype=torch.bool).triu(1)
    return torch.cat([pool_max(layer[0].masked_fill(future, -1.0), -(-n // side)) for layer in attentions])


def assert_equal(trace: Any, payload: bytes, grid: Any, attentions: Any) -> None:
    """Assert that the picture and the grid have the library's weights.

    Args:
        trace: the prompt's trace.
        payload: the picture's bytes.
        grid: the small pictures.
        attentions: the library's eager weights by layer.
    """
    import numpy as np
    import torch

    from inspector.views.payload import decode

    layer, head = SHOWN
    header, numbers = decode(payload, np.float32)
    assert header["packing"] == "lower", "a causal picture travels without its upper triangle"
    shown = np.zeros(header["shape"], np.float32)
    shown[np.tri(*shown.shape, dtype=np.bool_)] = numbers
    if header["pool"] == [1, 1]:
        assert np.array_equal(shown, trace.weights(layer, head).numpy()), "the picture is not the trace's weights"
        apart = float(np.abs(shown - attentions[layer][0, head].numpy()).max())
        assert apart <= WEIGHTS_APART, f"the picture's weights differ from eager ones by {apart:.2g}"
    pooled = eager_grid(attentions)
    levels = torch.where(pooled < 0, 0.0, 1 + 254 * pooled.clamp(0, 1).sqrt())
    found = torch.from_numpy(grid.pixels.astype(np.float32))
    assert found.shape == levels.shape, f"the grid has shape {list(found.shape)}, not {list(levels.shape)}"
    assert torch.equal(found == 0, levels == 0), "the grid's masked cells are not the causal ones"
    worst = float((found - levels).abs().max())
    assert worst <= LEVELS_APART, f"the grid differs from eager attention's by {worst:.1f} levels"

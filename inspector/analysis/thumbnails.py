"""Draw the small pictures of all heads, which show at a glance where each of them looks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from inspector.analysis.maps import EXACT_UP_TO, Picture, cells_of, scaled_up
from inspector.trace.trace import STRIP_BYTES
from reimpl.blockwise import pool_max

if TYPE_CHECKING:
    from inspector.capture.records import LayerInfo, OnLayer
    from inspector.trace.trace import Trace

THUMBNAIL = 32  # cells along one side of a head's small picture, at most
Change = Callable[[torch.Tensor], torch.Tensor]  # what is done to rows of weights before they are pooled
MASKED = 0  # a thumbnail's level for "may not attend there"; 1..255 are weights


@dataclass(frozen=True)
class Thumbnails:
    """Small pictures of all heads.

    Attributes:
        pixels: [all heads, side, side] uint8, layer after layer. Level 0 is masked; level u in 1..255 is the weight
            ((u - 1) / 254) squared: a square root keeps weights down to 4e-6 apart from zero, where equal steps would
            lose all under 1/510.
        pool: tokens along one side of a cell.
        n: tokens of the prompt.
        sample: from how many query rows they are drawn (None: from all), but for the heads in `whole`.
        whole: places among all heads of those drawn from all their query rows.
        failed: how many heads could not be drawn from all their query rows.
    """

    pixels: npt.NDArray[np.uint8]
    pool: int
    n: int
    sample: int | None = None
    whole: frozenset[int] = frozenset()
    failed: int = 0

    @property
    def nbytes(self) -> int:
        """Return the bytes of the pixels."""
        return self.pixels.nbytes

    @property
    def left(self) -> int:
        """Count the heads that are still to be drawn from all query rows."""
        return 0 if self.sample is None else len(self.pixels) - len(self.whole) - self.failed

    def said(self) -> str:
        """Say in words from how many query tokens the pictures are drawn; empty where from all."""
        if self.sample is None:
            return ""
        rest = f"; {len(self.whole)} of {len(self.pixels)} heads from all of them" if self.whole else ""
        if self.failed:
            rest += f"; {self.failed} could not be"
        return f"drawn from {self.sample:,} of {self.n:,} query tokens{rest}"

    def with_whole(self, drawn: Mapping[int, npt.NDArray[np.uint8] | None]) -> Thumbnails:
        """Return the same with some heads drawn from all their query rows.

        Args:
            drawn: a head's place among all -> its cells [side, side] as `draw_thumbnail` or `shrunk` gives them; None
                where that failed: the head stays as it is.

        Returns:
            New thumbnails; these are unchanged.
        """
        found = {place: cells for place, cells in drawn.items() if cells is not None}
        if not drawn:
            return self
        pixels = self.pixels.copy()
        for place, cells in found.items():
            pixels[place] = cells
        whole, failed = self.whole | found.keys(), len(drawn) - len(found)
        sample = self.sample if len(whole) < len(pixels) else None
        return replace(self, pixels=pixels, whole=whole, failed=failed, sample=sample)

    def telling(self, layers: Sequence[LayerInfo]) -> tuple[int, int]:
        """Choose a first head to look at: the one that attends most to single tokens other than the first and itself.

        Args:
            layers: what is known of each layer, in order.

        Returns:
            Its layer and head.
        """
        side = self.pixels.shape[-1]
        levels = self.pixels.astype(np.float32)
        others = np.tri(side, k=-1, dtype=bool)  # below the diagonal
        others[:, 0] = False
        strength = np.where(others, levels, 0).max(axis=2)[:, 2:].mean(axis=1) if side > 2 else levels[:, 0, 0]
        best = int(strength.argmax())
        for layer in layers:
            if best < layer.heads:
                return layer.index, best
            best -= layer.heads
        return 0, 0


def draw_thumbnails(
    trace: Trace,
    *,
    side: int = THUMBNAIL,
    sample: int | None = None,
    without_first: bool = False,
    on_layer: OnLayer | None = None,
) -> Thumbnails:
    """Draw every head of every layer, max-pooled, with one layer in memory at a time.

    Args:
        trace: the prompt's trace.
        side: cells along one side, at most.
        sample: draw them from about so many query rows, spread evenly, each with all its keys (None: from all rows).
            What the other rows attend to is then not in the pictures.
        without_first: leave out the first token's column and scale the rest of each row up, as `maps.picture` does.
        on_layer: called as on_layer(done, total) after each layer; what it raises ends the work.

    Returns:
        The pictures; heads of layers whose weights cannot be computed are masked throughout.
    """
    k = small_pool(trace.n, side)
    rows = None if sample is None or sample >= trace.n else spread(trace.n, k, sample)
    layers = []
    for info in trace.layers:
        if not weights_known(trace, info.index):
            layers.append(_levels(torch.full((info.heads, -(-trace.n // k), -(-trace.n // k)), -1.0)))
            continue
        change = scaled_up if without_first else None
        pooled = _all_heads(trace, info, k, change) if rows is None else _some_rows(trace, info, k, rows, change)
        layers.append(_levels(pooled))
        if on_layer is not None:
            on_layer(len(layers), len(trace.layers))
    return Thumbnails(torch.cat(layers).numpy(), k, trace.n, None if rows is None else len(rows))


def draw_thumbnail(trace: Trace, layer: int, head: int, pool: int) -> npt.NDArray[np.uint8]:
    """Draw one head's small picture from all its query rows, as `draw_thumbnails` draws it.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        head: a query head, counted from 0.
        pool: tokens along one side of a cell.

    Returns:
        [side, side] uint8, in the levels of Thumbnails.
    """
    side = -(-trace.n // pool)
    cells = torch.full((side, side), -1.0)
    if weights_known(trace, layer):
        _pool_into(cells, trace, layer, head, pool)
    return _levels(cells).numpy()


def shrunk(found: Picture, pool: int) -> npt.NDArray[np.uint8]:
    """Shrink one head's picture of weights to the small picture that Thumbnails has of this head.

    Args:
        found: the picture.
        pool: tokens along one side of a small picture's cell, a multiple of the picture's own.

    Returns:
        [side, side] uint8, in the levels of Thumbnails.
    """
    return _levels(pool_max(torch.from_numpy(found.values).nan_to_num(-1.0), pool // found.pool)).numpy()


def small_pool(n: int, side: int = THUMBNAIL) -> int:
    """Return how many tokens a small picture's cell stands for, along one side.

    Cells are whole cells of `maps.picture`, so that one can be drawn from the other.

    Args:
        n: tokens of the prompt.
        side: cells along one side, at most.

    Returns:
        Tokens along one side of a cell.
    """
    pool = -(-n // EXACT_UP_TO)
    return pool * -(-n // (pool * side))


def spread(n: int, k: int, count: int) -> list[int]:
    """Choose about `count` of n positions, the same number from each k, evenly apart.

    Args:
        n: how many positions there are.
        k: positions in a block.
        count: about how many to choose.

    Returns:
        Positions in order; at least one of each block.
    """
    blocks = -(-n // k)
    each = max(1, count // blocks)
    found = {
        start + (2 * i + 1) * min(k, n - start) // (2 * each) for start in range(0, n, k) for i in range(each)
    }  # fmt: skip
    return sorted(found)


def weights_known(trace: Trace, layer: int) -> bool:
    """Return whether a layer's weights can be computed from what is stored.

    Args:
        trace: the prompt's trace.
        layer: counts attention layers from 0.

    Returns:
        False where the layer's vectors are not stored, or do not explain what the library computed.
    """
    return trace.stored[layer].has_vectors and not trace.stored[layer].unexplained


def _all_heads(trace: Trace, info: LayerInfo, k: int, change: Change | None) -> torch.Tensor:
    """Pool every head of a layer to [h, side, side], -1 where the mask forbids every pair of the cell."""
    side = -(-trace.n // k)
    cells = torch.full((info.heads, side, side), -1.0)
    together = 4 * info.heads * k * trace.n <= STRIP_BYTES  # as strips are at least k rows high
    for head in [None] if together else range(info.heads):
        _pool_into(cells if head is None else cells[head], trace, info.index, head, k, change)
    return cells


def _pool_into(
    cells: torch.Tensor, trace: Trace, layer: int, head: int | None, k: int, change: Change | None = None
) -> None:
    """Write the weights of a head (None: of each), pooled, over `cells`; where the mask forbids all, -1."""
    for rows, keys in trace.strips(layer, head, align=k):
        weights = trace.weights(layer, head, queries=rows, keys=keys).detach().float()
        if change is not None and keys.start == 0:
            weights = change(weights)
        pooled = pool_max(weights.masked_fill(~_in_any_head(trace, layer, head, rows, keys), -1.0), k).cpu()
        cells[..., cells_of(rows, k), cells_of(keys, k)] = pooled


def _in_any_head(
    trace: Trace, layer: int, head: int | None, rows: slice | list[int], keys: slice | None = None
) -> torch.Tensor:
    """Return where a head (None: any head of the layer) may look, [t, s]."""
    if head is None and not trace.stored[layer].one_mask:
        return trace.allowed(layer, queries=rows, keys=keys).any(0)
    return trace.allowed(layer, head or 0, queries=rows, keys=keys)


def _some_rows(trace: Trace, info: LayerInfo, k: int, rows: list[int], change: Change | None) -> torch.Tensor:
    """Pool every head of a layer from these query rows alone: [h, side, side]."""
    side = -(-trace.n // k)
    weights = trace.weights(info.index, queries=rows).detach().float()  # [h, rows, n]
    if change is not None:
        weights = change(weights)
    seen = weights.masked_fill(~_in_any_head(trace, info.index, None, rows), -1.0)
    seen = functional.pad(seen, (0, side * k - trace.n), value=-1.0)
    columns = seen.view(*seen.shape[:2], side, k).amax(-1).cpu()
    cells = torch.full((info.heads, side, side), -1.0)
    block = torch.tensor(rows) // k
    for at in sorted(set(block.tolist())):
        cells[:, at] = columns[:, block == at].amax(1)
    return cells


def _levels(pooled: torch.Tensor) -> torch.Tensor:
    """Turn weights, -1 for masked, into the levels of Thumbnails."""
    encoded = torch.where(pooled < 0, float(MASKED), 1 + torch.round(254 * pooled.clamp(0, 1).sqrt()))
    return encoded.to(torch.uint8)

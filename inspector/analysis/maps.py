"""A trace goes in; pooled maps, small pictures of every head and tables of the strongest pairs come out.

Nothing here keeps an n x n tensor of more than one head: long prompts are read in strips of query rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch.nn import functional

from inspector.trace.trace import STRIP_BYTES
from reimpl.blockwise import Strip, pool_max

if TYPE_CHECKING:
    from inspector.capture.records import LayerInfo
    from inspector.trace.trace import Trace

Kind = Literal["weights", "scaled_scores", "weighted_values"]

EXACT_UP_TO = 1024  # tokens whose every cell is sent; more than a canvas can show side by side is pooled
THUMBNAIL = 32  # cells along one side of a head's small picture, at most
MASKED = 0  # a thumbnail's level for "cannot look there"; 1..255 are weights


@dataclass(frozen=True)
class Picture:
    """One head's map, [rows, columns] float32, NaN where the mask forbids every pair of the cell.

    `pool` is k: each cell stands for k x k pairs (1: exact) and holds the largest of them.
    """

    values: npt.NDArray[np.float32]
    pool: int
    n: int


@dataclass(frozen=True)
class Thumbnails:
    """A small picture of every head: `pixels` [all heads, side, side] uint8, layer after layer.

    Level 0 is masked; level u in 1..255 is the weight ((u - 1) / 254) squared: a square root keeps weights
    down to 4e-6 apart from zero, where equal steps would lose all under 1/510.
    sample: from how many query rows they are drawn (None: from all), but for the heads in `whole`; failed: how many
    could not be drawn from all.
    """

    pixels: npt.NDArray[np.uint8]
    pool: int
    n: int
    sample: int | None = None
    whole: frozenset[int] = frozenset()
    failed: int = 0

    @property
    def nbytes(self) -> int:
        return self.pixels.nbytes

    @property
    def left(self) -> int:
        """How many heads are still to be drawn from all query rows."""
        return 0 if self.sample is None else len(self.pixels) - len(self.whole) - self.failed

    def said(self) -> str:
        """From how many query tokens the pictures are drawn, in words; empty where from all."""
        if self.sample is None:
            return ""
        rest = f"; {len(self.whole)} of {len(self.pixels)} heads from all of them" if self.whole else ""
        if self.failed:
            rest += f"; {self.failed} could not be"
        return f"drawn from {self.sample:,} of {self.n:,} query tokens{rest}"

    def with_whole(self, drawn: Mapping[int, npt.NDArray[np.uint8] | None]) -> Thumbnails:
        """The same with some heads (by their place among all) drawn from all their query rows, as `draw_thumbnail` or
        `shrunk` gives them; None: that failed, and the head stays as it is."""
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
        """(layer, head) of the head with the most to see: the one that looks hardest at single tokens that
        are neither the first one nor the token itself. A first thing to look at, nothing more."""
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


def picture(
    trace: Trace,
    layer: int,
    head: int,
    *,
    kind: Kind = "weights",
    without_first: bool = False,
    exact_up_to: int = EXACT_UP_TO,
) -> Picture:
    """One head's numbers for a canvas: exact, or pooled for a long prompt.

    kind: weights, scaled_scores, or weighted_values (each weight times the length of the value vector it brings).
    without_first: the first token's column left out and the other weights of each row scaled up to the row's sum.
    """
    k = -(-trace.n // exact_up_to)
    side = -(-trace.n // k)
    cells = torch.full((side, side), torch.nan)
    for strip, values in _strips(trace, layer, head, kind, align=k, without_first=without_first):
        # -inf, not -1: scores are negative too, and a forbidden pair must never win its block.
        seen = values.masked_fill(~trace.allowed(layer, strip.rows, head, strip.keys), -torch.inf)
        pooled = pool_max(seen, k).cpu()
        cells[_blocks(strip.rows, k), _blocks(strip.keys, k)] = pooled.masked_fill(pooled == -torch.inf, torch.nan)
    return Picture(cells.numpy(), k, trace.n)


def shrunk(found: Picture, pool: int) -> npt.NDArray[np.uint8]:
    """A picture of weights as the small one of `pool` x `pool` pairs a cell (a multiple of its own) that Thumbnails
    has of this head."""
    return _levels(pool_max(torch.from_numpy(found.values).nan_to_num(-1.0), pool // found.pool)).numpy()


def window(
    trace: Trace,
    layer: int,
    head: int,
    rows: slice,
    columns: slice,
    *,
    kind: Kind = "weights",
    without_first: bool = False,
) -> npt.NDArray[np.float32]:
    """Exact numbers of some query rows and key columns of one head, NaN where the mask forbids."""
    values = _numbers(trace, layer, head, kind, rows, without_first=without_first)
    seen = values.masked_fill(~trace.allowed(layer, queries=rows, head=head), torch.nan)
    return seen[:, columns].cpu().numpy()


def by_words(
    trace: Trace, layer: int, head: int, groups: Sequence[Sequence[int]], *, without_first: bool = False
) -> npt.NDArray[np.float32]:
    """Weights between groups of tokens: summed over a group's key tokens, averaged over its query tokens.

    What a word gives to another is then again a share: rows keep their sum. NaN where no pair is allowed.
    """
    weights = _numbers(trace, layer, head, "weights", slice(0, trace.n), without_first=without_first).cpu()
    members = torch.zeros(len(groups), trace.n)
    for row, group in enumerate(groups):
        members[row, list(group)] = 1.0
    means = members / members.sum(1, keepdim=True)
    may = members @ trace.allowed(layer, head=head).float().cpu() @ members.T > 0
    merged = means @ weights @ members.T
    return merged.masked_fill(~may, torch.nan).numpy()


def draw_thumbnails(
    trace: Trace,
    *,
    side: int = THUMBNAIL,
    sample: int | None = None,
    on_layer: Callable[[int, int], None] | None = None,
) -> Thumbnails:
    """Every head of every layer, max-pooled to at most side x side; one layer in memory at a time.

    sample: draw them from about so many query rows, spread evenly, each with all its keys (None: from all rows). What
    the other rows look at is then not in the pictures.
    """
    k = small_pool(trace.n, side)
    rows = None if sample is None or sample >= trace.n else spread(trace.n, k, sample)
    layers = []
    for info in trace.layers:
        if not trace.stored[info.index].has_vectors:
            layers.append(_levels(torch.full((info.heads, -(-trace.n // k), -(-trace.n // k)), -1.0)))
            continue
        pooled = _all_heads(trace, info, k) if rows is None else _some_rows(trace, info, k, rows)
        layers.append(_levels(pooled))
        if on_layer is not None:
            on_layer(len(layers), len(trace.layers))
    return Thumbnails(torch.cat(layers).numpy(), k, trace.n, None if rows is None else len(rows))


def small_pool(n: int, side: int = THUMBNAIL) -> int:
    """Of how many tokens a small picture's cell is, on a side: whole cells of `picture`, so that one can be drawn from
    the other."""
    pool = -(-n // EXACT_UP_TO)
    return pool * -(-n // (pool * side))


def spread(n: int, k: int, count: int) -> list[int]:
    """About `count` of n positions, the same number from each k, evenly apart."""
    blocks = -(-n // k)
    each = max(1, count // blocks)
    found = {
        start + (2 * i + 1) * min(k, n - start) // (2 * each) for start in range(0, n, k) for i in range(each)
    }  # fmt: skip
    return sorted(found)


def _all_heads(trace: Trace, info: LayerInfo, k: int) -> torch.Tensor:
    """Every head of a layer pooled to [h, side, side], -1 where the mask forbids every pair of the cell."""
    side = -(-trace.n // k)
    cells = torch.full((info.heads, side, side), -1.0)
    together = 4 * info.heads * k * trace.n <= STRIP_BYTES  # as strips are at least k rows high
    for head in [None] if together else range(info.heads):
        _pool_into(cells if head is None else cells[head], trace, info.index, head, k)
    return cells


def draw_thumbnail(trace: Trace, layer: int, head: int, pool: int) -> npt.NDArray[np.uint8]:
    """One head's small picture from all its query rows, [side, side], as Thumbnails of this `pool` has it."""
    side = -(-trace.n // pool)
    cells = torch.full((side, side), -1.0)
    if trace.stored[layer].has_vectors:
        _pool_into(cells, trace, layer, head, pool)
    return _levels(cells).numpy()


def _pool_into(cells: torch.Tensor, trace: Trace, layer: int, head: int | None, k: int) -> None:
    """Write the weights of a head (None: of each), pooled, over `cells`; where the mask forbids all, -1."""
    for rows, keys in trace.strips(layer, head, align=k):
        weights = trace.weights(layer, head, rows, keys).detach().float()
        pooled = pool_max(weights.masked_fill(~trace.allowed(layer, rows, head, keys), -1.0), k).cpu()
        cells[..., _blocks(rows, k), _blocks(keys, k)] = pooled


def _some_rows(trace: Trace, info: LayerInfo, k: int, rows: list[int]) -> torch.Tensor:
    """The same from these query rows alone."""
    side = -(-trace.n // k)
    weights = trace.weights(info.index, None, rows).detach().float()  # [h, rows, n]
    seen = weights.masked_fill(~trace.allowed(info.index, rows), -1.0)
    seen = functional.pad(seen, (0, side * k - trace.n), value=-1.0)
    columns = seen.view(*seen.shape[:2], side, k).amax(-1).cpu()
    cells = torch.full((info.heads, side, side), -1.0)
    block = torch.tensor(rows) // k
    for at in block.unique().tolist():
        cells[:, at] = columns[:, block == at].amax(1)
    return cells


def _levels(pooled: torch.Tensor) -> torch.Tensor:
    """Weights, -1 for masked, as the levels of Thumbnails."""
    encoded = torch.where(pooled < 0, float(MASKED), 1 + torch.round(254 * pooled.clamp(0, 1).sqrt()))
    return encoded.to(torch.uint8)


def strongest_pairs(trace: Trace, layer: int, head: int, *, count: int = 50, first_token: bool = True) -> pd.DataFrame:
    """The `count` largest attention weights of one head, largest first.

    `first_token=False` leaves out key token 0: in many models most attention goes there (the attention
    sink) and hides the rest. Columns: query position, query token, key position, key token, weight.
    """
    best = torch.empty(0)
    where = torch.empty(0, dtype=torch.long)  # t * n + s
    for strip, values in _strips(trace, layer, head, "weights"):
        seen = values.masked_fill(~trace.allowed(layer, strip.rows, head, strip.keys), -1.0).cpu()
        if not first_token and strip.keys.start == 0:
            seen[:, 0] = -1.0
        flat = seen.flatten()
        top = flat.topk(min(count, flat.numel()))
        rows = top.indices // seen.shape[1] + strip.rows.start
        columns = top.indices % seen.shape[1] + strip.keys.start
        best, where = torch.cat([best, top.values]), torch.cat([where, rows * trace.n + columns])
    order = best.argsort(descending=True, stable=True)[:count]
    order = order[best[order] >= 0]
    query, key = (where[order] // trace.n).tolist(), (where[order] % trace.n).tolist()
    labels = trace.tokens.labels
    return pd.DataFrame(
        {
            "query position": query,
            "query token": [labels[t] for t in query],
            "key position": key,
            "key token": [labels[s] for s in key],
            "weight": best[order].double().numpy(),
        }
    )


def head_vectors(trace: Trace, layer: int, head: int) -> dict[str, npt.NDArray[np.float32]]:
    """Query and key before and after rotation, and value, of one head: each [n, d_head] float32.

    In a layer without RoPE there is no "before", and where rotation cannot be switched off it is not known: query and
    key come once.
    """
    found: dict[str, torch.Tensor] = {}
    if trace.layers[layer].rope:
        found["query before RoPE"] = trace.query(layer, head, rope=False)
        found["query after RoPE"] = trace.query(layer, head)
        found["key before RoPE"] = trace.key(layer, head, rope=False)
        found["key after RoPE"] = trace.key(layer, head)
    else:
        found["query"] = trace.query(layer, head)
        found["key"] = trace.key(layer, head)
    found["value"] = trace.value(layer, head)
    return {name: values.detach().float().cpu().numpy() for name, values in found.items()}


def vector_frame(values: npt.NDArray[np.float32], labels: Sequence[str]) -> pd.DataFrame:
    """One kind of vector as numbers: a row per token, the columns token, 0, 1, ... d_head - 1."""
    frame = pd.DataFrame(values.astype(np.float64))
    frame.columns = pd.Index([str(d) for d in range(values.shape[1])])
    frame.insert(0, "token", list(labels))
    return frame


def lengths(found: Mapping[str, npt.NDArray[np.float32]], labels: Sequence[str]) -> pd.DataFrame:
    """The Euclidean length of each token's vectors; a column per kind of vector."""
    columns = {name: np.linalg.norm(values.astype(np.float64), axis=1) for name, values in found.items()}
    return pd.DataFrame({"token": list(labels), **columns})


def cosines(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Cosine of the angle between every two tokens' vectors [n, n]: 1 the same direction, 0 at right angles."""
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    turned = values / np.maximum(lengths, np.finfo(np.float32).tiny)
    return np.clip(turned @ turned.T, -1, 1).astype(np.float32)


def projection(
    queries: npt.NDArray[np.float32], keys: npt.NDArray[np.float32], labels: Sequence[str]
) -> tuple[pd.DataFrame, float]:
    """Queries and keys together on the plane in which they differ most (their first two principal components).

    Columns: vector (query or key), position, token, x, y. Also the share of all variance that the plane shows.
    """
    both = np.concatenate([queries, keys]).astype(np.float64)
    centred = both - both.mean(axis=0)
    _, spread, directions = np.linalg.svd(centred, full_matrices=False)
    at = centred @ directions[:2].T
    if at.shape[1] < 2:
        at = np.pad(at, ((0, 0), (0, 2 - at.shape[1])))
    whole = float((spread**2).sum())
    n = len(labels)
    frame = pd.DataFrame(
        {
            "vector": ["query"] * n + ["key"] * n,
            "position": [*range(n), *range(n)],
            "token": [*labels, *labels],
            "x": at[:, 0],
            "y": at[:, 1],
        }
    )
    return frame, float((spread[:2] ** 2).sum()) / whole if whole else 1.0


def pool_rows(values: npt.NDArray[np.float32], *, exact_up_to: int = EXACT_UP_TO) -> Picture:
    """Vectors of all tokens [n, d] for a canvas; in a long prompt each row is the number farthest from zero
    of k tokens."""
    n = len(values)
    k = -(-n // exact_up_to)
    if k > 1:
        padded = np.zeros((-(-n // k) * k, values.shape[1]), dtype=np.float32)
        padded[:n] = values
        blocks = padded.reshape(-1, k, values.shape[1])
        farthest = np.abs(blocks).argmax(axis=1)
        values = np.take_along_axis(blocks, farthest[:, None], axis=1)[:, 0]
    return Picture(np.ascontiguousarray(values), k, n)


def _blocks(part: slice, k: int) -> slice:
    """Which cells of k tokens a stretch of tokens fills."""
    return slice(part.start // k, -(-part.stop // k))


def _numbers(
    trace: Trace,
    layer: int,
    head: int,
    kind: Kind,
    rows: slice,
    keys: slice | None = None,
    *,
    without_first: bool = False,
) -> torch.Tensor:
    """Some query rows of one head's numbers, [t, s] float32, nothing masked out; `keys` as `trace.strips` gives it."""
    if kind == "scaled_scores":
        return trace.scaled_scores(layer, head, rows, keys).detach().float()
    weights = trace.weights(layer, head, rows, keys).detach().float()
    if without_first and (keys is None or keys.start == 0):
        whole = weights.sum(-1, keepdim=True)
        weights = weights.clone()
        weights[:, 0] = 0.0
        rest = weights.sum(-1, keepdim=True)
        weights = torch.where(rest > 0, weights * whole / rest, weights)
    if kind == "weights":
        return weights
    return weights * trace.value(layer, head)[keys or slice(None)].detach().float().norm(dim=-1)


def _strips(
    trace: Trace, layer: int, head: int, kind: Kind, *, align: int = 1, without_first: bool = False
) -> Iterator[tuple[Strip, torch.Tensor]]:
    """One head's rows, strip by strip, with the keys that a strip's rows may look at."""
    for strip in trace.strips(layer, head, align=align):
        yield strip, _numbers(trace, layer, head, kind, strip.rows, strip.keys, without_first=without_first)

"""Show what dropout would make of a row of attention weights at training time, by torch's own dropout.

And the other side: what the model's config says, and that two runs of the same prompt are equal, since at inference
nothing is dropped.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch.nn import functional

from inspector.errors import InspectorError
from inspector.model.model import model_of

if TYPE_CHECKING:
    from inspector.trace.trace import Trace

DRAWS = (1, 10, 100, 1000)
AGAIN_UP_TO = 2048  # tokens that are run a second time
DRAWN_BYTES = 64 * 2**20

Row = npt.NDArray[np.float64]

_LOCK = threading.Lock()  # torch's dropout draws its random numbers from one generator for the whole process


@dataclass(frozen=True)
class AtInference:
    """What dropout does at inference: nothing.

    Attributes:
        rate: the dropout that the layer's config asks for at training time.
        training: whether the model is in training mode.
        differing: how many numbers differ between two runs: queries, keys and values of all layers, and last logits.
        elements: how many were compared.
    """

    rate: float
    training: bool
    differing: int
    elements: int


def rate(trace: Trace, layer: int) -> float:
    """Return the dropout on attention weights that the model's config asks for.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.

    Returns:
        A probability.

    Raises:
        InspectorError: the trace has no model, or its family is not reimplemented.
    """
    return model_of(trace, "its dropout setting").reimplementation[layer].spec.dropout


def at_inference(trace: Trace, layer: int) -> AtInference:
    """Run the same tokens once more and compare.

    Args:
        trace: the prompt's trace.
        layer: the layer whose dropout is reported.

    Returns:
        How many numbers differ.

    Raises:
        InspectorError: the trace has no model, or the prompt is too long.
    """
    said = rate(trace, layer)
    model = model_of(trace, "a second run")
    if trace.n > AGAIN_UP_TO:
        raise InspectorError(
            f"This prompt has {trace.n:,} tokens; at most {AGAIN_UP_TO:,} are run a second time: shorten it to compare."
        )
    again = model.trace(list(trace.tokens.ids))
    pairs = [
        (mine, new)
        for one, other in zip(trace.stored, again.stored, strict=True)
        for mine, new in ((one.query, other.query), (one.key, other.key), (one.value, other.value))
    ]
    if trace.last_logits is not None and again.last_logits is not None:
        pairs.append((trace.last_logits, again.last_logits))
    return AtInference(
        rate=said,
        training=model.model.training,
        differing=sum(int((mine != new).sum()) for mine, new in pairs),
        elements=sum(mine.numel() for mine, _ in pairs),
    )


def row_of(trace: Trace, layer: int, head: int, query: int) -> tuple[list[int], Row]:
    """Return the keys that a query token may attend to, and their weights.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        head: a query head, counted from 0.
        query: the query token's position.

    Returns:
        Positions of k keys, and weights [k].
    """
    rows = slice(query, query + 1)
    keys: list[int] = trace.allowed(layer, head, queries=rows)[0].nonzero().flatten().tolist()
    found: Row = trace.weights(layer, head, queries=rows)[0, keys].double().cpu().numpy()
    return keys, found


def dropped(row: Row, p: float, *, seed: int, training: bool = True, draws: int = 1) -> Row:
    """Apply dropout to a row: set each weight to 0 with probability p, and divide the others by 1 - p.

    The mean stays. The same seed gives the same draws.

    Args:
        row: weights [k].
        p: a probability below 1.
        seed: of torch's random numbers.
        training: False leaves the row unchanged.
        draws: how often the row is drawn.

    Returns:
        [draws, k].

    Raises:
        InspectorError: p is not a probability below 1.
    """
    if not 0 <= p < 1:
        raise InspectorError(f"A dropout of {p:g} is not a probability below 1: choose 0 to 0.9.")
    with _LOCK, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = functional.dropout(torch.from_numpy(row).expand(draws, -1), p=p, training=training)
    found: Row = made.numpy()
    return found


def averages(row: Row, p: float, *, seed: int, draws: Sequence[int] = DRAWS) -> tuple[pd.DataFrame, Row]:
    """Show how the mean over more and more draws comes back to the row without dropout.

    Args:
        row: weights [k].
        p: a probability below 1.
        seed: of torch's random numbers.
        draws: over how many draws the means are taken.

    Returns:
        A row per number of draws: draws; largest difference of the mean from the row; expected, the largest standard
        deviation of such a mean, weight · √(p / (1-p) / draws). And the mean over the most draws [k].

    Raises:
        InspectorError: the draws take too much memory, or p is not a probability below 1.
    """
    most = max(draws)
    if most * row.nbytes > DRAWN_BYTES:
        raise InspectorError(
            f"{most:,} draws of a row of {len(row):,} weights take more than {DRAWN_BYTES // 2**20} MB: choose a query "
            "token nearer the beginning."
        )
    every = dropped(row, p, seed=seed, draws=most)
    frame = pd.DataFrame(
        {
            "draws": list(draws),
            "largest difference": [float(np.abs(every[:many].mean(0) - row).max()) for many in draws],
            "expected": [float(row.max()) * math.sqrt(p / (1 - p) / many) for many in draws],
        }
    )
    return frame, every.mean(0)

"""Compute the documents' toy of "it" and "cat", and rank a real model's heads by how one token attends to another.

The toy has five numbers a vector and is `reimpl.stepwise`, plain loops over Python numbers; heads are ranked by one
row of weights each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from inspector.errors import InspectorError
from inspector.text import refuse_other
from reimpl.spec import MaskRule
from reimpl.stepwise import Steps, attend_one

if TYPE_CHECKING:
    from inspector.capture.records import OnLayer
    from inspector.trace.tokens import Tokens
    from inspector.trace.trace import Trace

SENTENCE = "The cat sat on the mat because it was tired."
# The documents' numbers. They go on with an assumed weight of 0.70 for "cat"; `scale_for` says what would give it.
VECTORS: dict[str, tuple[float, ...]] = {
    "q_it": (0.9, 0.1, 0.0, 0.2, 0.3),
    "k_it": (0.1, 0.3, 0.2, 0.0, 0.4),
    "v_it": (0.2, 0.5, 0.1, 0.0, 0.7),
    "q_cat": (0.2, 0.4, 0.1, 0.3, 0.0),
    "k_cat": (0.8, 0.2, 0.0, 0.1, 0.3),
    "v_cat": (0.7, 0.6, 0.2, 0.4, 0.1),
}
ASSUMED = 0.70
Word = Literal["it", "cat"]
KEYS: tuple[Word, ...] = get_args(Word)


@dataclass(frozen=True)
class Toy:
    """One of the two words as the query, both as keys, in the order of KEYS.

    Attributes:
        query: the word.
        d: numbers in a query or key vector.
        unscaled: the steps with scores as they are.
        scaled: the steps with scores divided by sqrt(d).
    """

    query: Word
    d: int
    unscaled: Steps
    scaled: Steps


def compute_toy(vectors: Mapping[str, Sequence[float]] = VECTORS, *, query: Word = "it") -> Toy:
    """Compute the attention of one word over both.

    Args:
        vectors: q_it, k_it, v_it, q_cat, k_cat, v_cat -> numbers.
        query: the word that attends.

    Returns:
        The steps, with scores as they are and scaled.

    Raises:
        InspectorError: there is no such word, or the vectors differ in length.
    """
    refuse_other(query, KEYS, "word of the toy")
    d = len(vectors[f"q_{query}"])
    for kind in ("q", "k"):
        for word in KEYS:
            if len(vectors[f"{kind}_{word}"]) != d:
                found = len(vectors[f"{kind}_{word}"])
                raise InspectorError(
                    f"{kind}_{word} has {found} numbers and q_{query} has {d}: a dot product needs as many in both."
                )
    if len(vectors["v_it"]) != len(vectors["v_cat"]):
        raise InspectorError(
            f"v_it has {len(vectors['v_it'])} numbers and v_cat has {len(vectors['v_cat'])}: to be added up they need "
            "as many."
        )
    keys, values = ([vectors[f"{kind}_{word}"] for word in KEYS] for kind in ("k", "v"))
    attended = (attend_one(vectors[f"q_{query}"], keys, values, scale=scale) for scale in (1.0, 1 / math.sqrt(d)))
    return Toy(query, d, *attended)


def scale_for(made: Toy, weight: float) -> float | None:
    """Return the scale at which the softmax over both scores gives "cat" a certain weight.

    Args:
        made: the toy.
        weight: between 0 and 1.

    Returns:
        The scale; None where the scores are equal.
    """
    it, cat = made.unscaled.scores
    return None if it == cat else math.log(weight / (1 - weight)) / (cat - it)


def word_of(tokens: Tokens, position: int) -> tuple[int, ...]:
    """Return the positions of the word that a token is part of.

    Args:
        tokens: the prompt's tokens.
        position: of the token.

    Returns:
        Token positions.
    """
    return next(group for group in tokens.words if position in group)


def visible(trace: Trace, query: int) -> list[int]:
    """Return the key positions that a query token may attend to in some layer.

    Args:
        trace: the prompt's trace.
        query: the query token's position.

    Returns:
        Positions in order.
    """
    # Layers of one rule are asked once.
    kinds = {one.mask if isinstance(one.mask, MaskRule) else at: at for at, one in enumerate(trace.stored)}
    tables = [trace.allowed(layer, queries=slice(query, query + 1)).any(0)[0].cpu() for layer in kinds.values()]
    found: list[int] = torch.stack(tables).any(0).nonzero().flatten().tolist()
    return found


def ranking(trace: Trace, query: int, key: int, *, on_layer: OnLayer | None = None) -> pd.DataFrame:
    """Rank all heads by how much the query token attends to the key token, the strongest first.

    One row of weights per head is computed.

    Args:
        trace: the prompt's trace.
        query: the query token's position.
        key: the key token's position.
        on_layer: called as on_layer(done, total) after each layer; what it raises ends the work.

    Returns:
        A row per head, without those of layers whose weights cannot be computed:
        rank: from 1.
        layer, head.
        weight: of this key token.
        place: how many key tokens have a weight at least as large in this row (1: it is the top token).
        strongest, strongest weight: position and weight of the head's top token.

    Raises:
        InspectorError: there is no such token, or no layer lets the query attend to it.
    """
    for name, position in (("query", query), ("key", key)):
        if not 0 <= position < trace.n:
            raise InspectorError(f"There is no {name} token {position}: this prompt has tokens 0 to {trace.n - 1}.")
    parts = []
    seen = False
    for layer, info in enumerate(trace.layers):
        rows = slice(query, query + 1)
        seen = seen or bool(trace.allowed(layer, queries=rows)[:, 0, key].any())
        if not trace.stored[layer].unexplained:
            weights = trace.weights(layer, None, queries=rows)[:, 0].double().cpu()  # [h, s]
            weight = weights[:, key]
            parts.append(
                pd.DataFrame(
                    {
                        "layer": layer,
                        "head": np.arange(info.heads),
                        "weight": weight.numpy(),
                        "place": (weights >= weight[:, None]).sum(-1).numpy(),
                        "strongest": weights.argmax(-1).numpy(),
                        "strongest weight": weights.amax(-1).numpy(),
                    }
                )
            )
        if on_layer is not None:
            on_layer(layer + 1, len(trace.layers))
    if not seen:
        raise InspectorError(
            f"Query token {query} may not attend to key token {key} in any layer: choose a key token at or "
            f"before position {query}."
        )
    if not parts:
        raise InspectorError("No layer's weights can be shown for this model, so its heads cannot be ranked.")
    frame = pd.concat(parts).sort_values(["weight", "layer", "head"], ascending=[False, True, True], kind="stable")
    frame.insert(0, "rank", np.arange(1, len(frame) + 1))
    return frame.reset_index(drop=True)


def head_map(trace: Trace, frame: pd.DataFrame) -> npt.NDArray[np.float32]:
    """Return the weights of `ranking` as a map.

    Args:
        trace: the prompt's trace.
        frame: the table that `ranking` returns.

    Returns:
        [layers, heads], NaN where there is none.
    """
    made = np.full((len(trace.layers), max(info.heads for info in trace.layers)), np.nan, dtype=np.float32)
    made[frame["layer"], frame["head"]] = frame["weight"]
    return made

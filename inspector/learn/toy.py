"""The documents' toy, "it" and "cat" with five numbers each, and the same question to a real model: which heads look
from one token to another.

The toy is `reimpl.stepwise`, plain loops over Python numbers; heads are ranked by one row of weights each.
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
# The documents' numbers. Their weight of 0.70 for "cat" was assumed to go on with; `scale_for` says what would give it.
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
    """One of the two words as the query, both as keys, in the order of KEYS: steps with scores as they are, and with
    scores divided by sqrt(d)."""

    query: Word
    d: int
    unscaled: Steps
    scaled: Steps


def compute_toy(vectors: Mapping[str, Sequence[float]] = VECTORS, *, query: Word = "it") -> Toy:
    """Attention of one word over both. Raises InspectorError where the vectors are not of one length."""
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
    """The scale at which the softmax over both scores gives "cat" this weight; None where the scores are equal."""
    it, cat = made.unscaled.scores
    return None if it == cat else math.log(weight / (1 - weight)) / (cat - it)


def word_of(tokens: Tokens, position: int) -> tuple[int, ...]:
    """The token positions of the word that this token is part of."""
    return next(group for group in tokens.words if position in group)


def visible(trace: Trace, query: int) -> list[int]:
    """The key positions that the query token may look at in some layer."""
    # Layers of one rule are asked once.
    kinds = {kept.mask if isinstance(kept.mask, MaskRule) else at: at for at, kept in enumerate(trace.stored)}
    tables = [trace.allowed(layer, slice(query, query + 1))[0].cpu() for layer in kinds.values()]
    found: list[int] = torch.stack(tables).any(0).nonzero().flatten().tolist()
    return found


def ranking(trace: Trace, query: int, key: int, *, on_layer: OnLayer | None = None) -> pd.DataFrame:
    """All heads by how much the query token looks at the key token, the strongest first; one row of weights per head.

    rank: from 1; layer, head; weight: of this key token; place: how many key tokens have a weight at least as large in
    this row (1: it is what the head looks at most); strongest, strongest weight: the position that the head looks at
    most, and its weight. Heads of layers whose weights are not explained are left out.

    Raises InspectorError where there is no such token, or none of the layers lets the query look at it.
    """
    for name, position in (("query", query), ("key", key)):
        if not 0 <= position < trace.n:
            raise InspectorError(f"There is no {name} token {position}: this prompt has tokens 0 to {trace.n - 1}.")
    parts = []
    seen = False
    for layer, info in enumerate(trace.layers):
        rows = slice(query, query + 1)
        seen = seen or bool(trace.allowed(layer, rows)[0, key])
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
            f"Query token {query} may not look at key token {key} in any layer: choose a key token that stands at or "
            f"before position {query}."
        )
    if not parts:
        raise InspectorError("No layer's weights can be shown for this model, so its heads cannot be ranked.")
    frame = pd.concat(parts).sort_values(["weight", "layer", "head"], ascending=[False, True, True], kind="stable")
    frame.insert(0, "rank", np.arange(1, len(frame) + 1))
    return frame.reset_index(drop=True)


def head_map(trace: Trace, frame: pd.DataFrame) -> npt.NDArray[np.float32]:
    """The weights of `ranking` as a map [layers, heads], NaN where there is none."""
    made = np.full((len(trace.layers), max(info.heads for info in trace.layers)), np.nan, dtype=np.float32)
    made[frame["layer"], frame["head"]] = frame["weight"]
    return made

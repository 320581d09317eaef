"""One layer's attention with each of its steps set otherwise: what a mistake changes, as frozen data.

Defaults are the right layer. A change of settings is one mistake; two changes make two at once. `chain.py` computes
stages from them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from reimpl.spec import RopeSpec

__all__ = ["HALVES", "Joining", "Mixing", "Projection", "Settings", "Turning", "Weighing", "replace"]

HALVES = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float8_e4m3fn": torch.float8_e4m3fn,
    "float8_e5m2": torch.float8_e5m2,
}
Which = Literal["query", "key", "value"]
Cut = Literal["", "tokens first", "dims first"]  # how [n, h·d] is read as heads: by exchanging axes, or not


@dataclass(frozen=True)
class Projection:
    """How queries, keys or values are projected: by which matrix, cut and normalised how.

    layer, matrix: another layer's, or another of the three. order: (how, heads): rows of each head interleaved or
    parted, as if there were so many heads. fused: W_q, W_k, W_v taken as one matrix that is cut otherwise.
    bias: how often it is added; bias_layer, norm_layer: whose bias and whose norm's weight are taken.
    renormed: the attention input divided by its root mean square once more.
    rounded: (what, dtype): what is rounded to a smaller dtype.
    """

    layer: int | None = None
    matrix: Which | None = None
    transposed: bool = False
    bias: float = 1.0
    bias_follows: bool = True  # where rows or the layer are others, so are the bias's
    bias_layer: int | None = None
    cut: Cut = ""
    order: tuple[Literal["interleaved", "parted"], int] | None = None
    heads_moved: bool = False
    fused: str = ""
    factor: float = 1.0
    norm: Literal[
        "",
        "dropped",
        "late",
        "weight",
        "1 + weight",
        "2 + weight",
        "no weight",
        "other's weight",
        "over all heads",
        "with the mean",
        "length",
        "added",
        "twice",
        "as keys",
    ] = ""
    norm_layer: int | None = None
    eps: float | None = None
    renormed: bool = False
    turned: bool = False  # by position, as queries and keys are
    rounded: tuple[Literal["matrix", "vectors"], str] | None = None


@dataclass(frozen=True)
class Turning:
    """How queries or keys are turned by position.

    rope: as the spec says; None: not at all. first, stride: the first token's position and how far positions go on.
    by: what counts as the position. mixed: angles laid out for one pairing, dimensions exchanged by the other.
    sign: of what is exchanged. swapped: sines stand for cosines. rounded: what is rounded on the way, to which dtype.
    line: (a, b): plane i turns by base ** -((a·i + b) / dim). magnitude: the factor on cosine and sine.
    times: how often it is done.
    """

    rope: RopeSpec | None
    first: float = 0.0
    stride: float = 1.0
    by: Literal["tokens", "heads"] = "tokens"
    mixed: Literal["", "angles in pairs", "angles in halves"] = ""
    sign: Literal["", "no minus", "minus on both"] = ""
    swapped: bool = False
    rounded: Literal["", "cos and sin", "angles", "frequencies", "vectors", "turned"] = ""
    dtype: str = "bfloat16"
    line: tuple[float, float] | None = None
    exponent_over: int | None = None
    padded: bool = False
    magnitude: float | None = None
    speed: float = 1.0
    times: int = 1


@dataclass(frozen=True)
class Weighing:
    """How weights come of queries and keys.

    scale, softcap, window: None leaves them out. heads: which key head each query head reads. mask: which keys are
    seen. masked_with: what stands in masked scores. softmax: over what. sinks: left out, or what is done with them.
    rounded: to which dtype, where.
    """

    scale: float
    softcap: float | None = None
    window: int | None = None
    heads: tuple[int, ...] | None = None
    capped_first: bool = False
    mask: Literal[
        "",
        "none",
        "sees the next",
        "hides itself",
        "upside down",
        "both sides",
        "after the softmax",
        "after, renormalised",
    ] = ""
    masked_with: float | None = None
    softmax: Literal["keys", "queries", "heads", "none"] = "keys"
    sinks: Literal["", "none", "scaled", "on the first key", "moved", "negative"] = ""
    one_more: bool = False
    rounded: Literal["", "scores bfloat16", "scores float16", "weights bfloat16", "weights float16"] = ""


@dataclass(frozen=True)
class Mixing:
    """How values are summed. heads: which value head each query head reads; transposed: by the columns of weights."""

    heads: tuple[int, ...] | None = None
    transposed: bool = False


@dataclass(frozen=True)
class Joining:
    """How heads are joined and multiplied by W_o."""

    cut: Cut = ""
    matrix: Literal["", "none", "transposed"] = ""
    layer: int | None = None
    heads_moved: bool = False
    bias: float = 1.0  # how often it is added
    plus_input: bool = False
    rounded: str = ""  # the dtype that W_o is rounded to


@dataclass(frozen=True)
class Settings:
    """All steps of one layer. `planted`: the name of a planted mistake that replaces the layer, if any."""

    turn_query: Turning
    turn_key: Turning
    weighing: Weighing
    query: Projection = field(default_factory=Projection)
    key: Projection = field(default_factory=Projection)
    value: Projection = field(default_factory=Projection)
    mixing: Mixing = field(default_factory=Mixing)
    joining: Joining = field(default_factory=Joining)
    planted: str = ""

    @property
    def key_of_stage(self) -> dict[str, tuple[object, ...]]:
        """What each stage depends on, for those who keep stages that were computed before."""
        query, key = (self.planted, self.query), (self.planted, self.key)
        turned = (*query, self.turn_query), (*key, self.turn_key)
        weights = (*turned[0], *turned[1], self.weighing)
        value = (self.planted, self.value, self.turn_key if self.value.turned else None)
        context = (*weights, *value, self.mixing)
        return {
            "query_pre": query,
            "key_pre": key,
            "query": turned[0],
            "key": turned[1],
            "value": value,
            "weights": weights,
            "context": context,
            "output": (*context, self.joining),
        }

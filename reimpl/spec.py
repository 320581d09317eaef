"""One layer's attention as frozen data: all that `CausalSelfAttention` needs to know beside the weights.

Defaults are Llama's attention; every other field is something that some family of models does differently. A choice
among strings is a Literal of choices.py, and a spec with another string is refused when it is made.

The letters used for dimensions in all of `reimpl`:

    b batch · t query position · s key position · h query head · g key/value head · d head width · m model width
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from reimpl.choices import (
    GateActivation,
    GateSource,
    Layout,
    NormKind,
    NormOver,
    RopeRule,
    RopeStyle,
    TemperatureRule,
    refuse_unknown_choices,
)
from reimpl.errors import CheckpointError, UnsupportedError

__all__ = [
    "AttentionSpec",
    "CheckpointError",
    "GateSpec",
    "LatentSpec",
    "MaskRule",
    "NormSpec",
    "RopeSpec",
    "TemperatureSpec",
    "UnsupportedError",
    "replace",
]


@dataclass(frozen=True)
class RopeSpec:
    """Say how positions turn queries and keys (Su et al. 2021, "RoFormer", section 3.4).

    theta: the base; plane i of `dim/2` turns by position * theta**(-2i/dim) radians.
    dim:   how many of the d dimensions turn; the rest pass unchanged.
    style: which two dimensions make a plane: "halves" (i, i + dim/2), as Llama's files store them,
           or "pairs" (2i, 2i + 1), as the paper writes them.
    last:  the last `dim` dimensions turn, instead of the first.
    backwards: turned in the opposite direction.
    wide:  rotate in float32 whatever the model's dtype, and round afterwards; else in the dtype, as Llama does.
    rule:  how planes are slowed down for longer texts (frequencies.py); `scaling` holds that rule's own numbers.
    """

    theta: float
    dim: int
    style: RopeStyle = "halves"
    last: bool = False
    backwards: bool = False
    wide: bool = False
    rule: RopeRule = "default"
    scaling: tuple[tuple[str, float | bool | tuple[float, ...]], ...] = ()

    def __post_init__(self) -> None:
        """Refuse a choice that is none of those above."""
        refuse_unknown_choices(self)


@dataclass(frozen=True)
class NormSpec:
    """Say how queries, keys, values or context vectors are normalised.

    kind:       "rms" (divide by the root mean square), "layer" (subtract the mean first) or "l2" (divide by the
                length, so that it becomes 1).
    over:       "head" (each head by itself, one weight for all), "each" (a weight for each head) or "whole" (all
                heads' dimensions together).
    weight:     it has a learned factor; bias: and a learned addend.
    plus_one:   the factor is 1 + weight, and rounding to the dtype comes after it (Gemma).
    wide:       rounding comes after the factor, as with plus_one; else before it, as Llama does.
    after_rope: queries and keys are normalised after rotation instead of before.
    """

    eps: float
    kind: NormKind = "rms"
    over: NormOver = "head"
    weight: bool = True
    bias: bool = False
    plus_one: bool = False
    wide: bool = False
    after_rope: bool = False

    def __post_init__(self) -> None:
        """Refuse a choice that is none of those above."""
        refuse_unknown_choices(self)


@dataclass(frozen=True)
class MaskRule:
    """Say which keys a query may look at: never later ones, unless told.

    window: only the last `window` tokens, the query itself counted.
    both_sides: later ones too, as far as the window reaches: not causal.
    chunk:  only tokens of the query's own stretch of `chunk` positions (0 to chunk-1, chunk to 2·chunk-1, ...).
    given:  the model chooses keys itself, by a part that is not attention; its table is handed in from outside.
    """

    window: int | None = None
    chunk: int | None = None
    given: bool = False
    both_sides: bool = False


@dataclass(frozen=True)
class GateSpec:
    """Say what the joined context vectors are multiplied by before W_o, computed from the attention input.

    source:     "gate" (a projection of its own), "query" (the second half of each head's rows in W_q) or "matrix"
                (the first rows of the one matrix that also holds W_q, W_k and W_v).
    activation: "sigmoid" or "softplus".
    per_head:   one number a head, instead of one a dimension.
    bias:       a learned number a head is added before the activation.
    learned:    each number is multiplied by (a learned number · this) ** 2 before the activation (0: it is not).
    """

    source: GateSource = "gate"
    activation: GateActivation = "sigmoid"
    per_head: bool = False
    bias: bool = False
    learned: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a choice that is none of those above."""
        refuse_unknown_choices(self)


@dataclass(frozen=True)
class TemperatureSpec:
    """Say how queries grow with their position, so that attention stays sharp in long texts: query · factor(position).

    rule "steps": 1 + scale · log(1 + floor((position + first) / every)) (Llama 4);
    rule "power": (1 + (position + first) / every) ** scale.
    """

    scale: float
    every: float
    first: int = 0
    rule: TemperatureRule = "steps"

    def __post_init__(self) -> None:
        """Refuse a choice that is none of those above."""
        refuse_unknown_choices(self)


@dataclass(frozen=True)
class LatentSpec:
    """Describe multi-head latent attention (DeepSeek-V2, https://arxiv.org/abs/2405.04434): latent.py.

    query_rank: width of the queries' latent vector (None: W_q straight from the input); key_value_rank: of the one
    that keys and values share. rope_dim: how many dimensions turn; a key's are the same for all heads.
    stored_in_pairs: the files hold the turning dimensions as pairs (2i, 2i+1); they are read as halves.
    query_factor multiplies queries (factor_on_latent: their latent vector), key_value_factor the latent vector of keys
    and values. rope_norm: the turning part of keys is normalised.
    gated: W_q's second step also gives the gate, and reads the latent before its norm as well.
    """

    query_rank: int | None
    key_value_rank: int
    rope_dim: int
    eps: float = 1e-6
    stored_in_pairs: bool = True
    query_factor: float = 1.0
    key_value_factor: float = 1.0
    factor_on_latent: bool = False
    rope_norm: bool = False
    gated: bool = False


@dataclass(frozen=True)
class AttentionSpec:
    """Describe one layer's causal multi-head self-attention.

    Query head h uses key/value head h // (heads // kv_heads). `scale` multiplies each query·key product.
    `softcap` c bends scaled scores to c·tanh(score/c). `rope` None: a layer without positions.
    `dropout` is applied to the weights at training time only, as the papers do; inference never drops.

    layout: where W_q, W_k and W_v stand: "separate"; "stacked" in one matrix, one below the other; "grouped" by
            key/value head (its queries, its key, its value, the next); "quarters" of (queries, values, keys);
            "gate first", then stacked.
    clip:   projected numbers are limited to ±clip.
    *_factor: constants on projected queries, keys, values.
    query_learned: after rotation each query dimension is multiplied by (a learned number · this) ** 2 (0: it is not),
            as in nGPT (https://arxiv.org/abs/2410.01131, section 2.3.2).
    gate_first: the gate comes before the output norm, not after it.
    value_is_key: there is no W_v; values are the keys before norm and rotation.
    shares: the place of the layer whose keys and values this one uses; it has none of its own.
    sinks:  a learned score per head joins each softmax and takes its share away.
    d_value: width of a value vector (0: as d_head). d_input: of the attention input (0: as d_model).
    """

    heads: int
    kv_heads: int
    d_head: int
    d_model: int
    scale: float
    rope: RopeSpec | None
    mask: MaskRule = MaskRule()
    layout: Layout = "separate"
    qkv_bias: bool = False
    output_bias: bool = False
    query_norm: NormSpec | None = None
    key_norm: NormSpec | None = None
    softcap: float | None = None
    dropout: float = 0.0
    d_value: int = 0
    d_input: int = 0
    clip: float | None = None
    query_factor: float = 1.0
    key_factor: float = 1.0
    value_factor: float = 1.0
    query_learned: float = 0.0
    temperature: TemperatureSpec | None = None
    value_norm: NormSpec | None = None
    value_is_key: bool = False
    shares: str | None = None
    sinks: bool = False
    gate: GateSpec | None = None
    output_norm: NormSpec | None = None
    gate_first: bool = False
    latent: LatentSpec | None = None

    def __post_init__(self) -> None:
        """Refuse widths that cannot be, and fill in those that were left out."""
        refuse_unknown_choices(self)
        if min(self.heads, self.kv_heads, self.d_head, self.d_model) < 1:
            raise CheckpointError(
                f"heads={self.heads}, kv_heads={self.kv_heads}, d_head={self.d_head} and d_model={self.d_model} "
                "must all be at least 1; check config.json."
            )
        if self.heads % self.kv_heads:
            raise CheckpointError(
                f"{self.heads} query heads cannot share {self.kv_heads} key/value heads evenly; check "
                "num_attention_heads and num_key_value_heads in config.json."
            )
        if self.rope is not None and (self.rope.dim % 2 or not 0 < self.rope.dim <= self.d_head):
            raise CheckpointError(
                f"RoPE turns pairs of dimensions: {self.rope.dim} of d_head={self.d_head} is not an even number "
                "within it; check head_dim and partial_rotary_factor in config.json."
            )
        if not self.d_value:
            object.__setattr__(self, "d_value", self.d_head)
        if not self.d_input:
            object.__setattr__(self, "d_input", self.d_model)

    @property
    def group(self) -> int:
        """Count the query heads that share one key/value head."""
        return self.heads // self.kv_heads

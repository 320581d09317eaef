"""One layer's attention as frozen data: what goes in is a model's configuration, what comes out is all that
`CausalSelfAttention` needs to know beside the weights.

The letters used for dimensions in all of `reimpl`:

    b batch · t query position · s key position · h query head · g key/value head · d head width · m model width
"""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["AttentionSpec", "CheckpointError", "MaskRule", "NormSpec", "RopeSpec", "UnsupportedError", "replace"]


class CheckpointError(ValueError):
    """The files are not a checkpoint that can be read: says which file or tensor, and what was expected."""


class UnsupportedError(CheckpointError):
    """The checkpoint asks for something that is not modelled here: says what, by name, rather than guess."""


@dataclass(frozen=True)
class RopeSpec:
    """How positions turn queries and keys (Su et al. 2021, "RoFormer", section 3.4).

    theta: the base; plane i of `dim/2` turns by position * theta**(-2i/dim) radians.
    dim:   how many of the d dimensions turn; the rest pass unchanged.
    style: which two dimensions make a plane: "halves" (i, i + dim/2), as Llama's files store them,
           or "pairs" (2i, 2i + 1), as the paper writes them.
    wide:  rotate in float32 whatever the model's dtype, and round afterwards; else in the dtype, as Llama does.
    rule:  how planes are slowed down for longer texts (frequencies.py); `scaling` holds that rule's own numbers.
    """

    theta: float
    dim: int
    style: str = "halves"
    wide: bool = False
    rule: str = "default"
    scaling: tuple[tuple[str, float | bool | tuple[float, ...]], ...] = ()


@dataclass(frozen=True)
class NormSpec:
    """RMSNorm of queries or keys before rotation, with a learned weight.

    whole:    over all heads' dimensions together, instead of over each head's.
    plus_one: the factor is 1 + weight, and rounding to the dtype comes after it (Gemma).
    """

    eps: float
    whole: bool = False
    plus_one: bool = False


@dataclass(frozen=True)
class MaskRule:
    """Which keys a query may look at: never later ones; with a window only the last `window`, itself counted."""

    window: int | None = None


@dataclass(frozen=True)
class AttentionSpec:
    """One layer's causal multi-head self-attention.

    Query head h uses key/value head h // (heads // kv_heads). `scale` multiplies each query·key product.
    `softcap` c bends scaled scores to c·tanh(score/c). `rope` None: a layer without positions.
    `fused`: W_q, W_k and W_v stand in one matrix, one below the other.
    `dropout` is applied to the weights at training time only, as the papers do; inference never drops.
    """

    heads: int
    kv_heads: int
    d_head: int
    d_model: int
    scale: float
    rope: RopeSpec | None
    mask: MaskRule = MaskRule()
    fused: bool = False
    qkv_bias: bool = False
    output_bias: bool = False
    query_norm: NormSpec | None = None
    key_norm: NormSpec | None = None
    softcap: float | None = None
    dropout: float = 0.0

    def __post_init__(self) -> None:
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

    @property
    def group(self) -> int:
        """How many query heads share one key/value head."""
        return self.heads // self.kv_heads

"""Mistakes of configuration, where the spec says something else, and the reasons why a layer cannot make a mistake."""

from __future__ import annotations

from dataclasses import replace

from inspector.verification.mistakes.planting import NO_NORM, NO_ROPE, Planted, without_rope
from reimpl.attention import CausalSelfAttention
from reimpl.spec import AttentionSpec, RopeSpec

# -- other settings ------------------------------------------------------------------------------------------------


def unscaled(rope: RopeSpec) -> RopeSpec | str:
    """Leave out the rule that scales frequencies."""
    if rope.rule == "default":
        return "its RoPE frequencies are not scaled"
    return replace(rope, rule="default", scaling=())


def other_style(rope: RopeSpec) -> RopeSpec:
    """Rotate pairs instead of halves, or the reverse."""
    return replace(rope, style="pairs" if rope.style == "halves" else "halves")


def all_dimensions(spec: AttentionSpec) -> AttentionSpec | str:
    """Rotate all dimensions."""
    if spec.rope is None:
        return NO_ROPE
    if spec.rope.dim == spec.d_head or spec.rope.rule == "longrope":  # whose factors are one for each plane
        return "its RoPE turns all dimensions"
    return replace(spec, rope=replace(spec.rope, dim=spec.d_head))


def rope_added(spec: AttentionSpec) -> AttentionSpec | str:
    """Rotate in a layer that does not."""
    if spec.rope is not None:
        return "this layer has RoPE"
    return replace(spec, rope=RopeSpec(theta=10000.0, dim=spec.d_head))


def head_width_scale(spec: AttentionSpec) -> AttentionSpec | str:
    """Scale by the head's width."""
    if spec.scale == spec.d_head**-0.5:
        return "its scale is 1/sqrt(d_head)"
    return replace(spec, scale=spec.d_head**-0.5)


def no_window(layer: CausalSelfAttention, n: int) -> Planted:
    """Leave the sliding window out."""
    window = layer.spec.mask.window
    if window is None:
        return "this layer has no sliding window"
    if n <= window:
        return f"the window of {window} is longer than the control prompt of {n} tokens"
    return CausalSelfAttention.like(layer, replace(layer.spec, mask=replace(layer.spec.mask, window=None)))


def window_off_by_one(layer: CausalSelfAttention, n: int) -> Planted:
    """Make the window one token too long."""
    window = layer.spec.mask.window
    if window is None or n <= window:
        return no_window(layer, n)
    return CausalSelfAttention.like(layer, replace(layer.spec, mask=replace(layer.spec.mask, window=window + 1)))


def no_norm(spec: AttentionSpec) -> AttentionSpec | str:
    """Leave the norm of queries and keys out."""
    if spec.query_norm is None and spec.key_norm is None:
        return NO_NORM
    return replace(spec, query_norm=None, key_norm=None)


def no_qkv_bias(spec: AttentionSpec) -> AttentionSpec | str:
    """Drop the biases of queries, keys and values."""
    return replace(spec, qkv_bias=False) if spec.qkv_bias else "this layer's projections have no bias"


def no_output_bias(spec: AttentionSpec) -> AttentionSpec | str:
    """Drop the bias of W_o."""
    return replace(spec, output_bias=False) if spec.output_bias else "this layer's W_o has no bias"


def no_softcap(spec: AttentionSpec) -> AttentionSpec | str:
    """Leave the soft-cap out."""
    return replace(spec, softcap=None) if spec.softcap else "this layer's scores are not soft-capped"


def scale_one(spec: AttentionSpec) -> str | None:
    """Give the reason where scores are not scaled anyway."""
    return "this layer's scale is 1" if spec.scale == 1 else None


def no_scale(spec: AttentionSpec) -> AttentionSpec | str:
    """Leave the scale out."""
    return scale_one(spec) or replace(spec, scale=1.0)


def model_width_scale(spec: AttentionSpec) -> AttentionSpec | str:
    """Scale by the model's width."""
    if spec.heads == 1:
        return "with one head d_model and d_head may be the same"
    return replace(spec, scale=spec.d_model**-0.5)


# -- why a layer cannot make a mistake of computation ---------------------------------------------------------------


def turns_no_keys(spec: AttentionSpec) -> str | None:
    """Give the reason where a layer rotates no keys of its own."""
    return "its keys are another layer's, turned already" if spec.shares is not None else without_rope(spec)


def without_groups(spec: AttentionSpec) -> str | None:
    """Give the reason where heads share no keys, or all share one."""
    if spec.kv_heads == 1:
        return "one key/value head serves all query heads"
    return "each query head has its own key/value head" if spec.group == 1 else None


def one_kv_head(spec: AttentionSpec) -> str | None:
    """Give the reason where there is one key/value head."""
    return "there is only one key/value head" if spec.kv_heads == 1 else None


def one_head(spec: AttentionSpec) -> str | None:
    """Give the reason where there is one head."""
    return "there is only one head" if spec.heads == 1 else None


def width_changes(spec: AttentionSpec) -> str | None:
    """Give the reason where W_o changes the width."""
    if spec.heads * spec.d_value != spec.d_model:
        return "W_o changes the width, so leaving it out cannot go unnoticed"
    return None


def not_swappable(spec: AttentionSpec) -> str | None:
    """Give the reason where keys and values cannot be exchanged."""
    if spec.shares is not None or spec.latent is not None or spec.value_is_key:
        return "this layer has no W_k and W_v of its own to exchange"
    return "keys and values have different widths" if spec.d_value != spec.d_head else None


def no_norms(spec: AttentionSpec) -> str | None:
    """Give the reason where a norm before or after rotation is the same."""
    norm = spec.query_norm or spec.key_norm
    if norm is not None and not norm.weight:
        return "a norm without weight gives the same before and after rotation"
    reason = no_norm(spec)
    return reason if isinstance(reason, str) else without_rope(spec)

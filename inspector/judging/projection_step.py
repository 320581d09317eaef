"""Project to queries, keys and values as settings say: by which matrix, cut into heads and normalised how."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from inspector.judging.settings import HALVES, Projection
from reimpl.attention import CausalSelfAttention
from reimpl.norm import Norm, head_first
from reimpl.project import LAYOUTS, Projections


def projected(
    which: str, setting: Projection, layer: CausalSelfAttention, layers: Sequence[CausalSelfAttention], x: Tensor
) -> Tensor:
    """Project by the matrix that the setting names, and do what it says.

    Args:
        which: "query", "key" or "value".
        setting: how.
        layer: ours.
        layers: all of ours, whose matrices may stand in the wrong place.
        x: the attention input [n, m].

    Returns:
        Vectors [heads, n, d].
    """
    spec = layer.spec
    source = layer if setting.layer is None else layers[setting.layer]
    matrix_of = setting.matrix or which
    weight, bias = matrix_and_bias(source, matrix_of)
    if not setting.bias_follows:
        bias = matrix_and_bias(layer, matrix_of)[1]
    if setting.bias_layer is not None:
        bias = matrix_and_bias(layers[setting.bias_layer], matrix_of)[1]
    weight = rounded_to(weight, setting.rounded[1]) if setting.rounded and setting.rounded[0] == "matrix" else weight
    if setting.renormed:
        x = x * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6).to(x.dtype)
    if setting.fused:
        flat, bias = _cut_otherwise(which, setting.fused, x, layer), None
    elif setting.transposed:
        flat = x @ (weight if weight.shape[0] == weight.shape[1] else weight.reshape(weight.shape[1], -1))
    else:
        flat = F.linear(x, weight)
    bias = None if bias is None or not setting.bias else bias * setting.bias
    if setting.order is not None and not setting.bias_follows:
        flat = _reordered(flat, *setting.order)
    flat = flat if bias is None else flat + bias
    if setting.order is not None and setting.bias_follows:
        flat = _reordered(flat, *setting.order)
    heads = spec.heads if which == "query" else spec.kv_heads
    d = spec.d_value if which == "value" else spec.d_head
    factor = {"query": spec.query_factor, "key": spec.key_factor, "value": spec.value_factor}[which]
    made = _normed(which, setting, _cut(flat, heads, d, setting.cut), layer, layers) * (factor * setting.factor)
    made = rounded_to(made, setting.rounded[1]) if setting.rounded and setting.rounded[0] == "vectors" else made
    return moved(made, spec.kv_heads if which == "query" else 1) if setting.heads_moved else made


def rounded_to(x: Tensor, dtype: str) -> Tensor:
    """Round numbers to a smaller dtype and back."""
    return x.to(HALVES[dtype]).to(x.dtype)


def _normed(
    which: str, setting: Projection, heads: Tensor, layer: CausalSelfAttention, layers: Sequence[CausalSelfAttention]
) -> Tensor:
    pr = layer.projections if setting.norm_layer is None else layers[setting.norm_layer].projections
    if setting.norm == "as keys":
        return head_first(getattr(pr, "k_norm", None), heads)
    norm = getattr(pr, f"{which[0]}_norm", None)
    if setting.norm == "added":
        return heads * torch.rsqrt(heads.pow(2).mean(-1, keepdim=True) + (setting.eps or 1e-6))
    if norm is None or norm.norm.after_rope or setting.norm in ("dropped", "late"):
        return heads
    if setting.norm == "twice":
        return head_first(norm, head_first(norm, heads))
    if setting.norm == "" and setting.eps is None:
        return head_first(norm, heads)
    return _normed_otherwise(norm, getattr(pr, "k_norm" if which == "query" else "q_norm", None), heads, setting)


def _cut_otherwise(which: str, how: str, x: Tensor, layer: CausalSelfAttention) -> Tensor:
    """Cut W_q, W_k and W_v, as one matrix, in another way than it is stored."""
    parts = [matrix_and_bias(layer, one) for one in ("query", "key", "value")]
    spec = layer.spec
    flats = [F.linear(x, weight, bias) for weight, bias in parts]
    whole = _stored(flats, spec.layout, spec.heads, spec.kv_heads)
    place = ("query", "key", "value").index(which)
    widths = [flat.shape[-1] for flat in flats]
    if how == "each head in turn":
        turns = torch.unflatten(whole, -1, (spec.heads, 3, -1))
        return turns[..., place, :].flatten(-2)
    if how == "stacked":
        part: Tensor = torch.split(whole, widths, dim=-1)[place]
        return part
    found: Tensor = LAYOUTS["grouped"](whole, spec)[place]
    return found


def matrix_and_bias(layer: CausalSelfAttention, which: str) -> tuple[Tensor, Tensor | None]:
    """Return W_q, W_k or W_v [heads·d, m] of a layer, and its bias."""
    pr = layer.projections
    assert isinstance(pr, Projections)  # noqa: S101  (latent layers have no such matrices, and no such changes)
    place = ("query", "key", "value").index(which)
    weight = pr.matrices()[place]
    if layer.spec.layout != "separate":
        fused = pr.qkv_proj.bias
        return weight, None if fused is None else LAYOUTS[layer.spec.layout](fused[None], layer.spec)[place][0]
    linear = pr.k_proj if which == "value" and layer.spec.value_is_key else getattr(pr, f"{which[0]}_proj")
    return weight, linear.bias if linear.bias is None or len(linear.bias) == len(weight) else None


def _cut(flat: Tensor, heads: int, d: int, how: str) -> Tensor:
    """Read [n, heads·d] as [heads, n, d]."""
    if how == "tokens first":
        return flat.reshape(heads, flat.shape[0], d)
    if how == "dims first":
        return flat.reshape(flat.shape[0], d, heads).permute(2, 0, 1)
    return torch.unflatten(flat, -1, (heads, d)).transpose(0, 1)


def _stored(flats: Sequence[Tensor], layout: str, heads: int, groups: int) -> Tensor:
    """Put queries, keys and values [n, heads·d] into one row as the one matrix makes them."""
    if layout == "grouped":
        query = torch.unflatten(flats[0], -1, (groups, heads // groups, -1))
        key, value = (torch.unflatten(flat, -1, (groups, 1, -1)) for flat in flats[1:])
        return torch.cat((query, key, value), dim=-2).flatten(-3)
    return torch.cat(list(flats), dim=-1)


def _reordered(flat: Tensor, how: str, heads: int) -> Tensor:
    """Change the order of the dimensions [n, width] within each of so many heads."""
    parts = torch.unflatten(flat, -1, (heads, -1))  # [n, heads, d]
    half = parts.shape[-1] // 2
    view = (2, half) if how == "interleaved" else (half, 2)  # 0, d/2, 1, ...; or 0, 2, 4, ..., 1, 3, 5, ...
    return torch.unflatten(parts, -1, view).transpose(-1, -2).flatten(1)


def moved(x: Tensor, groups: int) -> Tensor:
    """Put heads [h, n, d] of the order (group, member) into the order (member, group)."""
    return torch.unflatten(x, 0, (groups, -1)).transpose(0, 1).flatten(0, 1)


def _normed_otherwise(norm: Norm, other: Norm | None, heads: Tensor, setting: Projection) -> Tensor:
    """Normalise heads [heads, n, d] as the setting says."""
    x, at = heads.transpose(0, 1), norm.norm  # [n, heads, d]
    eps = at.eps if setting.eps is None else setting.eps
    whole = at.over == "whole" or setting.norm == "over all heads"
    if setting.norm == "over all heads" and at.over == "whole":
        whole = False
    flat = x.flatten(-2) if whole else x
    if at.kind == "layer" or setting.norm == "with the mean":
        flat = flat - flat.mean(-1, keepdim=True)
    by_length = (at.kind == "l2") != (setting.norm == "length")
    size = flat.pow(2).sum(-1, keepdim=True) if by_length else flat.pow(2).mean(-1, keepdim=True)
    flat = flat * torch.rsqrt(size + eps)
    made = torch.unflatten(flat, -1, x.shape[-2:]) if whole else flat
    weight: Tensor | None = norm.weight
    if setting.norm == "other's weight" and other is not None:
        weight = other.weight
    if weight is not None and setting.norm != "no weight":
        weight = (
            weight.view(x.shape[-2:])
            if weight.numel() == x.shape[-2] * x.shape[-1]
            else weight.flatten()[: x.shape[-1]]
        )
        plus = {"weight": 0.0, "1 + weight": 1.0, "2 + weight": 2.0}.get(setting.norm, 1.0 if at.plus_one else 0.0)
        made = made * (plus + weight)
    return made.transpose(0, 1)

"""Make a trace of vectors that another library recorded, after proving that they give the weights it recorded.

    cache = lens_model.run_with_cache(ids)[1]                          # TransformerLens
    trace = inspector.from_transformer_lens(cache, ids, tokenizer=lens_model.tokenizer)
    trace = inspector.from_tensors(layers, ids, tokenizer=tokenizer)   # nnsight, hooks, another program

Queries and keys are those after rotation. For each layer the weights are computed from them and compared with those
handed over: vectors before rotation, of another layer or under another scale are refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from inspector.capture.masks import find_rule, masked_weights
from inspector.capture.records import Layer, LayerInfo
from inspector.errors import InspectorError
from inspector.model.model import Model
from inspector.trace.file import TraceContents
from inspector.trace.tokens import Tokens, tokenize
from inspector.trace.trace import Trace
from inspector.trace.whole_numbers import shown, whole_number
from reimpl.mask import allowed
from reimpl.spec import MaskRule

FIELDS = ("query", "key", "value", "weights")
# Units in the last place by which a scaled score may differ where its sum is taken in another order, per unit of the
# largest one; a weight differs by at most half as much as its score.
ROUNDINGS = 16

# Of the largest number: what two libraries' float32 passes may differ by after many layers; others' are far off.
SAME_VECTORS = 1e-3


def from_tensors(
    layers: Sequence[Mapping[str, Any]],
    ids: Sequence[int] | Tensor,
    *,
    tokenizer: Any = None,
    scale: float | None = None,
    softcap: float | None = None,
    model_name: str = "",
    model: Model | None = None,
) -> Trace:
    """Make a trace of the vectors that another library recorded of one prompt.

    Args:
        layers: for each attention layer, in calling order, its "query" [h, n, d] and "key" [g, n, d] after rotation,
            its "value" [g, n, d_value] and its "weights" [h, n, n]; a batch of one in front, and objects that hold
            their tensor as `.value`, are taken too. Heads g share as many query heads each. Where "context" [h, n,
            d_value] is there as well, values are checked by it; else nothing shows whether they are the model's.
        ids: the prompt's n token ids.
        tokenizer: the library's, for labels; None: labels are the ids.
        scale: what scores are multiplied by; None: 1/sqrt(d).
        softcap: the largest size of a scaled score; None: there is no such limit.
        model_name: what the model is called.
        model: the same model loaded by `inspector.load`, for what needs it: next tokens, shares through W_o. It runs
            the prompt once, and must make the same vectors.

    Returns:
        The trace; `trace.source["largest difference"]` is that of any weight.

    Raises:
        InspectorError: something is missing or of another shape, or weights (or the context) computed from these
            vectors are not those that were handed over, or `model` makes other vectors.
    """
    tokens = _tokens(ids, tokenizer)
    if not isinstance(layers, Sequence) or not layers:
        raise InspectorError(
            f"layers={shown(layers)} holds no layer: give a list with query, key, value and weights of each."
        )
    made, worst, with_values = [], 0.0, 0
    for index, given in enumerate(layers):
        vectors = _vectors(index, given, len(tokens))
        layer, off = _checked_layer(index, vectors, scale, softcap)
        _check_context(index, vectors)
        made.append(layer)
        with_values += "context" in vectors
        worst = max(worst, off)
    dtype = str(made[0].query.dtype).removeprefix("torch.")
    source: dict[str, Any] = {"kind": "recorded elsewhere", "dtype": dtype, "torch": torch.__version__}
    source |= {"largest difference": worst, "layers whose values were checked": with_values}
    whole = TraceContents(
        tokens=tokens,
        layers=made,
        last_logits=None,
        source=source,
        model_name=model_name,
        prompt=None,
        prompt_length=None,
        precision=None,
        dtype=dtype,
        edits=(),
    )
    if model is None:
        return Trace(**whole)
    own = model.trace(list(tokens.ids))
    for layer, theirs in zip(made, _same_layers(made, own), strict=True):
        layer.info = replace(theirs.info, scale=layer.info.scale, softcap=layer.info.softcap)
    whole |= {"last_logits": own.last_logits, "model_name": own.model_name}
    return Trace(**whole, model=model, threads=torch.get_num_threads())


def from_transformer_lens(
    cache: Mapping[str, Tensor],
    ids: Sequence[int] | Tensor,
    *,
    tokenizer: Any = None,
    model: Model | None = None,
) -> Trace:
    """Make a trace of TransformerLens's ActivationCache.

    Args:
        cache: what `run_with_cache` gave, with each layer's attention: queries and keys (rotated ones where the model
            rotates), values and patterns.
        ids: the prompt's n token ids, or [1, n].
        tokenizer: the library's, for labels; None: that of the cache's model, where it has one.
        model: the same model loaded by `inspector.load`, for what needs it.

    Returns:
        The trace, checked as `from_tensors` does.

    Raises:
        InspectorError: the cache lacks something of a layer, or as `from_tensors`.
    """
    lens = getattr(cache, "model", None)
    config = getattr(lens, "cfg", None)
    names = set(cache.keys())
    layers = [dict(_lens_layer(cache, names, index)) for index in _lens_layers(names)]
    divides = getattr(config, "attn_scale", None) if getattr(config, "use_attn_scale", True) else 1.0
    cap = getattr(config, "attn_scores_soft_cap", None)
    return from_tensors(
        layers,
        ids,
        tokenizer=getattr(lens, "tokenizer", None) if tokenizer is None else tokenizer,
        scale=1 / divides if divides and divides > 0 else None,
        softcap=cap if cap is not None and cap > 0 else None,
        model_name=str(getattr(config, "model_name", "") or ""),
        model=model,
    )


def _same_layers(made: Sequence[Layer], own: Trace) -> Sequence[Layer]:
    """Return the layers of the model's own trace, if it makes the vectors that were handed over."""
    if len(made) != len(own.stored):
        raise InspectorError(
            f"{len(made)} layers were handed over and {own.model_name} has {len(own.stored)}: give the model's own."
        )
    for layer, theirs in zip(made, own.stored, strict=True):
        for name in ("query", "key", "value"):
            ours, other = getattr(layer, name).float(), getattr(theirs, name).float()
            room = SAME_VECTORS * float(other.abs().max())
            off = float((ours - other).abs().max()) if ours.shape == other.shape else math.inf
            if not off <= room:
                raise InspectorError(
                    f"Layer {layer.info.index}'s {name} vectors are not those that {own.model_name} makes of these "
                    f"tokens (they differ by up to {off:.3g}, and {room:.1g} are allowed): give the model that they "
                    "come from, or none."
                )
    return own.stored


def _lens_layers(names: set[str]) -> list[int]:
    """Return the layers of a cache that have a pattern; they must be all from 0 on."""
    known = sorted(
        int(parts[1]) for name in names if (parts := name.split("."))[-1] == "hook_pattern" and parts[0] == "blocks"
    )
    if not known or known != list(range(len(known))):
        raise InspectorError(
            f"The cache has patterns of layers {known[:5]}: run with names_filter=None, so that it has those of every "
            "layer from 0 on."
        )
    return known


def _lens_layer(cache: Mapping[str, Tensor], names: set[str], index: int) -> Iterator[tuple[str, Tensor]]:
    """Yield a layer's tensors by our names, heads first; TransformerLens has positions first, [b, t, h, d]."""
    place = f"blocks.{index}.attn."
    for ours, theirs in (
        ("query", ("hook_rot_q", "hook_q")),
        ("key", ("hook_rot_k", "hook_k")),
        ("value", ("hook_v",)),
    ):
        found = next((place + name for name in theirs if place + name in names), None)
        if found is None:
            raise InspectorError(
                f"The cache lacks {place}{theirs[0]}: run with names_filter=None, or a filter that lets it through."
            )
        yield ours, cache[found].transpose(-3, -2)
    yield "weights", cache[f"{place}hook_pattern"]
    if f"{place}hook_z" in names:
        yield "context", cache[f"{place}hook_z"].transpose(-3, -2)


def _tokens(ids: Sequence[int] | Tensor, tokenizer: Any) -> Tokens:
    """Return the tokens of ids, with a tokenizer's labels or with the ids themselves as labels."""
    if isinstance(ids, Tensor) and ids.ndim == 2 and len(ids) == 1:
        ids = ids[0]
    if tokenizer is not None:
        return tokenize(ids, tokenizer, vocabulary=2**31)  # type: ignore[arg-type]
    numbers = [whole_number(token) for token in ids] if getattr(ids, "ndim", 1) == 1 else [None]
    if not numbers or None in numbers:
        raise InspectorError(f"ids={shown(ids)} is no flat list of token ids: give the prompt's, such as [1, 5, 7].")
    labels = tuple(str(number) for number in numbers)
    return Tokens(ids=tuple(number for number in numbers if number is not None), labels=labels, texts=labels)


def _vectors(index: int, given: Mapping[str, Any], n: int) -> dict[str, Tensor]:
    """Return a layer's four tensors without their batch, of shapes that go together."""
    found: dict[str, Tensor] = {}
    for name in (*FIELDS, *(["context"] if isinstance(given, Mapping) and "context" in given else [])):
        tensor = given.get(name) if isinstance(given, Mapping) else None
        tensor = tensor if isinstance(tensor, Tensor) else getattr(tensor, "value", None)
        if not isinstance(tensor, Tensor):
            raise InspectorError(f"Layer {index} lacks a tensor {name}: give {', '.join(FIELDS)} of each layer.")
        if tensor.ndim == 4 and len(tensor) == 1:
            tensor = tensor[0]
        if tensor.ndim != 3 or tensor.shape[1] != n or (name == "weights" and tensor.shape[2] != n):
            wanted = "[h, n, n]" if name == "weights" else "[heads, n, width]"
            raise InspectorError(
                f"Layer {index}'s {name} is {list(tensor.shape)} where {wanted} with n = {n} tokens is wanted: give "
                "one prompt, heads first."
            )
        found[name] = tensor.detach()
    query, key, value, weights = (found[name] for name in FIELDS)
    context = found.get("context", weights)
    heads, groups = len(query), len(key)
    if (
        heads % groups
        or len(value) != groups
        or {len(weights), len(context)} != {heads}
        or query.shape[2] != key.shape[2]
    ):
        shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in found.items())
        raise InspectorError(f"Layer {index}'s tensors do not go together ({shapes}): give those of one layer.")
    return found


def _checked_layer(
    index: int, found: Mapping[str, Tensor], scale: float | None, softcap: float | None
) -> tuple[Layer, float]:
    """Return the layer under the rule of its mask, and how far its weights are from those handed over."""
    query, key, value, weights = (found[name] for name in FIELDS)
    n, width = query.shape[1], query.shape[2]
    scale = 1 / math.sqrt(width) if scale is None else float(scale)
    positions = torch.arange(n, device=query.device)
    largest = float((query.float() @ key.float().repeat_interleave(len(query) // len(key), 0).mT).abs().max()) * scale
    room = ROUNDINGS * torch.finfo(query.dtype).eps * max(1.0, largest) / 2
    off = math.inf
    # What a query may look at: all before it, or where the weights are not 0 (one that is too small to write reads 0,
    # so the plain rule is tried first).
    for mask in (MaskRule(), find_rule(weights > 0, every_row=True)):
        table = allowed(mask, positions, positions) if isinstance(mask, MaskRule) else mask
        ours = masked_weights(query, key, table, scale=scale, softcap=softcap)
        off = float((ours.double() - weights.double()).abs().max())
        if off <= room:
            window = mask.window if isinstance(mask, MaskRule) else None
            info = LayerInfo(
                index=index,
                name=f"attention {index}",
                block=index,
                heads=len(query),
                kv_heads=len(key),
                d_head=width,
                d_value=value.shape[2],
                window=window,
                scale=scale,
                softcap=softcap,
                sinks=False,
                rope=None,
            )
            return Layer(info=info, query=query, key=key, value=value, mask=mask), off
    raise InspectorError(
        f"Layer {index}'s weights, computed from its queries and keys, differ from those handed over by "
        f"up to {off:.3g} (rounding explains {room:.1g}): give queries and keys after rotation and norms, and the "
        f"model's own scale ({scale:.4g} was used) and soft-cap."
    )


def _check_context(index: int, found: Mapping[str, Tensor]) -> None:
    """Refuse values that do not give the context vectors handed over with them."""
    if "context" not in found:
        return
    weights, value, context = (found[name].float() for name in ("weights", "value", "context"))
    ours = weights @ value.repeat_interleave(len(weights) // len(value), 0)
    off = float((ours - context).abs().max()) if ours.shape == context.shape else math.inf
    room = ROUNDINGS * torch.finfo(found["context"].dtype).eps * max(1.0, float(value.abs().max()))
    if not off <= room:
        raise InspectorError(
            f"Layer {index}'s context vectors, its weights times its values, differ from those handed over by up to "
            f"{off:.3g} (rounding explains {room:.1g}): give the values of the same layer, heads first."
        )

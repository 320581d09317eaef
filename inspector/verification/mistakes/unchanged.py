"""Whether a planted mistake changes anything here: decided by measurement, and said why in words where it is known.

A bias of zeros may be dropped, and a rule for long texts left out where the text is short: such a mistake cannot be
caught, and nobody need catch it. It is one that gives, from the same inputs, the right layer's numbers: bit for bit, or
up to float64's rounding where the same number is computed in another order. Where it does change something, but in
exact numbers less than half a rounding of float32, no comparison could show it either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from inspector.verification.compare import STAGES, distance, largest
from reimpl.attention import CausalSelfAttention
from reimpl.frequencies import plain, rope_frequencies

if TYPE_CHECKING:
    from inspector.verification.mistakes.planting import Mistake

Reason = Callable[[CausalSelfAttention, int], str | None]  # (right layer, tokens in the prompt) -> why, where known

SAME_NUMBER = 2.0**-42  # of a stage's largest: a thousand roundings of float64
SAME_FREQUENCY = 2.0**-20  # eight roundings of float32


def same_bits(found: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    """Say whether two layers' stages are equal, bit for bit.

    Args:
        found: stages by name.
        right: likewise, of the right layer from the same inputs.

    Returns:
        Whether no element differs.
    """
    return all(torch.equal(found[stage], right[stage]) for stage in STAGES)


def moved(found: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> float:
    """Measure how far two layers' stages are apart.

    Args:
        found: stages by name, computed in float64.
        right: likewise, of the right layer from the same inputs.

    Returns:
        The largest difference of a stage over its largest number; infinity where a shape differs.
    """
    pairs = [(found[stage], right[stage]) for stage in STAGES]
    if any(a.shape != b.shape for a, b in pairs):
        return math.inf
    apart = [(distance(a, b), largest(b)) for a, b in pairs]
    return max((off / size if size else math.inf) if off else 0.0 for off, size in apart)


def why_unchanged(mistake: Mistake, layer: CausalSelfAttention, n: int, size: float = 0.0) -> str:
    """Say why a mistake that was found to change nothing does so.

    Args:
        mistake: which one.
        layer: the right layer.
        n: tokens in the control prompt.
        size: what `moved` measured.

    Returns:
        The reason; where none is known, that it changes nothing.
    """
    if size > SAME_NUMBER:
        return (
            f"it moves the control prompt's numbers by {size:.1g} of their size at most, less than one rounding of "
            "float32"
        )
    reason = REASONS.get(mistake.name)
    return (reason(layer, n) if reason else None) or "it changes no number on the control prompt"


def another_text_may_show(mistake: Mistake, layer: CausalSelfAttention, n: int) -> bool:
    """Say whether a mistake that changes nothing here could change something on another text.

    Args:
        mistake: which one.
        layer: the right layer.
        n: tokens in the text at hand.

    Returns:
        False where the layer's own numbers are why, such as biases of zeros.
    """
    reason = REASONS.get(mistake.name)
    if reason is None or reason(layer, n) is None or mistake.name in OF_THE_TEXT:
        return True
    return mistake.name == "rope scaling ignored" and layer.spec.rope is not None and layer.spec.rope.rule == "dynamic"


def _zero(*names: str, what: str) -> Reason:
    """Give the reason where all parameters with such an end are zero."""

    def reason(layer: CausalSelfAttention, _: int) -> str | None:
        found = [p for name, p in layer.named_parameters() if name.endswith(names)]
        return f"all biases of {what} are zero" if found and not any(bool(p.any()) for p in found) else None

    return reason


def _one_plane(layer: CausalSelfAttention, _: int) -> str | None:
    turns = layer.spec.rope
    return "its RoPE turns one plane, whose speed is 1" if turns is not None and turns.dim == 2 else None


def _not_slowed(layer: CausalSelfAttention, n: int) -> str | None:
    turns = layer.spec.rope
    if turns is None:
        return None
    found, factor = rope_frequencies(turns, n)
    if factor != 1 or not torch.allclose(found, plain(turns.theta, turns.dim), rtol=SAME_FREQUENCY, atol=0.0):
        return None
    trained = dict(turns.scaling).get("max_position_embeddings")
    if turns.rule == "dynamic" and isinstance(trained, int) and n <= trained:
        return f"the control prompt of {n} tokens is no longer than the {trained} of the training"
    return f"with its numbers the rule '{turns.rule}' changes no frequency"


def _scale_of_model(layer: CausalSelfAttention, _: int) -> str | None:
    return "its scale is 1/sqrt(d_model)" if layer.spec.scale == layer.spec.d_model**-0.5 else None


def _equal_norm_weights(layer: CausalSelfAttention, _: int) -> str | None:
    weights = [getattr(getattr(layer.projections, name, None), "weight", None) for name in ("q_norm", "k_norm")]
    if all(weight is None or bool((weight == weight.flatten()[0]).all()) for weight in weights):
        return "each norm's weights are all equal, and turning a vector does not change its length"
    return None


def _heads_alike(_: CausalSelfAttention, __: int) -> str:
    return "its key/value heads are all alike"


def _under_cap(layer: CausalSelfAttention, _: int) -> str:
    return f"no score of the control prompt is large enough for the cap of {layer.spec.softcap:g} to bend it"


def _within_clip(layer: CausalSelfAttention, _: int) -> str:
    return f"no number on the control prompt reaches the limit of {layer.spec.clip:g}"


def _near(layer: CausalSelfAttention, n: int) -> str | None:
    temperature = layer.spec.temperature
    if temperature is None:
        return None
    return f"queries grow with steps of {temperature.every:g} positions, and the control prompt has {n} tokens"


def _all_chosen(_: CausalSelfAttention, n: int) -> str:
    return f"with {n} tokens the model chooses every key that the mask allows"


# Mistake -> why it may change nothing. These words are used only where it was measured that it does not.
REASONS: dict[str, Reason] = {
    "rope style swapped": _one_plane,
    "rope base 10x": _one_plane,
    "rope base 10000": _one_plane,
    "rope scaling ignored": _not_slowed,
    "scale of d_model": _scale_of_model,
    "soft-cap left out": _under_cap,
    "key/value heads tiled": _heads_alike,
    "one key/value head for all": _heads_alike,
    "qkv bias dropped": _zero(
        *(f"{name}_proj.bias" for name in ("q", "k", "v", "qkv", "q_a", "kv_a")), what="its queries, keys and values"
    ),
    "output bias dropped": _zero("o_proj.bias", what="W_o"),
    "gate bias dropped": _zero("head_bias", what="its gate"),
    "norm on the other side of rope": _equal_norm_weights,
    "clip left out": _within_clip,
    "temperature left out": _near,
    "all keys visible": _all_chosen,
}
# Of these the reasons lie in the text, not in the layer.
OF_THE_TEXT = {"soft-cap left out", "clip left out", "temperature left out", "all keys visible"}

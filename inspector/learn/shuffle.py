"""Shuffle a layer's input tokens, and compare its output with RoPE on and off and with the mask on and off.

Without both, attention does not know in which order tokens stand: shuffle its inputs, and its outputs are shuffled
alike, nothing else. Computed by our own layer on the captured attention input, under a changed spec. With RoPE or with
the causal mask this must fail: these are the controls.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from inspector.errors import InspectorError
from inspector.model.model import model_of
from inspector.verification.compare import Check, compare_stage
from inspector.verification.mistakes.core import NoMask
from inspector.verification.shared_inputs import external_inputs
from inspector.verification.tolerances import stage_tolerances
from reimpl.attention import AttentionTrace, CausalSelfAttention, ExternalInputs

if TYPE_CHECKING:
    from inspector.trace.trace import Trace

SHUFFLED_UP_TO = 512  # tokens; each of four variants computes n x n weights of all heads twice


@dataclass(frozen=True)
class Variant:
    """One way to run the layer.

    Attributes:
        rope: whether RoPE is on.
        mask: whether the mask is on.
        check: outputs of the shuffled tokens, put back in order, against outputs of the tokens in order.
        differences: the largest of each token, [n], in the tokens' own order.
    """

    rope: bool
    mask: bool
    check: Check
    differences: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shuffled:
    """What shuffling does in every variant.

    Attributes:
        order: which token stands at each place after shuffling, [n].
        variants: each way to run the layer.
        note: a sentence where there is more to know; else empty.
    """

    order: npt.NDArray[np.int64]
    variants: tuple[Variant, ...]
    note: str


def shuffled(trace: Trace, layer: int, seed: int, *, up_to: int = SHUFFLED_UP_TO) -> Shuffled:
    """Shuffle the first tokens' attention inputs and run the layer on them, in every variant it has.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        seed: of the shuffle.
        up_to: tokens, at most.

    Returns:
        The order and every variant's differences.

    Raises:
        InspectorError: there is only one token, the trace has no model, the family is not reimplemented, or the layer
            takes its keys from another one.
    """
    ours = model_of(trace, "running the layer on shuffled tokens").reimplementation[layer]
    if ours.spec.shares is not None:
        raise InspectorError(
            f"Layer {layer} uses the keys and values of {ours.spec.shares}, rotated there already, so its RoPE cannot "
            "be switched off here; choose another layer."
        )
    if trace.n < 2:
        raise InspectorError("One token cannot be shuffled; use a prompt of at least 2 tokens.")
    n = min(trace.n, up_to)
    x, table = trace.input(layer)[:n], external_inputs(ours, trace, layer).mask
    external = ExternalInputs(mask=None if table is None else table[..., :n, :n])
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    if bool((order == torch.arange(n)).all()):  # a shuffle that leaves all in place would show nothing
        order = order.roll(1)
    variants = []
    for rope, mask, variant in _variants(ours):
        with torch.inference_mode():
            straight, mixed = variant.stages(x, external=external), variant.forward(x[order], external=external)
            back = torch.empty_like(mixed)
            back[order] = mixed
            check = _check(trace, layer, back, straight)
        differences = (back.double() - straight.output.double()).abs().amax(-1).cpu().numpy()
        variants.append(Variant(rope, mask, check, differences))
    return Shuffled(order.numpy(), tuple(variants), _note(ours, layer))


def _variants(ours: CausalSelfAttention) -> Iterator[tuple[bool, bool, CausalSelfAttention]]:
    """Yield the layer with its RoPE (where it has any) and mask on and off, sharing its parameters."""
    without = replace(ours.spec, rope=None, temperature=None)
    for rope, spec in ((True, ours.spec), (False, without)):
        if rope and ours.spec.rope is None:
            continue
        for mask in (True, False):
            yield rope, mask, (CausalSelfAttention if mask else NoMask).like(ours, spec)


def _check(trace: Trace, layer: int, back: Tensor, straight: AttentionTrace) -> Check:
    """Compare the outputs within the tolerance that verification has for them."""
    limits = stage_tolerances(straight, trace.layers[layer], d_model=back.shape[-1], chained=True)
    tolerance, reason = limits["output"]
    return compare_stage(layer, "output", back, straight.output, tolerance=tolerance, reason=reason)


def _note(ours: CausalSelfAttention, layer: int) -> str:
    """Say what else is switched off, or cannot be."""
    if ours.spec.temperature is not None:
        return f"Layer {layer} also scales its queries by position (query temperature); where RoPE is off, so is this."
    return f"Layer {layer} does not use RoPE, so there is none to switch off." if ours.spec.rope is None else ""

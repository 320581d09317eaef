"""Whether what differs is the model's own doing: edited weights, rounded RoPE frequencies, hooks and settings.

Each is said as the cause only where it explains everything: with the model's own weights and frequencies, or without
its hooks and settings, every stage of every layer must hold.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import TypeVar

import torch

from inspector.model.model import Model
from inspector.text import few
from inspector.trace.trace import Trace
from inspector.verification.by_stage import compare_stages, each_from_reference, first_difference
from inspector.verification.compare import STAGE_NAMES, Check, judge_twins
from inspector.verification.frequencies_of_model import own_frequencies, turned_by_own
from inspector.verification.hooks_of_model import in_words, own_hooks, without
from inspector.verification.reference import attention_input, library_stages
from inspector.verification.settings_of_model import as_the_class_has_them, own_settings, settings_in_words
from inspector.verification.shared_inputs import external_inputs
from inspector.verification.splice import spliced_model
from reimpl.attention import CausalSelfAttention

A = TypeVar("A")
B = TypeVar("B")
ROUNDING_ALONE = "on this prompt that moves no stage by more than rounding."


def models_doing(
    model: Model, trace: Trace, ours: Sequence[CausalSelfAttention], kinds: Sequence[Hashable], first: Check | None
) -> tuple[list[str], str]:
    """Say what is the model's own doing.

    Args:
        model: the model that is verified.
        trace: the prompt's, with the attention inputs.
        ours: our layers.
        kinds: which layers run the same kernels.
        first: the first difference; None: nothing differs.

    Returns:
        Remarks; and the cause, empty where nothing of the model's own explains all that differs.
    """
    found = own_frequencies(model.model, ours, trace.n)
    rounded = [f"{each.sentence}." for each in found if each.cause]  # others may belong to a part that is not ours
    if first is None:
        return rounded, f"{rounded[0][:-1]}; {ROUNDING_ALONE}" if rounded else ""
    where = f"{STAGE_NAMES[first.stage]} at layer {first.layer} by up to {first.max_abs:.3g}"
    edited = _edited(model, ours)
    for some_edited, turns in _each_then_both(edited, found):
        layers = model.attention_layers_now() if some_edited else ours
        if _holds(trace, [turned_by_own(layer, turns, trace.n) for layer in layers], kinds):
            causes = [f"The model's weights are no longer those of its files, in the attention of {edited}"]
            causes = [*causes * bool(some_edited), *(each.sentence for each in turns[:1])]
            what = f"this moves {where}, and with the model's own every stage of every layer is reproduced."
            return [f"{each.sentence}." for each in found], "; ".join([*causes, what])
    if not (own_hooks(model) or own_settings(model)):
        return rounded, ""
    # A copy that shares every parameter: others may be running the model itself.
    twin = Model(spliced_model(model.model, {}), model.tokenizer, model.source)
    for hooks, settings in _each_then_both(own_hooks(twin), own_settings(twin)):
        with without(hooks), as_the_class_has_them(settings):
            holds = _holds(twin.trace(list(trace.tokens.ids), keep=("input",)), ours, kinds)
        if holds:
            causes = [f"hooks of its own in its attention ({in_words(hooks)})"] * bool(hooks)
            causes += [f"a setting of its own ({settings_in_words(settings)})"] if settings else []
            return rounded, (
                f"The model has {' and '.join(causes)}: this moves {where}, and without that every stage of every "
                "layer is reproduced."
            )
    return rounded, ""


def _each_then_both(one: Sequence[A], other: Sequence[B]) -> Iterator[tuple[Sequence[A], Sequence[B]]]:
    """Yield what there is alone, then together: one that is harmless beside the other is not named with it."""
    if one:
        yield one, ()
    if other:
        yield (), other
    if one and other:
        yield one, other


def _edited(model: Model, ours: Sequence[CausalSelfAttention]) -> str:
    """Name the layers whose weights in the model are others than those that ours were read with from its files."""
    if model.weights_from == "memory":
        return ""
    pairs = zip(ours, model.attention_layers_now(), strict=True)
    return few([f"layer {index}" for index, (a, b) in enumerate(pairs) if not _same_weights(a, b)])


def _same_weights(a: CausalSelfAttention, b: CausalSelfAttention) -> bool:
    theirs = b.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in a.state_dict().items())


def _holds(trace: Trace, ours: Sequence[CausalSelfAttention], kinds: Sequence[Hashable]) -> bool:
    """Return whether every stage of every layer holds."""
    checks: list[Check] = []
    for index, layer in enumerate(trace.stored):
        reference, x = library_stages(layer, ours[index].spec.kv_heads), attention_input(layer)
        with torch.inference_mode():
            found = each_from_reference(ours[index], x, reference, external_inputs(ours[index], trace, index))
        checks += compare_stages(layer.info, x, found, reference)
    return first_difference(judge_twins(checks, kinds)) is None

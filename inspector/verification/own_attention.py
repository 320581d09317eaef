"""Somebody's own attention judged by the library's numbers: the first stage that differs, and the likely cause.

It is a black box that gets a layer's attention input, so its errors add up from stage to stage, and the tolerances
allow for that. Ours only helps to name causes and to measure rounding, where the model's family is reimplemented.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from inspector.capture.records import OnLayer
from inspector.errors import InspectorError
from inspector.model.model import Model
from inspector.trace.trace import Trace
from inspector.verification.by_stage import compare_stages, first_difference, rounding_errors, worst_of_each_stage
from inspector.verification.compare import STAGE_NAMES, STAGES, Check, compare_stage
from inspector.verification.controls import control_steps, run_controls
from inspector.verification.frequencies_of_model import own_frequencies
from inspector.verification.mistakes.core import MISTAKES
from inspector.verification.prepare import (
    Prompt,
    Steps,
    header,
    recorded_prompt,
    reimplemented_layers,
    remarks_on,
    weights_remarks,
)
from inspector.verification.reference import attention_input, library_stages
from inspector.verification.report import ControlResult, RoundingError, VerificationReport
from inspector.verification.shared_inputs import external_inputs
from reimpl.attention import AttentionTrace, CausalSelfAttention

# Somebody's attention: (attention input [n, d_model], layer) -> any of the stages by name, head-first.
OwnAttention = Callable[[Tensor, int], Mapping[str, Tensor]]


def verify_own_attention(
    model: Model,
    prompt: Prompt,
    attention: OwnAttention,
    *,
    checkpoint: str | Path | None = None,
    controls: bool = True,
    on_layer: OnLayer | None = None,
) -> VerificationReport:
    """Compare somebody's own attention with the library's numbers, for this model and prompt.

    Args:
        model: a model as `inspector.load` returns it.
        prompt: a text, token ids, or a trace.
        attention: see `inspector.verify`.
        checkpoint: measure rounding by this folder's weights instead of the model's own.
        controls: also run the planted mistakes.
        on_layer: called as on_layer(done, total) after each layer, then after each control.

    Returns:
        The report.

    Raises:
        InspectorError: `attention` is no function, or returns anything but stages.
    """
    if not callable(attention):
        raise InspectorError(
            f"attention={attention!r:.60} cannot be called: give a function of (attention input, layer)."
        )
    started = time.perf_counter()
    trace, remarks = recorded_prompt(model, prompt)
    ours = _layers_if_known(model, checkpoint)
    controls = controls and bool(ours)
    steps = Steps(on_layer, len(trace.layers) + (control_steps(spliced=False) if controls else 0))
    checks, rounding = _judge(trace, ours, attention, steps)
    first = first_difference(checks)
    right = ours if checkpoint is None else model.reimplementation
    rounded = own_frequencies(model.model, ours, trace.n)
    causes = _likely_causes(trace, right, attention, first) if ours and first is not None else ()
    control_results: list[ControlResult] = []
    for result in run_controls(model, right, splice_too=False) if controls else ():
        control_results.append(result)
        steps.step()
    return VerificationReport(
        **header(model, trace, checkpoint),
        judged="somebody's own attention",
        checks=tuple(checks),
        rounding=tuple(worst_of_each_stage(rounding)),
        spliced=None,
        control_results=tuple(control_results),
        first_difference=first,
        likely_causes=tuple(causes),
        seconds=time.perf_counter() - started,
        remarks=(
            *remarks,
            *remarks_on(ours),
            *weights_remarks(model, checkpoint),
            *(f"{each.sentence}." for each in rounded if each.cause),
        ),
    )


def _layers_if_known(model: Model, checkpoint: str | Path | None) -> list[CausalSelfAttention]:
    """Return our layers; none where the model's family is not reimplemented, which is no hindrance here."""
    if checkpoint is not None:
        return reimplemented_layers(model, checkpoint)
    with contextlib.suppress(InspectorError):
        return model.reimplementation
    return []


def _judge(
    trace: Trace, ours: Sequence[CausalSelfAttention], attention: OwnAttention, steps: Steps
) -> tuple[list[Check], list[RoundingError]]:
    """Compare every layer, and measure rounding where we have a layer of our own."""
    checks: list[Check] = []
    rounding: list[RoundingError] = []
    external = [external_inputs(layer, trace, index) for index, layer in enumerate(ours)]
    for index, layer in enumerate(trace.stored):
        reference = library_stages(layer, ours[index].spec.kv_heads if ours else None)
        x = attention_input(layer)
        with torch.inference_mode():
            found = _readable(attention(x, index), reference)
        checks += compare_stages(layer.info, x, found, reference, chained=True)
        if ours:
            rounding += rounding_errors(found, reference, ours[index], x, external[index])
        steps.step()
    return checks, rounding


def _readable(stages: Mapping[str, Tensor], reference: AttentionTrace) -> dict[str, Tensor]:
    """Bring somebody's stages into our shapes: no batch dimension, and key/value heads that are not repeated."""
    if not isinstance(stages, Mapping) or not all(isinstance(tensor, Tensor) for tensor in stages.values()):
        raise InspectorError(
            f"The attention returned {type(stages).__name__}; return a mapping of stage names to torch tensors."
        )
    if unknown := set(stages) - set(STAGES):
        raise InspectorError(
            f"The attention returned {', '.join(sorted(unknown))}; the stages are called {', '.join(STAGES)}."
        )
    if not stages:
        raise InspectorError(f"The attention returned no stage; return at least one of {', '.join(STAGES)}.")
    readable = {}
    for stage, tensor in stages.items():
        expected = getattr(reference, stage)
        if tensor.ndim == expected.ndim + 1 and tensor.shape[0] == 1:
            tensor = tensor[0]
        heads = reference.query.shape[0]
        if stage in ("key_pre", "key", "value") and tensor.shape[0] == heads != expected.shape[0]:
            group = heads // expected.shape[0]
            if torch.equal(tensor, tensor[::group].repeat_interleave(group, 0)):
                tensor = tensor[::group]
        readable[stage] = tensor.detach()
    return readable


def _likely_causes(
    trace: Trace, ours: Sequence[CausalSelfAttention], attention: OwnAttention, first: Check
) -> Iterator[str]:
    """Name the planted mistakes that give somebody's numbers at the first stage that differs."""
    layer = trace.stored[first.layer]
    reference = library_stages(layer, ours[first.layer].spec.kv_heads if ours else None)
    x = attention_input(layer)
    with torch.inference_mode():
        found = _readable(attention(x, first.layer), reference)[first.stage]
        for mistake in MISTAKES:
            planted = mistake.plant(ours[first.layer], trace.n)
            if isinstance(planted, str):
                continue
            external = external_inputs(ours[first.layer], trace, first.layer)
            wrong = getattr(planted.stages(x, external=external), first.stage)
            same = compare_stage(first.layer, first.stage, found, wrong, tolerance=first.tolerance, reason="")
            if same.ok and not torch.equal(wrong, getattr(reference, first.stage)):
                yield f"your {STAGE_NAMES[first.stage]} equals ours with {mistake.meaning}"

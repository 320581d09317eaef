"""`inspector.verify`: the library's numbers at every layer and stage compared with the reimplementation's.

    library     forward pass ─► attention input of each layer ─► its own module again, eager ─► reference stages
    ours        the same attention input ─► reimpl, from the checkpoint's files ─────────────► the same stages

Each stage starts from the library's numbers of the stage before, so that no error can hide behind another's. Then
spliced (errors may add up), against float64 (whose rounding is smaller), and the controls: planted mistakes, each of
which must be caught.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path

import torch

from inspector.capture.records import OnLayer
from inspector.model.model import Model
from inspector.trace.trace import Trace
from inspector.verification.by_stage import (
    compare_stages,
    each_from_reference,
    first_difference,
    rounding_errors,
    worst_of_each_stage,
)
from inspector.verification.compare import STAGE_NAMES, Check, judge_twins
from inspector.verification.controls import control_steps, run_controls
from inspector.verification.frequencies_of_model import own_frequencies, turned_by_own
from inspector.verification.own_attention import OwnAttention, verify_own_attention
from inspector.verification.prepare import (
    Prompt,
    Steps,
    header,
    recorded_prompt,
    refuse_no_model,
    reimplemented_layers,
    remarks_on,
    weights_remarks,
)
from inspector.verification.reference import attention_input, library_stages
from inspector.verification.report import ControlResult, RoundingError, VerificationReport
from inspector.verification.shared_inputs import external_inputs
from inspector.verification.splice import SplicedResult, Unspliceable, compare_spliced
from inspector.verification.written_out import verifiable
from reimpl.attention import CausalSelfAttention


def verify(
    model: Model,
    prompt: Prompt,
    *,
    attention: OwnAttention | None = None,
    checkpoint: str | Path | None = None,
    controls: bool = True,
    spliced: bool = True,
    on_layer: OnLayer | None = None,
) -> VerificationReport:
    """Compare the reimplementation (or `attention`) with the library's own numbers, for this model and prompt.

    Args:
        model: a model as `inspector.load` returns it.
        prompt: a text, token ids (a list, or an integer tensor [n] or [1, n]), or a trace.
        attention: judge this function instead: (attention input [n, d_model], layer) -> mapping with any of the stages
            query_pre, key_pre, query, key, value [heads, n, d], weights [heads, n, n], context [heads, n, d], output
            [n, d_model]. The report names the first stage that differs and, where a planted mistake gives the same
            numbers, the likely cause.
        checkpoint: reimplement from this folder's config.json and safetensors instead of the model's own.
        controls: also run the planted mistakes.
        spliced: also run the reimplementation inside the library's model.
        on_layer: called as on_layer(done, total) after each layer, then after the spliced run and each control; what
            it raises ends the verification.

    Returns:
        The report: `.ok`, `.verdict`, `.table`; printed, it is a page.

    Raises:
        InspectorError: the model's family is not reimplemented, the checkpoint cannot be read, the prompt cannot be
            taken, or the verification would not fit in memory.
    """
    if attention is not None:
        return verify_own_attention(
            model, prompt, attention, checkpoint=checkpoint, controls=controls, on_layer=on_layer
        )
    started = time.perf_counter()
    refuse_no_model(model)
    held, (model, prompt, rounded) = model, verifiable(model, prompt)
    trace, remarks = recorded_prompt(model, prompt)
    ours = reimplemented_layers(model, checkpoint)
    remarks += [*remarks_on(ours), *weights_remarks(held, checkpoint), *rounded]
    steps = Steps(on_layer, len(trace.layers) + spliced + (control_steps(spliced=spliced) if controls else 0))
    kinds = _kinds(model, ours, checkpoint)
    checks, rounding = _stage_by_stage(trace, ours, kinds, steps)
    first = first_difference(checks)
    # Another checkpoint's config says nothing of this model's frequencies.
    frequencies, cause = _models_doing(model, trace, ours, kinds, first) if checkpoint is None else ([], "")
    remarks += frequencies
    in_place, refusals = _in_place(model, trace, ours, steps) if spliced else (None, [])
    right = ours if checkpoint is None else model.reimplementation
    planted = _controls(model, right, steps, splice_too=in_place is not None) if controls else ()
    return VerificationReport(
        **header(held, trace, checkpoint),
        judged="the reimplementation",
        checks=tuple(checks),
        rounding=tuple(worst_of_each_stage(rounding)),
        spliced=in_place,
        control_results=tuple(planted),
        first_difference=first,
        likely_causes=(),
        seconds=time.perf_counter() - started,
        remarks=(*remarks, *refusals),
        models_doing=cause,
    )


def _stage_by_stage(
    trace: Trace, ours: Sequence[CausalSelfAttention], kinds: Sequence[Hashable], steps: Steps
) -> tuple[list[Check], list[RoundingError]]:
    """Compare every layer at every stage, and both with float64."""
    checks: list[Check] = []
    rounding: list[RoundingError] = []
    external = [external_inputs(layer, trace, index) for index, layer in enumerate(ours)]
    for index, layer in enumerate(trace.stored):
        reference, x = library_stages(layer, ours[index].spec.kv_heads), attention_input(layer)
        with torch.inference_mode():
            chained = vars(ours[index].stages(x, external=external[index]))
            found = each_from_reference(ours[index], x, reference, external[index])
        checks += compare_stages(layer.info, x, found, reference)
        if kinds[index] == ours[index].spec:
            rounding += rounding_errors(chained, reference, ours[index], x, external[index])
        steps.step()
    return judge_twins(checks, kinds), rounding


def _kinds(model: Model, ours: Sequence[CausalSelfAttention], checkpoint: str | Path | None) -> list[Hashable]:
    """Say which layers run the same kernels: those of one spec, each layer apart whose matrices are written out.

    Products with a written-out matrix add up in another order than the model's own, which keeps base and adapter apart.
    """
    forms = () if checkpoint is not None else tuple(model.packed_or_adapted)
    written = [any(form.startswith(f"{info.name}.") for form in forms) for info in model.layers]
    return [(layer.spec, index) if written[index] else layer.spec for index, layer in enumerate(ours)]


def _models_doing(
    model: Model, trace: Trace, ours: Sequence[CausalSelfAttention], kinds: Sequence[Hashable], first: Check | None
) -> tuple[list[str], str]:
    """Say where the model's own RoPE frequencies are not its config's, and whether that explains what differs.

    It does where nothing differs, or where with them every stage of every layer holds.
    """
    found = own_frequencies(model.model, ours, trace.n)
    if first is not None and found:
        layers = [turned_by_own(layer, found, trace.n) for layer in ours]
        if first_difference(_compared(trace, layers, kinds)) is not None:
            return [f"{each.sentence}." for each in found if each.cause], ""
        where = f"{STAGE_NAMES[first.stage]} at layer {first.layer} by up to {first.max_abs:.3g}"
        cause = f"{found[0].sentence}; this moves {where}, and with it every stage of every layer is reproduced."
        return [f"{each.sentence}." for each in found], cause
    rounded = [f"{each.sentence}." for each in found if each.cause]  # others may belong to a part that is not ours
    return rounded, f"{rounded[0][:-1]}; on this prompt that moves no stage by more than rounding." if rounded else ""


def _compared(trace: Trace, ours: Sequence[CausalSelfAttention], kinds: Sequence[Hashable]) -> list[Check]:
    """Compare every layer at every stage."""
    checks: list[Check] = []
    for index, layer in enumerate(trace.stored):
        reference, x = library_stages(layer, ours[index].spec.kv_heads), attention_input(layer)
        with torch.inference_mode():
            found = each_from_reference(ours[index], x, reference, external_inputs(ours[index], trace, index))
        checks += compare_stages(layer.info, x, found, reference)
    return judge_twins(checks, kinds)


def _in_place(
    model: Model, trace: Trace, ours: list[CausalSelfAttention], steps: Steps
) -> tuple[SplicedResult | None, list[str]]:
    """Run the reimplementation inside the library's model, or say why it cannot be."""
    found, refusals = None, []
    try:
        found = compare_spliced(model, trace.tokens.ids, ours)
    except Unspliceable as reason:
        refusals = [f"Not run inside the library's model: {reason}."]
    steps.step()
    return found, refusals


def _controls(
    model: Model, right: Sequence[CausalSelfAttention], steps: Steps, *, splice_too: bool
) -> Iterator[ControlResult]:
    """Run the planted mistakes, a step each."""
    for result in run_controls(model, right, splice_too=splice_too):
        yield result
        steps.step()

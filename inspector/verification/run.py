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
from inspector.errors import InspectorError
from inspector.model.model import Model
from inspector.trace.trace import Trace
from inspector.verification.by_stage import (
    compare_stages,
    each_from_reference,
    first_difference,
    rounding_errors,
    worst_of_each_stage,
)
from inspector.verification.causes_in_model import models_doing
from inspector.verification.compare import Check, judge_twins
from inspector.verification.controls import control_steps, run_controls
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
from inspector.verification.splice import Unspliceable
from inspector.verification.spliced_run import Splice, SplicedResult, compare_spliced
from inspector.verification.written_out import verifiable
from reimpl.attention import CausalSelfAttention


def verify(
    model: Model,
    prompt: Prompt,
    *,
    attention: object = None,
    checkpoint: str | Path | None = None,
    controls: bool = True,
    spliced: bool = True,
    quick: bool = False,
    on_layer: OnLayer | None = None,
) -> VerificationReport:
    """Compare the reimplementation with the library's own numbers, for this model and prompt.

    Args:
        model: a model as `inspector.load` returns it.
        prompt: a text, token ids (a list, or an integer tensor [n] or [1, n]), or a trace.
        attention: refused: your own attention is judged by `inspector.judge`.
        checkpoint: reimplement from this folder's config.json and safetensors instead of the model's own.
        controls: also run the planted mistakes.
        spliced: also run the reimplementation inside the library's model.
        quick: let it write nothing there, which takes most of the time; the report says so.
        on_layer: called as on_layer(done, total) after each layer, then after the spliced run and each control; what
            it raises ends the verification.

    Returns:
        The report: `.ok`, `.verdict`, `.table`; printed, it is a page.

    Raises:
        InspectorError: the model's family is not reimplemented, the checkpoint cannot be read, the prompt cannot be
            taken, the verification would not fit in memory, or `attention` was given.
    """
    if attention is not None:
        raise InspectorError(
            "verify compares the reimplementation alone: to judge your own attention, call "
            "inspector.judge(model, attention, prompt)."
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
    frequencies, cause = models_doing(model, trace, ours, kinds, first) if checkpoint is None else ([], "")
    remarks += frequencies
    splice, in_place, refusals = _in_place(model, trace, ours, steps, quick=quick) if spliced else (None, None, [])
    right = ours if checkpoint is None else model.reimplementation
    noise = 0.0 if in_place is None else in_place.sdpa_max_abs
    planted = _controls(model, right, steps, splice=splice, noise=noise) if controls else ()
    return VerificationReport(
        **header(held, trace, checkpoint),
        checks=tuple(checks),
        rounding=tuple(worst_of_each_stage(rounding)),
        spliced=in_place,
        control_results=tuple(planted),
        first_difference=first,
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


def _in_place(
    model: Model, trace: Trace, ours: list[CausalSelfAttention], steps: Steps, *, quick: bool
) -> tuple[Splice | None, SplicedResult | None, list[str]]:
    """Run the reimplementation inside the library's model, or say why it cannot be."""
    splice, found, refusals = None, None, []
    try:
        splice, most = Splice(model, ours), {"generated": 0} if quick else {}
        found = compare_spliced(model, trace.tokens.ids, ours, splice=splice, **most)
    except Unspliceable as reason:
        refusals = [f"Not run inside the library's model: {reason}."]
    steps.step()
    return splice, found, refusals


def _controls(
    model: Model, right: Sequence[CausalSelfAttention], steps: Steps, *, splice: Splice | None, noise: float
) -> Iterator[ControlResult]:
    """Run the planted mistakes, a step each."""
    for result in run_controls(model, right, splice=splice, noise=noise):
        yield result
        steps.step()

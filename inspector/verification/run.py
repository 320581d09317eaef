"""The judge: a model and a prompt go in; the library's numbers at every layer and stage are compared with the
reimplementation's (or with somebody's own attention), and a VerificationReport comes out.

    library     forward pass ─► attention input of each layer ─► its own module again, eager ─► reference stages
    ours        the same attention input ─► reimpl, from the checkpoint's files ─────────────► the same stages

Each stage starts from the library's numbers of the stage before, so that no error can hide behind another's (somebody's
own attention is a black box and starts from the layer's input). Then spliced (errors may add up), against
float64 (whose rounding is smaller), and the controls: planted mistakes, each of which must be caught.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import reimpl
from inspector.capture.records import Layer, LayerInfo, OnLayer
from inspector.capture.rerun import run_again
from inspector.errors import InspectorError
from inspector.model.cost import refuse_verification
from inspector.model.matching import external_inputs, pair
from inspector.model.model import Model
from inspector.trace.trace import Trace
from inspector.verification.compare import STAGE_NAMES, STAGES, Check, compare, distance, judge_twins, tolerances
from inspector.verification.mistakes.core import MISTAKES, Mistake
from inspector.verification.report import ControlResult, RoundingError, VerificationReport
from inspector.verification.splice import Unspliceable, compare_spliced
from reimpl.attention import AttentionTrace, CausalSelfAttention, ExternalInputs, attention_weights
from reimpl.rope import rotate

# Somebody's attention: (attention input [n, d_model], layer) -> any of the stages by name, head-first.
OwnAttention = Callable[[Tensor, int], Mapping[str, Tensor]]

# Long enough for each mistake to show: many tokens, several of them repeated at different distances.
CONTROL_PROMPT = (
    "Houston, we have a problem. The cat sat on the mat because it was tired; the dog sat on the cat because it was "
    "not. We'll always have Paris, and Paris will always have the light: a lamp is light, a feather is light. "
    "1 2 3 5 8 13 21 34, 1 2 3 5 8 13 21 34. Houston, we have a solution. def add(a, b): return a + b"
)


def verify(
    model: Model,
    prompt: str | list[int] | Trace,
    *,
    attention: OwnAttention | None = None,
    checkpoint: str | Path | None = None,
    controls: bool = True,
    spliced: bool = True,
    on_layer: OnLayer | None = None,
) -> VerificationReport:
    """Compare the reimplementation (or `attention`) with the library's own numbers, for this model and prompt.

    attention:  judge this callable instead: (attention input [n, d_model], layer) -> mapping with any of the stages
                query_pre, key_pre, query, key, value [heads, n, d], weights [heads, n, n], context [heads, n, d],
                output [n, d_model]. The report names the first stage that differs and, where a planted mistake
                gives the same numbers, the likely cause.
    checkpoint: reimplement from this folder's config.json and safetensors instead of the model's own.
    controls:   also run the planted mistakes; spliced: also run the reimplementation inside the library's model.
    on_layer:   called as on_layer(done, total) after each layer, then after each control and the spliced run;
                what it raises ends the verification.

    Raises InspectorError where the model's family is not reimplemented or the checkpoint cannot be read.
    """
    started = time.perf_counter()
    tokens = prompt.tokens if isinstance(prompt, Trace) else model.tokenize(prompt)
    refuse_verification(model.layers, len(tokens), model.vocabulary)
    remarks = []
    if isinstance(prompt, Trace) and prompt.exact:
        trace = prompt
    else:
        trace = model.trace(prompt if isinstance(prompt, str) else list(tokens.ids), keep=("input",))
    if isinstance(prompt, Trace) and trace is not prompt:
        remarks.append("The trace holds rounded vectors or not all layers: the prompt was run again, for exact ones.")
    trace.input(0)  # a trace that did not keep the attention inputs fetches them now
    ours = _layers(model, checkpoint, needed=attention is None)
    remarks += _remarks(ours)
    spliced = spliced and attention is None
    controls = controls and bool(ours)
    total = len(trace.layers) + spliced + (len(MISTAKES) + spliced if controls else 0)
    steps = itertools.count(1)

    def step() -> None:
        if on_layer:
            on_layer(next(steps), total)

    checks: list[Check] = []
    rounding: list[RoundingError] = []
    external = [external_inputs(layer, trace, index) for index, layer in enumerate(ours)]
    judged: OwnAttention = attention or (lambda x, layer: vars(ours[layer].stages(x, external=external[layer])))
    for index, (reference, kept) in enumerate(_references(trace)):
        x = _input(kept)
        with torch.inference_mode():
            chained = _readable(judged(x, index), reference)
            found = (
                chained if attention is not None else _each_from_reference(ours[index], x, reference, external[index])
            )
        checks += _compare(kept.info, x, found, reference, chained=attention is not None)
        rounding += _rounding(chained, reference, ours[index], x, external[index]) if ours else []
        step()
    if attention is None:
        checks = judge_twins(checks, [layer.spec for layer in ours])
    first = _first(checks)
    right = ours if checkpoint is None else model.reimplementation
    causes = _causes(trace, right, judged, first) if attention is not None and ours and first is not None else ()
    in_place = None
    if spliced:
        try:
            in_place = compare_spliced(model, trace.tokens.ids, ours)
        except Unspliceable as reason:
            remarks.append(f"Not run inside the library's model: {reason}.")
        step()
    control_results = []
    for result in run_controls(model, right, splice_too=in_place is not None) if controls else ():
        control_results.append(result)
        step()
    return VerificationReport(
        model=model.name,
        note=model.source.note,
        prompt=trace.prompt,
        n=trace.n,
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.device),
        judged="somebody's own attention" if attention is not None else "the reimplementation",
        checks=tuple(checks),
        rounding=tuple(_worst(rounding)),
        spliced=in_place,
        control_results=tuple(control_results),
        first_difference=first,
        likely_causes=tuple(causes),
        seconds=time.perf_counter() - started,
        remarks=tuple(remarks),
    )


def _remarks(ours: Sequence[CausalSelfAttention]) -> Iterator[str]:
    """What the reimplementation did not compute itself."""
    chosen = sum(layer.spec.mask.given for layer in ours)
    if chosen:
        yield (
            f"In {chosen} of {len(ours)} layers the model chooses the keys that a query may look at by a part that is "
            "not attention: that choice is the model's own, not reimplemented."
        )
    sharing = sum(layer.spec.shares is not None for layer in ours)
    if sharing:
        yield f"{sharing} of {len(ours)} layers use the keys and values of an earlier layer: compared with that one's."


def run_controls(
    model: Model, ours: Sequence[CausalSelfAttention], *, splice_too: bool = True
) -> Iterator[ControlResult]:
    """Plant every mistake in the first layer of each kind that can have it; the comparison must catch it."""
    trace = model.trace(control_ids(model), keep=("input",))
    kinds: dict[Any, int] = {}
    for index, layer in enumerate(ours):
        kinds.setdefault(layer.spec, index)
    references = {index: _reference(trace.stored[index]) for index in kinds.values()}
    external = {index: external_inputs(ours[index], trace, index) for index in references}
    for mistake in MISTAKES:
        yield _control(mistake, trace, ours, references, external)
    if splice_too:
        mistake = MISTAKES[0] if ours[0].spec.rope is not None else next(m for m in MISTAKES if m.name == "no mask")
        planted = [mistake.plant(layer, trace.n) for layer in ours]
        wrong = [p if isinstance(p, CausalSelfAttention) else ours[i] for i, p in enumerate(planted)]
        result = compare_spliced(model, trace.tokens.ids, wrong, generated=0)
        yield ControlResult(
            mistake="spliced: " + mistake.name, meaning=mistake.meaning + ", in the spliced model", applies=True,
            caught=not result.ok, layer=None, stage="logits", max_abs=result.logits_max_abs,
            tolerance=result.logits_tolerance, why_not="",
        )  # fmt: skip


def control_ids(model: Model) -> list[int]:
    """The control prompt's token ids; other varied ids with repetitions where the tokenizer knows too little of it.

    Where all tokens were alike (a vocabulary without these words), all values would be, and a wrong weight would
    change nothing.
    """
    with contextlib.suppress(InspectorError):
        ids = list(model.tokenize(CONTROL_PROMPT).ids)
        if len(set(ids)) > len(ids) // 3:
            return ids
    vocabulary = model.vocabulary
    return [(i * 7 + (i // 5) * 3 + 1) % vocabulary for i in range(min(64, model.positions or 64))]


def _control(
    mistake: Mistake,
    trace: Trace,
    ours: Sequence[CausalSelfAttention],
    references: Mapping[int, AttentionTrace],
    external: Mapping[int, ExternalInputs],
) -> ControlResult:
    reason = ""
    for index, reference in references.items():
        planted = mistake.plant(ours[index], trace.n)
        if isinstance(planted, str):
            reason = reason or planted
            continue
        x = _input(trace.stored[index])
        with torch.inference_mode():
            found = _each_from_reference(planted, x, reference, external[index])
            checks = _compare(trace.layers[index], x, found, reference)
        first = _first(checks)
        seen = first or max(checks, key=lambda check: check.max_abs)
        return ControlResult(
            mistake=mistake.name, meaning=mistake.meaning, applies=True, caught=first is not None, layer=index,
            stage=first.stage if first else "", max_abs=seen.max_abs, tolerance=seen.tolerance, why_not="",
        )  # fmt: skip
    return ControlResult(
        mistake=mistake.name, meaning=mistake.meaning, applies=False, caught=False, layer=None, stage="",
        max_abs=0.0, tolerance=0.0, why_not=reason,
    )  # fmt: skip


def _layers(model: Model, checkpoint: str | Path | None, *, needed: bool) -> list[CausalSelfAttention]:
    if checkpoint is None and needed:
        return model.reimplementation
    if checkpoint is None:  # somebody's own attention is judged by the library alone; ours only helps to name causes
        with contextlib.suppress(InspectorError):
            return model.reimplementation
        return []
    try:
        loaded = reimpl.load_layers(checkpoint, dtype=model.dtype, device=model.device)
        return pair(loaded, model.layers, model.name)
    except reimpl.CheckpointError as error:
        raise InspectorError(str(error)) from error


def _input(kept: Layer) -> Tensor:
    if kept.call is None or kept.call.input is None:
        raise InspectorError("This trace was opened from a file and cannot be verified; capture the prompt again.")
    return kept.call.input


def _references(trace: Trace) -> Iterator[tuple[AttentionTrace, Layer]]:
    for kept in trace.stored:
        yield _reference(kept), kept


def _reference(kept: Layer) -> AttentionTrace:
    """The library's own stages of one layer: its attention module run again on its captured input."""
    _input(kept)
    assert kept.call is not None  # noqa: S101  (_input has just said so, in words)
    turned, plain = run_again(kept.call), run_again(kept.call, rotate=False)
    if not (torch.equal(turned.query, kept.query) and torch.equal(turned.key, kept.key)):
        raise InspectorError(
            f"Layer {kept.info.index} gave other queries when run again than in the forward pass, so there is no "
            "reference to compare with; please report this model."
        )
    if turned.weights is None or turned.context is None or turned.output is None:
        raise InspectorError(f"Layer {kept.info.index}'s own eager attention gives no weights to compare with.")
    return AttentionTrace(
        plain.query, plain.key, turned.query, turned.key, turned.value, turned.weights, turned.context, turned.output
    )


def _readable(stages: Mapping[str, Tensor], reference: AttentionTrace) -> dict[str, Tensor]:
    """Somebody's stages in our shapes: a batch dimension of one taken off, repeated key/value heads accepted."""
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


def _each_from_reference(
    ours: CausalSelfAttention, x: Tensor, reference: AttentionTrace, external: ExternalInputs
) -> dict[str, Tensor]:
    """Every stage computed by `ours` from the library's numbers of the stage before, so that none hides another.

    Where something comes between rotation and scores, the library's vectors "before RoPE" have it too (it is run with
    no rotation), so rotation starts from our own: they have just been compared.
    """
    positions = torch.arange(x.shape[-2], device=x.device)
    raw_query, raw_key, value, gate = ours.project(x, external.shared)
    query_pre, key_pre = ours.after_rotation(raw_query, raw_key, positions)
    plain = query_pre is raw_query and key_pre is raw_key
    start = (reference.query_pre, reference.key_pre) if plain else (raw_query, raw_key)
    query, key = ours.after_rotation(*ours.rotate(*start, positions), positions)
    weights = ours.weigh(ours.score(reference.query, reference.key), ours.mask(positions, positions, external.mask))
    context = ours.weighted_sum(reference.weights, reference.value)
    output = ours.output_projection(reference.context, gate)
    stages = vars(AttentionTrace(query_pre, key_pre, query, key, value, weights, context, output))
    if external.shared is not None:  # handed in rotated: there is nothing before it
        return {**stages, "key": external.shared[0], "key_pre": reference.key_pre}
    return stages


def _compare(
    info: LayerInfo, x: Tensor, found: Mapping[str, Tensor], reference: AttentionTrace, *, chained: bool = False
) -> list[Check]:
    layer, allowed = info.index, tolerances(reference, info, d_model=x.shape[-1], chained=chained)
    checks = []
    for stage in STAGES:
        if stage in found:
            tolerance, reason = allowed[stage]
            checks.append(
                compare(layer, stage, found[stage], getattr(reference, stage), tolerance=tolerance, reason=reason)
            )
    return checks


def _rounding(
    found: Mapping[str, Tensor],
    reference: AttentionTrace,
    ours: CausalSelfAttention,
    x: Tensor,
    external: ExternalInputs,
) -> list[RoundingError]:
    """Both implementations' distance from the same layer computed in float64."""
    if x.dtype == torch.float64 or x.device.type == "mps":  # nothing more exact at hand
        return []
    with torch.inference_mode():
        shared = None if external.shared is None else (external.shared[0].double(), external.shared[1].double())
        exact = _Exact.like(ours).double().stages(x.double(), external=ExternalInputs(shared, external.mask))

    def error(tensor: Tensor, stage: str) -> float:
        truth: Tensor = getattr(exact, stage)
        return distance(tensor, truth) if tensor.shape == truth.shape else float("inf")

    return [
        RoundingError(stage, error(found[stage], stage), error(getattr(reference, stage), stage))
        for stage in STAGES
        if stage in found
    ]


class _Exact(CausalSelfAttention):
    """The layer for float64: angles (from the model's float32 frequencies) and softmax in float64 as well."""

    def rotate(self, query: Tensor, key: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        rope, shares = self.spec.rope, self.spec.shares is not None
        turned = rotate(query, positions, rope, angles=torch.float64)
        return turned, key if shares else rotate(key, positions, rope, angles=torch.float64)

    def weigh(self, scores: Tensor, mask: Tensor) -> Tensor:
        return attention_weights(scores, mask, sinks=self.sinks, precision=torch.float64)


def _worst(rounding: list[RoundingError]) -> Iterator[RoundingError]:
    for stage in STAGES:
        rows = [row for row in rounding if row.stage == stage]
        if rows:
            yield RoundingError(stage, max(r.judged for r in rows), max(r.library for r in rows))


def _first(checks: Sequence[Check]) -> Check | None:
    return next((check for check in checks if not check.ok), None)


def _causes(trace: Trace, ours: Sequence[CausalSelfAttention], judged: OwnAttention, first: Check) -> Iterator[str]:
    """The planted mistakes that give the judged attention's numbers at its first differing stage."""
    kept = trace.stored[first.layer]
    reference, x = _reference(kept), _input(kept)
    with torch.inference_mode():
        found = _readable(judged(x, first.layer), reference)[first.stage]
        for mistake in MISTAKES:
            planted = mistake.plant(ours[first.layer], trace.n)
            if isinstance(planted, str):
                continue
            external = external_inputs(ours[first.layer], trace, first.layer)
            wrong = getattr(planted.stages(x, external=external), first.stage)
            same = compare(first.layer, first.stage, found, wrong, tolerance=first.tolerance, reason="")
            if same.ok and not torch.equal(wrong, getattr(reference, first.stage)):
                yield f"your {STAGE_NAMES[first.stage]} equals ours with {mistake.meaning}"

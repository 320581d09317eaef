"""The negative controls of a verification: planted mistakes, each of which the comparison must catch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from inspector.errors import InspectorError
from inspector.model.model import Model
from inspector.trace.trace import Trace
from inspector.verification.by_stage import compare_stages, each_from_reference, first_difference
from inspector.verification.mistakes.core import MISTAKES
from inspector.verification.mistakes.planting import Mistake
from inspector.verification.reference import attention_input, library_stages
from inspector.verification.report import ControlResult
from inspector.verification.shared_inputs import external_inputs
from inspector.verification.splice import compare_spliced
from reimpl.attention import AttentionTrace, CausalSelfAttention, ExternalInputs

# Long enough for each mistake to show: many tokens, several of them repeated at different distances.
CONTROL_PROMPT = (
    "Houston, we have a problem. The cat sat on the mat because it was tired; the dog sat on the cat because it was "
    "not. We'll always have Paris, and Paris will always have the light: a lamp is light, a feather is light. "
    "1 2 3 5 8 13 21 34, 1 2 3 5 8 13 21 34. Houston, we have a solution. def add(a, b): return a + b"
)


def control_steps(*, spliced: bool) -> int:
    """Return how many controls there are, that of the spliced model included where it is asked for."""
    return len(MISTAKES) + spliced


def run_controls(
    model: Model, ours: Sequence[CausalSelfAttention], *, splice_too: bool = True
) -> Iterator[ControlResult]:
    """Plant every mistake in the first layer of each kind that can have it; the comparison must catch it.

    Args:
        model: the model that is verified.
        ours: our layers, right ones.
        splice_too: plant one in the spliced model as well.

    Yields:
        What came of each mistake.
    """
    trace = model.trace(control_ids(model), keep=("input",))
    kinds: dict[Any, int] = {}
    for index, layer in enumerate(ours):
        kinds.setdefault(layer.spec, index)
    references = {index: library_stages(trace.stored[index]) for index in kinds.values()}
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
    """Return the control prompt's token ids; other varied ones where the tokenizer knows too little of it.

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
    """Plant one mistake in the first layer that can have it, and compare."""
    reason = ""
    for index, reference in references.items():
        planted = mistake.plant(ours[index], trace.n)
        if isinstance(planted, str):
            reason = reason or planted
            continue
        x = attention_input(trace.stored[index])
        with torch.inference_mode():
            found = each_from_reference(planted, x, reference, external[index])
            checks = compare_stages(trace.layers[index], x, found, reference)
        first = first_difference(checks)
        seen = first or max(checks, key=lambda check: check.max_abs)
        return ControlResult(
            mistake=mistake.name, meaning=mistake.meaning, applies=True, caught=first is not None, layer=index,
            stage=first.stage if first else "", max_abs=seen.max_abs, tolerance=seen.tolerance, why_not="",
        )  # fmt: skip
    return ControlResult(
        mistake=mistake.name, meaning=mistake.meaning, applies=False, caught=False, layer=None, stage="",
        max_abs=0.0, tolerance=0.0, why_not=reason,
    )  # fmt: skip

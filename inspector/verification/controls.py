"""The negative controls of a verification: planted mistakes, each of which the comparison must catch."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from inspector.errors import InspectorError
from inspector.model.model import Model
from inspector.trace.trace import Trace
from inspector.verification.by_stage import compare_stages, each_from_reference, first_difference, in_float64
from inspector.verification.compare import Check
from inspector.verification.mistakes.core import MISTAKES
from inspector.verification.mistakes.planting import Mistake
from inspector.verification.mistakes.unchanged import SAME_NUMBER, moved, same_bits, why_unchanged
from inspector.verification.reference import attention_input, library_stages
from inspector.verification.report import ControlResult
from inspector.verification.shared_inputs import external_inputs
from inspector.verification.spliced_run import Splice, planted_apart
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
    model: Model, ours: Sequence[CausalSelfAttention], *, splice: Splice | None = None, noise: float = 0.0
) -> Iterator[ControlResult]:
    """Plant every mistake in the first layer in which it changes a number; the comparison must catch it.

    One that changes none in any layer, from the same inputs, does not apply: there is nothing to catch.

    Args:
        model: the model that is verified.
        ours: our layers, right ones.
        splice: the spliced model, to plant one in it as well.
        noise: what the library's own two forms of attention differ by there.

    Yields:
        What came of each mistake.
    """
    trace = model.trace(control_ids(model), keep=("input",))
    numbers = _Numbers(trace, ours)
    for mistake in MISTAKES:
        yield _control(mistake, numbers)
    if splice is not None:
        yield _spliced_control(splice, trace, ours, noise)


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


class _Numbers:
    """The control prompt's numbers at each layer, computed when first asked for."""

    def __init__(self, trace: Trace, ours: Sequence[CausalSelfAttention]) -> None:
        self.trace, self.ours = trace, ours
        self._found: dict[int, tuple[AttentionTrace, ExternalInputs, dict[str, Tensor]]] = {}

    @property
    def order(self) -> list[int]:
        """All layers, the first of each kind before the others."""
        kinds: dict[Any, int] = {}
        for index, layer in enumerate(self.ours):
            kinds.setdefault(layer.spec, index)
        first = list(kinds.values())
        return [*first, *(index for index in range(len(self.ours)) if index not in first)]

    @property
    def rounding(self) -> float:
        """Half a unit in the last place of the model's dtype, at most float32's: what is less shows in no comparison.

        Half a unit of 16 bits, taken of a stage's largest number, is much of its small ones, which 16 bits do show.
        """
        return min(float(torch.finfo(dtype).eps) for dtype in (self.trace.stored[0].query.dtype, torch.float32)) / 2

    def reference(self, index: int) -> AttentionTrace:
        """Return the library's stages."""
        return self._at(index)[0]

    def right(self, index: int) -> dict[str, Tensor]:
        """Return the right layer's stages, each from the library's numbers of the stage before."""
        return self._at(index)[2]

    def of(self, layer: CausalSelfAttention, index: int) -> dict[str, Tensor]:
        """Return the stages that a planted layer gives from the same inputs."""
        reference, external, _ = self._at(index)
        with torch.inference_mode():
            return each_from_reference(layer, attention_input(self.trace.stored[index]), reference, external)

    def checks(self, found: Mapping[str, Tensor], index: int) -> list[Check]:
        """Compare stages with the library's."""
        x = attention_input(self.trace.stored[index])
        return compare_stages(self.trace.layers[index], x, found, self.reference(index))

    def moved_by(self, planted: CausalSelfAttention, index: int) -> float:
        """Measure what a planted layer changes where there is hardly any rounding; a part of the numbers' size."""
        x = attention_input(self.trace.stored[index])
        if x.device.type == "mps":
            return math.inf
        external = self._at(index)[1]
        shared = None if external.shared is None else (external.shared[0].double(), external.shared[1].double())
        external = external._replace(shared=shared)
        with torch.inference_mode():
            pair = [
                vars(in_float64(layer).stages(x.double(), external=external)) for layer in (planted, self.ours[index])
            ]
        return moved(*pair)

    def _at(self, index: int) -> tuple[AttentionTrace, ExternalInputs, dict[str, Tensor]]:
        if index not in self._found:
            layer, stored = self.ours[index], self.trace.stored[index]
            reference, external = library_stages(stored, layer.spec.kv_heads), external_inputs(layer, self.trace, index)
            with torch.inference_mode():
                right = each_from_reference(layer, attention_input(stored), reference, external)
            self._found[index] = (reference, external, right)
        return self._found[index]


def _control(mistake: Mistake, numbers: _Numbers) -> ControlResult:
    """Plant one mistake in the first layer in which it changes a number, and compare."""
    reason, cannot = "", set()
    for index in numbers.order:
        layer = numbers.ours[index]
        if layer.spec in cannot:
            continue
        planted = mistake.plant(layer, numbers.trace.n)
        if isinstance(planted, str):
            cannot.add(layer.spec)
            reason = reason or planted
            continue
        found = numbers.of(planted, index)
        checks = numbers.checks(found, index)
        first = first_difference(checks)
        alike = same_bits(found, numbers.right(index))
        size = 0.0 if alike or first is not None else numbers.moved_by(planted, index)
        if alike or (first is None and size <= max(SAME_NUMBER, numbers.rounding)):
            reason = why_unchanged(mistake, layer, numbers.trace.n, size)
            continue
        seen = first or max(checks, key=lambda check: check.max_abs)
        return ControlResult(
            mistake=mistake.name, meaning=mistake.meaning, applies=True, caught=first is not None, layer=index,
            stage=first.stage if first else "", max_abs=seen.max_abs, tolerance=seen.tolerance, why_not="",
        )  # fmt: skip
    return _not_here(mistake, reason)


def _not_here(mistake: Mistake, reason: str) -> ControlResult:
    """Return the result of a mistake that a model cannot make, or that changes nothing in it."""
    return ControlResult(
        mistake=mistake.name, meaning=mistake.meaning, applies=False, caught=False, layer=None, stage="",
        max_abs=0.0, tolerance=0.0, why_not=reason,
    )  # fmt: skip


def _spliced_control(splice: Splice, trace: Trace, ours: Sequence[CausalSelfAttention], noise: float) -> ControlResult:
    """Plant one mistake in all layers of the spliced model: of rotation, or of the mask where that moves no logit."""
    of_mask = next(mistake for mistake in MISTAKES if mistake.name == "no mask")
    choice = (MISTAKES[0], of_mask) if any(layer.spec.rope is not None for layer in ours) else (of_mask,)
    for mistake in choice:
        named = replace(mistake, name=f"spliced: {mistake.name}", meaning=f"{mistake.meaning}, in the spliced model")
        planted = [mistake.plant(layer, trace.n) for layer in ours]
        wrong = [p if isinstance(p, CausalSelfAttention) else ours[i] for i, p in enumerate(planted)]
        found = planted_apart(splice, trace.tokens.ids, wrong, ours, noise=noise)
        if found is None:
            continue
        apart, tolerance = found
        return ControlResult(
            mistake=named.name, meaning=named.meaning, applies=True, caught=not apart <= tolerance, layer=None,
            stage="logits", max_abs=apart, tolerance=tolerance, why_not="",
        )  # fmt: skip
    return _not_here(named, "it changes no logit of the control prompt")

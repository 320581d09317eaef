"""One layer as it is judged: the model's numbers, somebody's, the limits, and each compared with the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from inspector.judging.answers import Handed
from inspector.judging.chain import PARENTS, Chain
from inspector.judging.findings import Step, StepCheck
from inspector.judging.layouts import read_layout
from inspector.judging.limits import Limit, stage_limits
from inspector.judging.report_sentences import name_of
from inspector.judging.stage_check import compared
from inspector.judging.weighing import right_weighing, seen
from inspector.trace.trace import Trace
from inspector.verification.compare import STAGES
from inspector.verification.reference import attention_input, library_stages
from inspector.verification.shared_inputs import external_inputs
from reimpl.attention import AttentionTrace, CausalSelfAttention, ExternalInputs

STEP_OF: dict[str, Step] = {
    "query_pre": "project",
    "key_pre": "project",
    "query": "rotate",
    "key": "rotate",
    "value": "project",
    "weights": "score",
    "context": "weighted sum",
    "output": "output projection",
}


class LayerAt:
    """One layer of the trace.

    Args:
        trace: the recorded prompt, with attention inputs.
        index: which layer.
        ours: all our layers, in float32 at least; empty where the family is not reimplemented.
    """

    def __init__(self, trace: Trace, index: int, ours: Sequence[CausalSelfAttention]) -> None:
        self.trace, self.index, self.ours = trace, index, ours
        self.info = trace.layers[index]
        self.found: dict[str, Tensor] = {}
        self.raw_dtypes: dict[str, torch.dtype] = {}
        self.input: Tensor | None = None
        self.dtype = torch.float32

    @property
    def layer(self) -> CausalSelfAttention | None:
        """Our layer, where the family is reimplemented."""
        return self.ours[self.index] if self.ours else None

    @property
    def x(self) -> Tensor:
        """The model's attention input [n, m]."""
        return attention_input(self.trace.stored[self.index])

    @cached_property
    def reference(self) -> AttentionTrace:
        """The model's own stages."""
        return library_stages(self.trace.stored[self.index], self.layer.spec.kv_heads if self.layer else None)

    @cached_property
    def limits(self) -> dict[str, Limit]:
        """How far right code may be from them."""
        return stage_limits(self.reference, self.info, self.x, ours=self.layer, dtype=self.dtype)

    def forget(self) -> None:
        """Let go of what is n x n and can be computed again."""
        for name in ("reference", "limits", "chain", "own_limits", "external"):
            self.__dict__.pop(name, None)

    def ask(self, handed: Handed) -> list[str]:
        """Ask somebody's attention for this layer's stages, on a copy of the input, and read their axes.

        Args:
            handed: somebody's attention.

        Returns:
            Sentences on how axes were read.
        """
        said = []
        for stage, tensor in handed.answer(self.index, self.x.clone()).items():
            due = getattr(self.reference, stage, None)
            if stage == "scores":
                if self.layer is None and self.info.sinks:
                    said.append("your scores were not compared: this model's sinks take a share that is not known here")
                    continue
                stage, tensor = "weights", self._softmax(tensor)
                said.append("your scores were compared as weights, by the softmax under the model's own mask")
                if "weights" in self.found:
                    continue
                due = self.reference.weights
            if due is None:
                continue
            if (
                stage == "weights"
                and tensor.shape[-2:] == due.shape[-2:]
                and tensor.numel() == due[0].numel() != due.numel()
            ):
                said.append("your weights are averaged over heads and were not compared")
                continue
            self.raw_dtypes[stage], tensor = tensor.dtype, tensor.to(due.device)
            read, how = read_layout(stage, tensor, due, self.reference.query.shape[0])
            self.found[stage] = read.to(torch.float64 if due.dtype == torch.float64 else torch.float32).clone()
            if how:
                said.append(f"your {name_of(stage)} was read as {how}")
        self.found = {stage: self.found[stage] for stage in STAGES if stage in self.found}
        self.input = handed.input(self.index)
        return said

    def _softmax(self, scores: Tensor) -> Tensor:
        due = self.reference.weights
        read = read_layout("weights", scores, due, due.shape[0])[0].float()
        if read.shape != due.shape:
            return read
        if self.layer is None:
            return read.masked_fill(due == 0, -math.inf).softmax(-1)
        right = right_weighing(self.layer)
        with torch.inference_mode():
            weighed: Tensor = self.layer.weigh(read, seen(right, self.layer, read.shape[-1], self.external.mask))
        return weighed

    @cached_property
    def external(self) -> ExternalInputs:
        """What the layer takes from elsewhere in the model."""
        return ExternalInputs() if self.layer is None else external_inputs(self.layer, self.trace, self.index)

    @cached_property
    def usable(self) -> dict[str, Tensor]:
        """Somebody's stages that a next step can start from: finite and of the right shape."""
        return {
            stage: tensor
            for stage, tensor in self.found.items()
            if tensor.shape == getattr(self.reference, stage).shape and bool(torch.isfinite(tensor).all())
        }

    @property
    def right_chain(self) -> Chain:
        """Our own steps on the model's input alone."""
        return Chain(self.ours, self.index, _wide(self.x), external=self.external)

    @cached_property
    def chain(self) -> Chain:
        """Our own steps on somebody's numbers, or on the model's input where none were handed over."""
        x = self.x if self.input is None or self.input.shape != self.x.shape else self.input.to(self.x.dtype)
        return Chain(self.ours, self.index, _wide(x), given=self.usable, external=self.external)

    @cached_property
    def own_limits(self) -> dict[str, Tensor]:
        """How far each step may be from the right one on somebody's own numbers before it."""
        right = self.chain.right
        made = {stage: self.chain.stage(stage, right) for stage in STAGES}
        at = {stage: self.usable.get(stage, made[stage]) for stage in STAGES} | {"weights": made["weights"]}
        alone = stage_limits(AttentionTrace(**at), self.info, self.x, ours=self.layer, dtype=self.dtype, chained=False)
        chained = stage_limits(AttentionTrace(**at), self.info, self.x, ours=self.layer, dtype=self.dtype)
        found = {}
        for stage in STAGES:
            direct = PARENTS[stage] and all(parent in self.usable for parent in PARENTS[stage])
            found[stage] = (alone if direct else chained)[stage].most
        return found

    def checks(self) -> list[StepCheck]:
        """Compare every stage that was handed over."""
        checks = [self._input_check()] if self.input is not None else []
        for stage, found in self.found.items():
            limit = self.limits[stage]
            checks.append(compared(self.index, stage, STEP_OF[stage], found, getattr(self.reference, stage), limit))
        return checks

    def right_as_it_stands(self, stage: str) -> bool:
        """Tell whether a stage was the model's on the whole text, or was not handed over there."""
        found = self.found.get(stage)
        due = getattr(self.reference, stage)
        return found is None or (
            found.shape == due.shape and bool(((found - due).abs() <= self.limits[stage].most).all())
        )

    def _input_check(self) -> StepCheck:
        assert self.input is not None  # noqa: S101
        unit = max(torch.finfo(self.dtype).eps, torch.finfo(self.x.dtype).eps)
        room = 32 * unit * float(self.x.abs().max())
        limit = Limit(torch.tensor(room), f"a whole model before it: 32 roundings of {unit:.1e} of the largest number")
        return compared(self.index, "input", "input", self.input.float(), self.x, limit)

    def own(self, check: StepCheck) -> tuple[float, float, bool] | None:
        """Compare one stage with the right step on somebody's own numbers before it; None where that cannot be."""
        if self.layer is None or check.stage not in self.found:
            return None
        made, found = self.chain.stage(check.stage, self.chain.right), self.found[check.stage]
        if made.shape != found.shape:
            return math.inf, 0.0, False
        most = self.own_limits[check.stage].expand_as(made)
        far = (found - made).abs()
        worst = int((far - most).nan_to_num(math.inf).argmax())
        ok = bool((far <= most).all())
        return float(far.flatten()[worst]), float(most.flatten()[worst]), ok


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()

"""Write the residual stream of some tokens as a sum of what each part of the model wrote: embedding, heads, MLPs.

Every part is computed from tensors of its own, none as what others leave. Whether they add up is measured: a model
whose blocks do something else (several streams, factors on the whole stream) is refused with what was seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from inspector.analysis.frozen_steps import FrozenStep, frozen
from inspector.capture.residual_parts import Addition, BlockParts, ResidualPartsRecorder
from inspector.errors import InspectorError
from inspector.model.model import Model, model_of
from inspector.model.outcome import has_language_model_head, no_head
from inspector.trace.trace_model import Ending

if TYPE_CHECKING:
    from inspector.trace.trace import Trace
    from reimpl.attention import CausalSelfAttention

ROOM = 1e-4  # of the largest number: values, products with W_o and weights summed in another order, in float32


@dataclass(frozen=True)
class AttentionPart:
    """What one layer's attention adds, and how its heads get there.

    Attributes:
        layer: of the trace.
        added: [p, m], what the block added for it.
        steps: what the attention output went through before, each with its scale frozen.
        factor: what the block multiplied it by.
        ours: our own attention with the model's weights, for W_o; None where heads were not asked for.
        block: the block that it stands in, as it ran.
    """

    layer: int
    added: Tensor
    steps: tuple[FrozenStep, ...]
    factor: float
    ours: CausalSelfAttention | None
    block: BlockParts

    def apply(self, output: Tensor) -> Tensor:
        """Return what the block adds for a part of the attention output, without biases [..., p, m]."""
        for step in self.steps:
            output = step.apply(output)
        return output.double() * self.factor

    def back(self, u: Tensor, row: int = 0) -> Tensor:
        """Return the direction in the attention output that stands for `u` [..., m] in the residual stream."""
        u = u * self.factor
        for step in reversed(self.steps):
            u = step.back(u, row)
        return u

    def bias(self) -> Tensor | None:
        """Return what the layer adds that belongs to no head [p, m]: biases of W_o and of the steps after it."""
        own = None if self.ours is None else self.ours.o_proj.bias
        vectors = None if own is None else own.detach().double().expand(len(self.added), -1)
        for step in self.steps:
            vectors = None if vectors is None else step.apply(vectors)
            if step.bias is not None:
                vectors = step.bias.expand(len(self.added), -1) + (0 if vectors is None else vectors)
        return None if vectors is None else vectors * self.factor

    def output_matrix(self) -> Tensor:
        """Return W_o by head, [h, m, d_value], in float64."""
        assert self.ours is not None  # noqa: S101  (who asks for heads has asked for it)
        weight: Tensor = self.ours.o_proj.weight.detach().double()  # [m, h*d_value]
        return weight.view(len(weight), self.ours.spec.heads, -1).transpose(0, 1)

    def gate(self) -> Tensor | None:
        """Return what the heads' context vectors are multiplied by before W_o [h, p, d_value]; None: nothing."""
        if self.ours is None or self.ours.spec.gate is None or self.block.input is None:
            return None
        gate = self.ours.project(self.block.input).gate
        return (
            None if gate is None else gate.detach().double().unflatten(-1, (self.ours.spec.heads, -1)).transpose(0, 1)
        )


@dataclass(frozen=True)
class OtherPart:
    """What a part of a block without attention adds [p, m], what it is called, and its kind.

    A "mixer" mixes tokens in its own way, "mlp" does not; a "difference" is what the block returned less what it
    received, where no sum of parts was seen in it.
    """

    part: str
    kind: Literal["mixer", "mlp", "difference"]
    vectors: Tensor


@dataclass(frozen=True)
class ResidualSum:
    """The residual stream of the tokens at `positions` as a sum.

    Attributes:
        positions: p tokens' positions.
        embedding: what the first block received [p, m].
        attention: what each layer's attention adds.
        others: what each layer's block adds beside it, mostly its MLP's output; [p, m] each.
        between: what blocks without attention add before each layer's block, and after the last.
        result: what the last block returned [p, m].
        recorder: everything as it ran.
    """

    positions: tuple[int, ...]
    embedding: Tensor
    attention: tuple[AttentionPart, ...]
    others: tuple[tuple[Tensor, ...], ...]
    between: tuple[tuple[OtherPart, ...], ...]
    result: Tensor
    recorder: ResidualPartsRecorder


@dataclass
class PartsRun:
    """One more pass over a trace's tokens: what its parts wrote, and our attention layers with the model's weights.

    Attributes:
        recorder: what was written at `recorder.positions`.
        logits: [1, vocabulary], after the one token that was recorded, or after the last; None: the model has none.
        model: the model.
    """

    recorder: ResidualPartsRecorder
    logits: Tensor | None
    model: Model

    def next_logits(self) -> Tensor:
        """Return the logits.

        Returns:
            [1, vocabulary].

        Raises:
            InspectorError: the model has no language-model head.
        """
        if self.logits is None:
            raise no_head(self.model.name)
        return self.logits

    @cached_property
    def ours(self) -> list[CausalSelfAttention]:
        """Our own attention of every layer."""
        return self.model.attention_layers_now()


def recorded(trace: Trace, positions: Sequence[int]) -> PartsRun:
    """Run the trace's tokens once more, and record the parts of the residual stream of some of them.

    Args:
        trace: the prompt's trace.
        positions: p tokens' positions.

    Returns:
        The pass.

    Raises:
        InspectorError: the model is no longer the one that made the trace.
        NoModel: the trace was opened from a file, without its model.
    """
    model = model_of(trace, "what its parts write")
    recorder = ResidualPartsRecorder(positions, trace.n, model.passes.places(model.layers))
    if trace.edits:
        recorder.editor = model.edited_runs(trace.edits, n=trace.prompt_length).editor()
    if not has_language_model_head(model.model):
        outcome = model.passes.run(trace.tokens.ids, recorder)
        trace.refuse_changed(Ending(outcome.value, outcome.marks))
        return PartsRun(recorder, None, model)
    last = trace.n - 1
    kept = [*(positions if len(positions) == 1 and positions[0] != last else ()), last]
    logits = model.passes.logits_at(trace.tokens.ids, recorder, kept)
    marks = None if recorder.marks is None else recorder.marks[0]
    trace.refuse_changed(Ending(logits[-1:], marks), exact=len(kept) == 1)
    return PartsRun(recorder, logits[:1], model)


def residual_sum(run: PartsRun, *, before: int | None = None, heads: bool = True) -> ResidualSum:
    """Write the residual stream as a sum of parts.

    Args:
        run: the pass.
        before: the layer whose block's input is meant; None: what the last block returned.
        heads: whether heads will be told apart, which needs a family that is reimplemented.

    Returns:
        The sum.

    Raises:
        InspectorError: no sum of parts was seen in the model, or its family is not reimplemented.
    """
    model, recorder = run.model, run.recorder
    if recorder.embedding is None or not recorder.blocks:
        raise InspectorError(f"What the blocks of {model.name} receive could not be read from it as it ran.")
    layers = _layers(model, recorder.blocks)
    blocks = recorder.blocks if before is None else recorder.blocks[: layers.index(before)]
    if recorder.why_not and (before is None or any(block.why_not for block in blocks)):
        raise InspectorError(
            f"What {model.name} writes into its residual stream is no sum of its parts that was seen as it ran: "
            f"{recorder.why_not}; choose another model, or ask by experiment (lab.sweep)."
        )
    ours = run.ours if heads else None
    attention, others = [], []
    for layer, block in zip(layers, blocks, strict=False):
        added = block.attention_added
        assert added is not None  # noqa: S101  (why_not would say so)
        attention.append(_attention(layer, block, added, None if ours is None else ours[layer]))
        others.append(tuple(one.vectors for one in block.others))
    without = [block.before for block in blocks]
    without.append(tuple(recorder.after) if before is None else recorder.blocks[len(blocks)].before)
    last = [*blocks, *without[-1]]
    result = last[-1].result if last else recorder.embedding
    assert result is not None  # noqa: S101  (as above)
    between = tuple(tuple(one for block in run for one in _other_parts(block)) for run in without)
    return ResidualSum(
        tuple(recorder.positions), recorder.embedding, tuple(attention), tuple(others), between, result, recorder
    )


def _other_parts(block: BlockParts) -> Iterator[OtherPart]:
    """Yield what a block without attention added, in the order of its parts."""
    if block.difference:
        yield OtherPart(f"block {block.number}, output minus input", "difference", block.others[0].vectors)
        return
    if len(block.others) == 1:
        one = block.others[0]
        name = one.steps[0].name if one.steps else "mixer"
        yield OtherPart(f"{name} of block {block.number}", "mixer", one.vectors)
        return
    for number, one in enumerate(block.others):
        name = "MLP" if number else "mixer"
        yield OtherPart(f"{name} of block {block.number}", "mlp" if number else "mixer", one.vectors)


def _attention(layer: int, block: BlockParts, added: Addition, ours: CausalSelfAttention | None) -> AttentionPart:
    steps = tuple(frozen(step) for step in added.steps)
    return AttentionPart(layer, added.vectors, steps, added.factor, ours, block)


def _layers(model: Model, blocks: Sequence[BlockParts]) -> list[int]:
    """Return the trace's layer of each block."""
    places = {module: list(layers) for module, layers in model.passes.places(model.layers).items()}
    found = [places[id(block.attention)].pop(0) for block in blocks if places.get(id(block.attention))]
    if len(found) != len(blocks):
        raise InspectorError(f"The blocks of {model.name} could not be told apart as it ran.")
    return found


def head_contexts(trace: Trace, part: AttentionPart, positions: Sequence[int]) -> Tensor:
    """Return the heads' context vectors of some tokens as they meet W_o, in float64.

    Args:
        trace: the prompt's trace.
        part: the layer.
        positions: p tokens' positions, those of the parts.

    Returns:
        [h, p, d_value].

    Raises:
        InspectorError: times W_o they do not add up to the attention output.
    """
    if trace.stored[part.layer].edited_context is not None:
        found = trace.context(part.layer, queries=list(positions)).detach().double()
    else:
        weights = trace.weights(part.layer, queries=list(positions)).detach().double()  # [h, p, s]
        value = trace.value(part.layer).detach().double()  # [g, s, d_value]
        grouped = weights.unflatten(0, (len(value), -1))  # [g, h/g, p, s]
        found = torch.einsum("gjps,gsd->gjpd", grouped, value).flatten(0, 1)
    gate = part.gate()
    found = found if gate is None else found * gate
    _refuse_no_sum(trace, part, found)
    return found


def _refuse_no_sum(trace: Trace, part: AttentionPart, contexts: Tensor) -> None:
    """Refuse a layer whose heads' context vectors times W_o are not its attention output."""
    assert part.block.output is not None and part.ours is not None  # noqa: S101, PT018  (it has run, and is ours)
    output, bias = part.block.output.double(), part.ours.o_proj.bias
    total = torch.einsum("hpd,hmd->pm", contexts, part.output_matrix())
    if bias is not None:
        total = total + bias.detach().double()
    largest = max(float(output.abs().max()), float(total.abs().max()))
    off = float((total - output).abs().max())
    unit = torch.finfo(trace.value(part.layer).dtype).eps / torch.finfo(torch.float32).eps
    if off <= ROOM * max(1.0, unit) * largest:
        return
    cause = (
        f" (its vectors were stored rounded to {trace.precision})"
        if trace.precision is not None
        else " (it normalises them before W_o)"
        if part.ours.spec.output_norm is not None
        else ""
    )
    raise InspectorError(
        f"In layer {part.layer} the heads' context vectors times W_o do not add up to the attention output{cause}: "
        f'largest difference {off:.3g}, of {largest:.3g}; ask by layer instead, by="component".'
    )

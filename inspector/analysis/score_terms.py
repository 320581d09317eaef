"""Split the scores of one query token by what was written into the residual stream: which part made which key win.

Queries and keys are linear in the residual stream once the norms before and after W_q and W_k are held at the scales
that they had; rotation is linear, each part turned at its own token's position. So a score is a sum over pairs of a
part of the query and a part of the key. Source: https://transformer-circuits.pub/2025/attention-qk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from inspector.analysis.frozen_steps import frozen
from inspector.analysis.residual_terms import PartsRun, ResidualSum, head_contexts, recorded, residual_sum
from inspector.analysis.rope_planes import Turning, turning
from inspector.capture.residual_parts import Passed
from inspector.errors import InspectorError
from inspector.model.model import model_of
from reimpl.project import Projections
from reimpl.query_temperature import apply_temperature

if TYPE_CHECKING:
    from inspector.trace.trace import Trace
    from reimpl.attention import CausalSelfAttention

BYTES_AT_MOST = 2**30  # of all parts' vectors
ROUNDINGS = 64  # of the largest number: one vector summed from all its parts, next to the library's own
BIAS = "bias"


@dataclass(frozen=True)
class Name:
    """What a part is called: its text, its kind, and the layer and head that wrote it, where one did."""

    part: str
    kind: str
    layer: int | None = None
    head: int | None = None


@dataclass(frozen=True)
class ScoreSum:
    """The scores of one query token as sums over pairs of parts.

    Attributes:
        names: of the c parts; the last one is the biases of projections and norms.
        query: each part's query vector [c, d], rotated, float64; their sum is the query.
        keys: each part's key vectors [c, p, d], rotated; their sum are the keys.
        positions: the p keys that the query may look at.
        scale: what products are multiplied by.
        scores: the scaled scores [p] of the stored query and keys, before a soft-cap and a bias on scores.
        planes: the planes that turn; None where the layer does not rotate.
    """

    names: tuple[Name, ...]
    query: Tensor
    keys: Tensor
    positions: tuple[int, ...]
    scale: float
    scores: Tensor
    planes: Turning | None

    def pairs(self, key: int, *, centred: bool = True) -> Tensor:
        """Return each pair's share of the score of one key.

        Args:
            key: its position, among `positions`.
            centred: minus the pair's mean share over all keys: what is the same for all of them drops out, as it does
                in the softmax.

        Returns:
            [c, c], by part of the query and part of the key.
        """
        return self.query @ self._vectors(key, centred).T * self.scale

    def by_plane(self, key: int, *, centred: bool = True) -> Tensor:
        """Return the share of each part of the key in the score of one key, by dimension of the head.

        Args:
            key: its position, among `positions`.
            centred: as in `pairs`.

        Returns:
            [c, d].
        """
        return self._vectors(key, centred) * self.query.sum(0) * self.scale

    def target(self, key: int, *, centred: bool = True) -> float:
        """Return what the shares of one key add up to: its scaled score, minus the mean over the row if `centred`."""
        score = self.scores[self.positions.index(key)]
        return float(score - self.scores.mean() if centred else score)

    def _vectors(self, key: int, centred: bool) -> Tensor:
        chosen = self.keys[:, self.positions.index(key)]
        return chosen - self.keys.mean(1) if centred else chosen


def score_sum(
    trace: Trace, layer: int, head: int, query: int, *, heads: bool = False, run: PartsRun | None = None
) -> ScoreSum:
    """Split one row of scaled scores.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        head: a query head, counted from 0.
        query: the query token's position.
        heads: split earlier layers' attention into heads.
        run: a pass that recorded every token; None: one is run.

    Returns:
        The sum.

    Raises:
        InspectorError: queries and keys are no sums of parts in this layer, or all parts would take too much memory.
    """
    info = trace.layers[layer]
    allowed = trace.allowed(layer, head, queries=[query])[0]
    positions = torch.nonzero(allowed.expand(trace.n)).flatten().tolist()
    rows = sorted({*positions, query}) if run is None else run.recorder.positions
    count = 2 + sum((one.heads if heads else 1) + 2 for one in trace.layers[:layer])
    width = model_of(trace, "the parts of a score").sizes.width
    _refuse_size(count * len(rows) * width * 8, count, len(rows), heads=heads)
    run = recorded(trace, rows) if run is None else run
    ours, recorder = run.ours[layer], run.recorder
    whole = residual_sum(run, before=layer, heads=heads)
    names, parts = _parts(trace, whole, rows, heads=heads)
    block = recorder.blocks[len(whole.attention)]
    if not block.input_known or block.input is None:
        raise InspectorError(
            f"What makes the attention input of layer {layer} of the residual stream could not be seen as it ran, so "
            "its scores are not split."
        )
    bias = torch.zeros_like(block.input, dtype=torch.float64)
    if block.input_step is not None:
        step = frozen(block.input_step)
        parts = step.apply(parts)
        bias = bias if step.bias is None else bias + step.bias
    parts = torch.cat((parts, bias[None]))  # [c, p, m]
    planes = None if info.rope is False else turning(trace, layer)
    made = _Vectors(trace, layer, ours, block.input, parts, planes, rows)
    at = [rows.index(one) for one in positions]
    query_parts = made.of("query", head, trace.query(layer, head))[:, rows.index(query)]
    keys = made.of("key", info.kv_head(head), trace.key(layer, head))[:, at]
    q, k = (x.detach().double() for x in (trace.query(layer, head)[query], trace.key(layer, head)[positions]))
    return ScoreSum(
        (*names, Name(BIAS, "bias")), query_parts, keys, tuple(positions), info.scale, k @ q * info.scale, planes
    )


def _parts(trace: Trace, whole: ResidualSum, rows: Sequence[int], *, heads: bool) -> tuple[list[Name], Tensor]:
    """Return the names and vectors [c, p, m] of all parts of the residual stream."""
    names, vectors = [Name("embedding", "embedding")], [whole.embedding.double()]
    for part, others, before in zip(whole.attention, whole.others, whole.between[:-1], strict=True):
        names += [Name(one.part, one.kind) for one in before]
        vectors += [one.vectors.double() for one in before]
        if heads:
            context = head_contexts(trace, part, rows)
            written = part.apply(torch.einsum("hpd,hmd->hpm", context, part.output_matrix()))
            names += [Name(f"head {part.layer}.{head}", "head", part.layer, head) for head in range(len(written))]
            vectors += list(written)
            if (bias := part.bias()) is not None:
                names.append(Name(f"bias of attention {part.layer}", "bias", part.layer))
                vectors.append(bias)
        else:
            names.append(Name(f"attention {part.layer}", "attention", part.layer))
            vectors.append(part.added.double())
        for number, other in enumerate(others):
            names.append(Name(f"MLP {part.layer}" + (f" ({number + 1})" if number else ""), "mlp", part.layer))
            vectors.append(other.double())
    names += [Name(one.part, one.kind) for one in whole.between[-1]]
    vectors += [one.vectors.double() for one in whole.between[-1]]
    return names, torch.stack(vectors)


class _Vectors:
    """Make query or key vectors of parts of the attention input, and check their sum against the stored ones."""

    def __init__(
        self,
        trace: Trace,
        layer: int,
        ours: CausalSelfAttention,
        received: Tensor,
        parts: Tensor,
        planes: Turning | None,
        rows: Sequence[int],
    ) -> None:
        self.trace, self.layer, self.ours, self.planes, self.rows = trace, layer, ours, planes, rows
        self.received, self.parts = received, parts
        if not isinstance(ours.projections, Projections) or ours.spec.shares is not None:
            raise InspectorError(
                f"The queries and keys of layer {layer} are not made by one W_q and one W_k of its own, so its scores "
                "are not split."
            )
        self.projections = ours.projections

    def of(self, what: str, head: int, stored: Tensor) -> Tensor:
        """Return each part's vectors [c, p, d], after rotation.

        Args:
            what: "query" or "key".
            head: the query head, or the key head of a group.
            stored: the model's own [n, d], after rotation.
        """
        spec, projections, index = self.ours.spec, self.projections, ("query", "key").index(what)
        rows = slice(head * spec.d_head, (head + 1) * spec.d_head)
        matrix = list(projections.matrices())[index][rows].detach().double()  # [d, m]
        made = self.parts @ matrix.T  # [c, p, d]
        made[-1] += self._bias(index, rows)
        norm = (projections.q_norm, projections.k_norm)[index]
        if norm is None:
            made = made * (spec.query_factor, spec.key_factor)[index]
        elif not projections.norms_after_rope:
            projected = self.ours.project(self.received)
            wanted = (projected.query, projected.key)[index][head].detach()
            step = frozen(Passed(f"the {what} norm", _OfHead(norm, head, spec.d_head), made.sum(0), wanted))
            made = step.apply(made)
            if step.bias is not None:
                made[-1] += step.bias
        made = _turned(made, self.planes, self.rows)
        if index == 0 and spec.temperature is not None:
            ones = torch.ones(1, len(self.rows), 1, dtype=torch.float64, device=made.device)
            made = made * apply_temperature(ones, torch.tensor(self.rows, device=made.device), spec.temperature)
        return self._checked(made, stored[self.rows].detach(), what)

    def _bias(self, index: int, rows: slice) -> Tensor:
        """Return the bias of W_q or W_k [d]: what it makes of nothing."""
        found: Tensor = self.projections.project(torch.zeros_like(self.received[:1]))[index]
        if self.projections.gate is not None and index == 0:
            found = self.projections.gate.query_part(found)[0]
        return found[0, rows].detach().double()

    def _checked(self, made: Tensor, stored: Tensor, what: str) -> Tensor:
        """Return the vectors; refuse them where their sum is not the model's own."""
        off = float((made.sum(0) - stored.double()).abs().max())
        room = ROUNDINGS * torch.finfo(stored.dtype).eps * float(made.abs().sum(0).max())
        if not off <= room:
            raise InspectorError(
                f"The {what} vectors of layer {self.layer} are not the sum of their parts, turned by position: the "
                f"sum misses them by {off:.2g}, more than {room:.1g} of rounding, so its scores are not split."
            )
        return made


class _OfHead(nn.Module):
    """One head's part of a norm's parameters, wherever the norm has them for all heads."""

    def __init__(self, norm: nn.Module | None, head: int, width: int) -> None:
        super().__init__()
        for number, one in enumerate([] if norm is None else norm.parameters()):
            own = one.detach().reshape(-1, width)
            self.register_parameter(f"p{number}", nn.Parameter(own[head if len(own) > 1 else 0], requires_grad=False))


def _turned(made: Tensor, planes: Turning | None, rows: Sequence[int]) -> Tensor:
    """Rotate vectors [c, p, d], each at its own token's position."""
    if planes is None:
        return made
    angles = torch.stack([torch.from_numpy(planes.angles(row)) for row in rows]).to(made.device)  # [p, planes]
    cos, sin = angles.cos() * planes.factor, angles.sin() * planes.factor
    first, second, after = made[..., planes.first], made[..., planes.second], made.clone()
    after[..., planes.scaled] *= planes.factor
    after[..., planes.first] = first * cos - second * sin
    after[..., planes.second] = second * cos + first * sin
    return after


def _refuse_size(size: int, parts: int, rows: int, *, heads: bool) -> None:
    if size > BYTES_AT_MOST:
        ask = "leave heads out, or " if heads else ""
        raise InspectorError(
            f"{parts} parts of {rows} tokens take {size / 2**30:.1f} GB, more than the {BYTES_AT_MOST / 2**30:.0f} GB "
            f"that splitting a score may: {ask}take a shorter prompt."
        )

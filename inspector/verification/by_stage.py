"""One layer stage by stage: each computed by ours from the library's numbers of the stage before, and compared.

So no error can hide behind another's, and the distance of both from the same layer in float64 says whose rounding is
larger.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from inspector.capture.records import LayerInfo
from inspector.verification.compare import STAGES, Check, compare_stage, distance
from inspector.verification.report import RoundingError
from inspector.verification.tolerances import stage_tolerances
from reimpl.attention import AttentionTrace, CausalSelfAttention, ExternalInputs, attention_weights
from reimpl.norm import exact_norms
from reimpl.rope import rotate


def each_from_reference(
    ours: CausalSelfAttention, x: Tensor, reference: AttentionTrace, external: ExternalInputs
) -> dict[str, Tensor]:
    """Compute every stage by `ours` from the library's numbers of the stage before, so that none hides another.

    Where something comes between rotation and scores, the library's vectors "before RoPE" have it too (it is run with
    no rotation), so rotation starts from our own: they have just been compared.

    Args:
        ours: our layer.
        x: the attention input [n, d_model].
        reference: the library's stages.
        external: what the layer takes from elsewhere in the model.

    Returns:
        The stages by name.
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


def compare_stages(info: LayerInfo, x: Tensor, found: Mapping[str, Tensor], reference: AttentionTrace) -> list[Check]:
    """Compare a layer's stages with the library's.

    Args:
        info: what the layer is like.
        x: the attention input [n, d_model].
        found: the stages to be judged, by name; not all need be there.
        reference: the library's stages.

    Returns:
        A check for each stage found, in the order of computation.
    """
    allowed = stage_tolerances(reference, info, d_model=x.shape[-1], chained=False)
    checks = []
    for stage in STAGES:
        if stage in found:
            tolerance, reason = allowed[stage]
            checks.append(
                compare_stage(
                    info.index, stage, found[stage], getattr(reference, stage), tolerance=tolerance, reason=reason
                )
            )
    return checks


def first_difference(checks: Sequence[Check]) -> Check | None:
    """Return the first check that did not hold."""
    return next((check for check in checks if not check.ok), None)


def rounding_errors(
    found: Mapping[str, Tensor],
    reference: AttentionTrace,
    ours: CausalSelfAttention,
    x: Tensor,
    external: ExternalInputs,
) -> list[RoundingError]:
    """Measure both implementations' distance from the same layer computed in float64.

    Args:
        found: the stages to be judged, by name.
        reference: the library's stages.
        ours: our layer, which computes the float64 numbers.
        x: the attention input [n, d_model].
        external: what the layer takes from elsewhere in the model.

    Returns:
        A pair of distances for each stage; none where there is nothing more exact at hand.
    """
    if x.dtype == torch.float64 or x.device.type == "mps":
        return []
    with torch.inference_mode():
        shared = None if external.shared is None else (external.shared[0].double(), external.shared[1].double())
        exact = in_float64(ours).stages(x.double(), external=ExternalInputs(shared, external.mask))

    def error(tensor: Tensor, stage: str) -> float:
        truth: Tensor = getattr(exact, stage)
        return distance(tensor, truth) if tensor.shape == truth.shape else float("inf")

    return [
        RoundingError(stage, error(found[stage], stage), error(getattr(reference, stage), stage))
        for stage in STAGES
        if stage in found
    ]


def worst_of_each_stage(rounding: Sequence[RoundingError]) -> Iterator[RoundingError]:
    """Give for each stage the largest distances from float64 that any layer has."""
    for stage in STAGES:
        rows = [row for row in rounding if row.stage == stage]
        if rows:
            yield RoundingError(stage, max(r.judged for r in rows), max(r.library for r in rows))


def in_float64(layer: CausalSelfAttention) -> CausalSelfAttention:
    """Make the same layer for float64 numbers, planted mistakes included.

    Args:
        layer: any; it stays as it is.

    Returns:
        The layer, its parameters, norms, angles and softmax in float64.
    """
    kind = type(layer)
    made: type[CausalSelfAttention] = _Exact
    if kind is not CausalSelfAttention:
        made = type(kind.__name__, (kind, _Exact), {})  # its steps before the exact ones
    exact = made.like(layer).double()
    exact_norms(exact)
    return exact


class _Exact(CausalSelfAttention):
    """The layer for float64: angles (from the model's float32 frequencies) and softmax in float64 as well."""

    def rotate(self, query: Tensor, key: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        rope, shares = self.spec.rope, self.spec.shares is not None
        turned = rotate(query, positions, rope, angles=torch.float64)
        return turned, key if shares else rotate(key, positions, rope, angles=torch.float64)

    def weigh(self, scores: Tensor, may: Tensor) -> Tensor:
        return attention_weights(scores, may, sinks=self.sinks, precision=torch.float64)

"""What can be read off somebody's numbers, right or wrong: base, pairing, positions, scale, window, heads, row sums."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from inspector.judging.layer_at import LayerAt
from reimpl.rope import split_planes
from reimpl.spec import RopeSpec

STEADY = 1e-2  # of the largest number: a rotation of planes leaves no more than that unexplained


def measure(asked: Sequence[LayerAt], wrong: Sequence[LayerAt]) -> dict[str, Any]:
    """Measure the first layer that differs, or the first one.

    Args:
        asked: the layers that were compared.
        wrong: those that differ.

    Returns:
        What could be measured of it: any of base, pairing, dims, first position, factor, scale, window, row sums.
    """
    if not asked:
        return {}
    at = (list(wrong) or list(asked))[0]
    found: dict[str, Any] = {"layer": at.index}
    if "query" in at.usable and "query_pre" in at.usable:
        found |= rotation(at.usable["query_pre"], at.usable["query"])
        if "angle per plane" in found and at.layer is not None and at.layer.spec.rope is not None:
            found["angle per plane"] = angles_per_plane(at.usable["query_pre"], at.usable["query"], at.layer.spec.rope)
    if "weights" in at.found and at.found["weights"].ndim == 3:
        found |= of_rows(at.found["weights"])
        if {"query", "key", "weights"} <= set(at.usable):
            found |= scores(at.usable["weights"], at.usable["query"], at.usable["key"])
    return found


def rotation(before: Tensor, after: Tensor) -> dict[str, Any]:
    """Measure how vectors [h, n, d] were turned: pairing, base, exponent of the first plane, first position, factor."""
    best: tuple[float, str, Tensor] | None = None
    for style in ("halves", "pairs"):
        a, b = (torch.complex(*(part.double() for part in split_planes(x, style))) for x in (before, after))
        z = (b * a.conj()).sum(0) / (a.abs() ** 2).sum(0).clamp_min(1e-30)  # [n, planes]
        rest = float((b - a * z).abs().max() / b.abs().max().clamp_min(1e-30))
        if best is None or rest < best[0]:
            best = (rest, style, z)
    assert best is not None  # noqa: S101
    rest, style, z = best
    if rest > STEADY or z.shape[0] < 3:
        return {}
    step = torch.angle((z[1:] * z[:-1].conj()).mean(0))
    still = step.abs() < 1e-7
    found: dict[str, Any] = {"pairing": style, "factor": float(z.abs().median()), "angle per plane": step.tolist()}
    turning = (~still).nonzero().flatten()
    if not len(turning):
        return {**found, "dims": 0}
    found["dims"] = 2 * (int(turning[-1]) + 1)
    use = step > 1e-6
    if int(use.sum()) >= 2:
        logs, i = step[use].log(), use.nonzero().flatten().double()
        line = torch.stack((torch.ones_like(logs), i), 1)
        fit = torch.linalg.lstsq(line, logs[:, None]).solution[:, 0]
        if float((line @ fit - logs).abs().max()) < 2e-2:
            found["base"] = _round(math.exp(-float(fit[1]) * found["dims"] / 2))
    first = torch.angle(z[0])[0] / step[0]
    found["first position"] = round(float(first), 2) + 0.0
    return found


def angles_per_plane(before: Tensor, after: Tensor, rope: RopeSpec) -> list[float]:
    """Measure by how much each plane of the model's pairing turns from token to token, as near as a rotation comes."""
    a, b = (
        torch.complex(
            *(
                part.double()
                for part in split_planes(x[..., -rope.dim :] if rope.last else x[..., : rope.dim], rope.style)
            )
        )
        for x in (before, after)
    )
    z = (b * a.conj()).sum(0) / (a.abs() ** 2).sum(0).clamp_min(1e-30)  # [n, planes]
    turned: list[float] = torch.angle((z[1:] * z[:-1].conj()).mean(0)).tolist()
    return turned


def of_rows(weights: Tensor) -> dict[str, Any]:
    """Measure the sums of rows of weights [h, n, s], and how far back the last query sees."""
    sums = weights.sum(-1)
    found: dict[str, Any] = {"row sums": [float(sums.min()), float(sums.max())]}
    if torch.isfinite(weights).all():
        seen = (weights > 0).any(0)
        last = seen[-1].nonzero().flatten()
        if len(last):
            found["last query sees"] = int(last[-1] - last[0]) + 1
    return found


def scores(weights: Tensor, query: Tensor, key: Tensor) -> dict[str, Any]:
    """Measure the scale of scores and which key head each query head reads, from log weights against q·k."""
    n = weights.shape[-1]
    if weights.shape[-2] != n or n < 3 or query.shape[1] != n or key.shape[1] != n:
        return {}
    heads, scales = [], []
    products = torch.einsum("htd,gsd->hgts", query.double(), key.double())
    logs = weights.double().clamp_min(1e-300).log()
    for head in range(weights.shape[0]):
        use = (weights[head] > 1e-6) & ~torch.eye(n, dtype=torch.bool)
        y = (logs[head] - logs[head].diagonal()[:, None])[use]
        best = None
        for group in range(key.shape[0]):
            s = products[head, group]
            x = (s - s.diagonal()[:, None])[use]
            if len(x) < 3 or not torch.isfinite(y).all():
                continue
            slope = float((x * y).sum() / x.square().sum().clamp_min(1e-30))
            off = float((y - slope * x).abs().median() / y.abs().median().clamp_min(1e-9))
            if best is None or off < best[0]:
                best = (off, group, slope)
        if best is None or best[0] > 0.02:
            return {}
        heads.append(best[1])
        scales.append(best[2])
    return {"scale": _round(sum(scales) / len(scales)), "head map": heads}


def _round(value: float) -> float:
    return float(f"{value:.6g}")

"""Several texts packed into one row (cu_seqlens): each must come out as it does alone; and mistakes with that.

The row holds the beginning of the prompt, the whole prompt and a shorter beginning: attention is causal, so that what
is due of each is known already.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from inspector.errors import InspectorError
from inspector.judging.calls import Called
from inspector.judging.causes import Explained
from inspector.judging.chain import Chain
from inspector.judging.findings import PACKED, Power, Step, Way
from inspector.judging.layer_at import LayerAt
from inspector.judging.layouts import read_layout
from inspector.judging.pieces import explaining
from inspector.judging.power import Compared
from inspector.judging.search import NEAR
from reimpl.attention import CausalSelfAttention

COMPARED = ("context", "output")  # queries may count positions through: what matters is their difference
NO_PACKING = "it takes no cu_seqlens, seq_lens or segment_ids"


@dataclass(frozen=True)
class PackingMistake:
    """One mistake; `meaning` completes "your packed attention has ...".

    sees: which tokens a query sees; seams: how far the texts' borders are off; turned: what positions keys have.
    """

    name: str
    meaning: str
    step: Step = "mask"
    sees: str = ""
    seams: int = 0
    turned: str = ""


PACKING_MISTAKES: tuple[PackingMistake, ...] = (
    PackingMistake("texts see those before", "texts that see those before them", sees="before"),
    PackingMistake("one text", "all texts taken for one, positions and mask going on", "mask", sees="before",
                   turned="on"),
    PackingMistake("mask by positions", "a mask by positions alone, so that a text sees other texts' earlier positions",
                   sees="positions"),
    PackingMistake("first border only", "a border after the first text only", sees="first border"),
    PackingMistake("no causal mask within texts", "no causal mask within a text", sees="whole text"),
    PackingMistake("borders one late", "borders between texts one token late", seams=1),
    PackingMistake("borders one early", "borders between texts one token early", seams=-1),
    PackingMistake("keys' positions go on", "query positions that restart in each text while keys' go on", "rotate",
                   turned="keys on"),
)  # fmt: skip


def lengths_of(n: int) -> tuple[int, int, int]:
    """Choose how long the packed texts are, of a prompt of n tokens."""
    return max(1, n // 2), n, max(1, n // 3)


def in_a_row(tensor: Tensor, lengths: Sequence[int], dim: int = -2) -> Tensor:
    """Put the beginnings of one text's rows [..., n, d] one after the other."""
    return torch.cat([tensor.narrow(dim, 0, length) for length in lengths], dim=dim)


def run_packed(handed: Any, asked: Sequence[LayerAt], dtype: torch.dtype) -> tuple[Way, Explained, dict[int, LayerAt]]:
    """Give somebody's attention packed texts, and compare each with what it is alone.

    Args:
        handed: somebody's attention.
        asked: the layers that are right on the whole text.
        dtype: what their code computes in.

    Returns:
        The row for the report, what explains the first difference, and the layers that were compared.
    """
    able = [at for at in asked if not _why_not(at)]
    why = NO_PACKING if not (isinstance(handed, Called) and handed.form.packs) else ""
    why = why or ("" if able else _why_not(asked[0]) if asked else "the whole text differs already")
    if why:
        return Way(PACKED, False, None, 0, None, "", None, None, None, why), Explained(), {}
    compared = 0
    done: dict[int, LayerAt] = {}
    for at in able:
        lengths = lengths_of(at.trace.n)
        try:
            stages = handed.packed(at.index, in_a_row(at.x, lengths), lengths)
        except InspectorError as raised:
            said = str(raised).rstrip(".")
            return Way(PACKED, True, False, compared, at.index, "", None, None, None, said), Explained(), done
        due = {stage: in_a_row(getattr(at.reference, stage), lengths) for stage in COMPARED}
        heads = at.reference.query.shape[0]
        found = {s: read_layout(s, stages[s], due[s], heads)[0].to(due[s].dtype) for s in COMPARED if s in stages}
        compared += len(found)
        done[at.index] = at
        wrong = _first_wrong(found, due, {s: _limits(at, s, lengths) for s in found})
        if wrong is not None:
            stage, token, far, limit = wrong
            how = f"first at layer {at.index}, token {token} of texts of {', '.join(map(str, lengths))}, by {far:.3g}"
            explained = _cause(found, at.right_chain, lengths, NEAR[dtype])
            return Way(PACKED, True, False, compared, at.index, stage, token, far, limit, how), explained, done
    return Way(PACKED, bool(compared), True if compared else None, compared, None, "", None, None, None, ""), \
        Explained(), done  # fmt: skip


def _why_not(at: LayerAt) -> str:
    """Say why the beginning of a text need not come out of a layer as it does alone; empty where it must."""
    if at.layer is None:
        return "this model's family is not reimplemented"
    rope = at.layer.spec.rope
    if rope is not None and rope.rule in ("dynamic", "longrope"):
        return "this model's rotation depends on how long a text is"
    if at.layer.spec.mask.given or at.layer.spec.shares is not None:
        return "this model's layers take masks or keys from elsewhere"
    return ""


def _limits(at: LayerAt, stage: str, lengths: Sequence[int]) -> Tensor:
    return in_a_row(at.limits[stage].most.expand_as(getattr(at.reference, stage)), lengths)


def _first_wrong(
    found: Mapping[str, Tensor], due: Mapping[str, Tensor], limits: Mapping[str, Tensor]
) -> tuple[str, int, float, float] | None:
    """Return stage, row, difference and limit where packed texts first differ; None where they do not."""
    for stage, tensor in found.items():
        if tensor.shape != due[stage].shape:
            return stage, 0, math.inf, 0.0
        far = (tensor - due[stage]).abs()
        bad = ~(far <= limits[stage])
        if bad.any():
            token = int(bad.flatten(0, -3).any(0).any(-1).nonzero()[0]) if bad.ndim > 2 else int(
                bad.any(-1).nonzero()[0])  # fmt: skip
            row = far[..., token, :].nan_to_num(math.inf).flatten()
            worst = int(row.argmax())
            return stage, token, float(row[worst]), float(limits[stage][..., token, :].flatten()[worst])
    return None


# -- mistakes ---------------------------------------------------------------------------------------------------------


def packed_stages(mistake: PackingMistake | None, chain: Chain, lengths: Sequence[int]) -> dict[str, Tensor]:
    """Compute a layer's context and output of packed texts, rightly or with a mistake.

    Args:
        mistake: which; None: rightly.
        chain: the layer and the prompt that the texts begin.
        lengths: how long each text is.
    """
    layer, x = chain.layer, in_a_row(chain.x, lengths)
    at = mistake or PackingMistake("", "")
    restart = torch.cat([torch.arange(length) for length in lengths])
    on = torch.arange(x.shape[0])
    query, key, value, gate = layer.project(x)
    places = {"": (restart, restart), "on": (on, on), "keys on": (restart, on)}[at.turned]
    query = _turned(layer, query, key, places[0])[0]
    key = _turned(layer, query, key, places[1])[1]
    weights = layer.weigh(layer.score(query, key), _mask(at, layer, lengths, restart, on))
    context = layer.weighted_sum(weights, value)
    return {"context": context, "output": layer.output_projection(context, gate)}


def _turned(layer: CausalSelfAttention, query: Tensor, key: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    return layer.after_rotation(*layer.rotate(query, key, positions), positions)


def _mask(
    at: PackingMistake, layer: CausalSelfAttention, lengths: Sequence[int], restart: Tensor, on: Tensor
) -> Tensor:
    """Return which tokens of the row each of its tokens sees."""
    counts = torch.tensor(list(lengths))
    text = torch.repeat_interleave(torch.arange(len(lengths)), counts)
    if at.seams:
        text = text.roll(at.seams)
        text[: max(at.seams, 0)] = 0
        text[len(text) + min(at.seams, 0) :] = len(lengths) - 1
    same = text[:, None] == text[None, :]
    if at.sees == "before":
        return layer.mask(on, on)
    if at.sees == "positions":
        return layer.mask(restart, restart)
    if at.sees == "first border":
        same = (text > 0)[:, None] == (text > 0)[None, :]
    if at.sees == "whole text":
        return same
    return same & layer.mask(on, on)


def _cause(found: Mapping[str, Tensor], chain: Chain, lengths: Sequence[int], near: float) -> Explained:
    """Name the mistake under which packed texts come out so."""

    def tried() -> Iterator[tuple[str, Step, Mapping[str, Tensor]]]:
        for mistake in PACKING_MISTAKES:
            counted = ("", "on") if mistake.seams or mistake.sees == "first border" else (mistake.turned,)
            for turned in counted:  # positions counted from the right borders, or from the wrong ones too
                made = packed_stages(replace(mistake, turned=turned), chain, lengths)
                yield f"your packed attention has {mistake.meaning}", mistake.step, made

    with torch.inference_mode():
        return explaining(found, packed_stages(None, chain, lengths), tried(), near)


def of_packing(done: Mapping[int, LayerAt], compared: Mapping[int, Compared]) -> list[Power]:
    """Plant every known mistake of packing and see whether it would have shown.

    Args:
        done: the layers that were given packed texts.
        compared: the first compared layer of each kind.
    """
    rows = []
    for mistake in PACKING_MISTAKES if done else ():
        row = Power(mistake.name, mistake.meaning, True, False, None, "", PACKED, "these texts do not show it")
        for index, at in done.items():
            if index not in compared or (mistake.turned and compared[index].chain.layer.spec.rope is None):
                continue
            lengths = lengths_of(at.trace.n)
            with torch.inference_mode():
                made = packed_stages(mistake, compared[index].chain, lengths)
            for stage in (s for s in COMPARED if s in compared[index].stages and not row.shown):
                due = in_a_row(getattr(at.reference, stage), lengths)
                if bool((~((made[stage] - due).abs() <= _limits(at, stage, lengths))).any()):
                    row = Power(mistake.name, mistake.meaning, True, True, index, stage, PACKED, "")
        rows.append(row)
    return rows

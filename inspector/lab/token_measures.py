"""Measure how much a next token depends on each token of the prompt: by cutting it off, and by cheaper measures."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from inspector.analysis.residual_terms import AttentionPart
from inspector.capture.embedding_gradients import EmbeddingGradients
from inspector.errors import InspectorError
from inspector.lab.importance_report import ImportanceReport
from inspector.lab.logit_shares import LogitParts
from inspector.lab.run_sweep import sweep
from inspector.text import Progress, no_progress
from inspector.trace.trace import Trace

MOST = 512  # tokens: each is cut off once, and rollout multiplies n x n tables


def token_importance(
    trace: Trace,
    token: str | int | None = None,
    against: str | int | None = None,
    *,
    progress: Progress = no_progress,
) -> ImportanceReport:
    """Cut each token of a prompt off in turn, and see which cheaper measures rank the tokens likewise.

    Args:
        trace: the prompt's trace, without edits.
        token: the next token that direct shares and gradients are taken of, as in `attribution`.
        against: its foil, likewise; None: the mean of all tokens.
        progress: called as progress(message, fraction) while tokens are cut off; what it raises ends it.

    Returns:
        The report: `.table` has a row a token with the effect of cutting it off (KL divergence of the next token's
        distribution, in bits), attention of the last token (mean of all heads; last layer), weights times the lengths
        of values and of outputs (Kobayashi et al. 2020, https://arxiv.org/abs/2004.10102), magnitudes of direct shares
        and of gradient times input, and rollout (Abnar & Zuidema 2020, https://arxiv.org/abs/2005.00928), as a foil.
        `.correlations` has each measure's rank correlation with the first column.

    Raises:
        InspectorError: the prompt is too long or too short, the trace has edits, or as `attribution` and `sweep`.
        NoModel: the trace was opened from a file, without its model.
    """
    if not 2 <= trace.n <= MOST:
        raise InspectorError(f"This prompt has {trace.n} tokens, and each is cut off in turn: take 2 to {MOST}.")
    if trace.edits:
        raise InspectorError(
            "This trace was made under edits, which cutting tokens off would be added to: trace plainly."
        )
    parts = LogitParts(trace)
    y, foil = parts.chosen(token, "mean" if against is None else against)
    found = sweep(
        parts.model,
        list(trace.tokens.ids),
        kind="cut",
        over="tokens",
        token=y,
        against=foil if isinstance(foil, int) else None,
        progress=progress,
    )
    u, _ = parts.logits.direction(y, foil)
    columns = {name: values[: trace.n - 1].tolist() for name, values in _measures(parts, u).items()}
    columns["gradient_times_input"] = _gradient_times_input(parts, y, foil)[: trace.n - 1].tolist()
    columns["rollout"] = _rollout(trace)[: trace.n - 1].tolist()
    return ImportanceReport(
        model=parts.model.name,
        note=parts.model.source.note,
        prompt=trace.prompt,
        tokens=trace.tokens,
        sweep=found,
        measures=pd.DataFrame({"position": range(trace.n - 1), **columns}),
    )


def _measures(parts: LogitParts, u: Tensor) -> dict[str, Tensor]:
    """Return the measures of the last token's row, each [n], summed over heads."""
    trace = parts.trace
    names = ("attention", "last_layer", "weight_times_value", "weight_times_output", "direct_share")
    found = {name: torch.zeros(trace.n, dtype=torch.float64) for name in names}
    heads = sum(info.heads for info in trace.layers)
    for part in parts.sum.attention:
        weights = trace.weights(part.layer, queries=[parts.query])[:, 0].detach().double().cpu()  # [h, s]
        value = trace.value(part.layer).detach().double()  # [g, s, d_value]
        value = value.repeat_interleave(len(weights) // len(value), 0)  # [h, s, d_value]
        found["attention"] += weights.sum(0) / heads
        found["last_layer"] = weights.mean(0)
        found["weight_times_value"] += (weights * value.norm(dim=-1).cpu()).sum(0)
        found["weight_times_output"] += (weights * _output_lengths(part, value).cpu()).sum(0)
        found["direct_share"] += parts.by_source(part, u).sum(0).cpu()
    found["direct_share"] = found["direct_share"].abs()
    return found


def _output_lengths(part: AttentionPart, value: Tensor) -> Tensor:
    """Return the length of what each value [h, s, d_value] adds to the residual stream through W_o [h, s]."""
    gate = part.gate()
    value = value if gate is None else value * gate
    written = part.apply(part.output_matrix().transpose(1, 2)[..., None, :])[..., 0, :]  # [h, d_value, m]
    gram = written @ written.transpose(1, 2)  # [h, d_value, d_value]
    return ((value @ gram) * value).sum(-1).clamp_min(0).sqrt()


def _gradient_times_input(parts: LogitParts, token: int, foil: object) -> Tensor:
    listener = EmbeddingGradients()
    logits = parts.model.passes.row_with_gradients(parts.trace.tokens.ids, listener)[0]
    number = logits[token] - (logits[foil] if isinstance(foil, int) else logits.mean())
    return listener.times_input(number).abs().double().cpu()


def _rollout(trace: Trace) -> Tensor:
    """Return the last row of the product of all layers' mean weights, with half of each for the residual stream [n]."""
    row = torch.zeros(trace.n, dtype=torch.float64)
    row[-1] = 1
    for info in reversed(trace.layers):
        mean = trace.weights(info.index).detach().double().mean(0).cpu() + torch.eye(trace.n, dtype=torch.float64)
        row = row @ (mean / mean.sum(-1, keepdim=True))
    return row

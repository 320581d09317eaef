"""Tables of what a head does: tokens that it promotes and suppresses here, its OV circuit, copying, composition."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args

import pandas as pd
import torch
from torch import Tensor

from inspector.analysis.head_circuits import Circuits, refuse_no_head
from inspector.errors import InspectorError
from inspector.lab.effects import token_id
from inspector.lab.logit_shares import LogitParts
from inspector.model.model import Model, model_of
from inspector.text import refuse_other
from inspector.trace.trace import Trace

Composed = Literal["query", "key", "value"]
SAMPLE = 1500  # tokens of the vocabulary, evenly spread, that copying is measured on
TOP = 5
DRAWS = 8  # of random matrices
DISTANCES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
CAVEAT = (
    "These scores are of raw embeddings: heads that copy what earlier layers made of a token, such as induction heads, "
    "do not score high; measure those on a prompt (by source token)."
)


def promoted(trace: Trace, layer: int, head: int, *, query: int = -1, count: int = 10) -> pd.DataFrame:
    """Return the next tokens that one head promotes and suppresses most at one token of a prompt.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        head: a query head, counted from 0.
        query: the token after which they stand, by its position (negative: from the end).
        count: how many of either.

    Returns:
        A row a token, the most promoted first: side (promoted or suppressed), token, label, and share: the head's
        direct share of its logit, less the mean over the vocabulary.

    Raises:
        InspectorError: as `attribution`, or there is no such head.
        NoModel: the trace was opened from a file, without its model.
    """
    refuse_no_head(model_of(trace, "what a head promotes"), layer, head)
    parts = LogitParts(trace, query)
    part = parts.sum.attention[layer]
    written = part.apply((part.output_matrix()[head] @ parts.contexts[layer][head])[None])[0]
    return _both_ends(parts.model, parts.logits.of_vectors(written), count, "share")


def ov_circuit(model: Model, layer: int, head: int, token: str | int, *, count: int = 10) -> pd.DataFrame:
    """Return what a head would promote and suppress wherever it looks at a token, by its weights alone.

    Args:
        model: what inspector.load returns.
        layer: counted from 0.
        head: a query head, counted from 0.
        token: the token that is looked at: a text that is one token, or an id.
        count: how many next tokens of either side.

    Returns:
        A row a next token: side, token, label, and score: the head's W_v and W_o between the token's embedding and the
        output embeddings, less the mean over the vocabulary; without the final norm's scale, so without a unit.

    Raises:
        InspectorError: there is no such head or token, or the model's weights cannot be read so.
    """
    refuse_no_head(model, layer, head)
    circuits = Circuits(model)
    source = torch.tensor([token_id(token, model)])
    _, _, w_v, w_o = circuits.matrices(layer, head)
    written = w_o @ (w_v @ circuits.embedded(source, layer)[0])
    unembedding = circuits.unembedding()
    return _both_ends(model, unembedding @ written.to(unembedding.dtype), count, "score")


def copying_scores(model: Model, *, layers: Iterable[int] | None = None) -> pd.DataFrame:
    """Measure for each head whether what it writes makes the token that it looks at more probable, by weights alone.

    Args:
        model: what inspector.load returns.
        layers: some layers; None: all.

    Returns:
        A row a head, the highest score first: layer, head, eigenvalues (the sum of the OV circuit's eigenvalues over
        the sum of their magnitudes, -1 to 1; 1: every token promotes itself) and own_token_top_5 (of how many tokens of
        the sample their own is among the five most promoted of it). `frame.attrs["caveat"]` says what they miss.
        Sources: Elhage et al. 2021; Olsson et al. 2022, https://arxiv.org/abs/2209.11895.

    Raises:
        InspectorError: there is no such layer, or the model's weights cannot be read so.
    """
    circuits = Circuits(model)
    ids = torch.arange(min(SAMPLE, model.vocabulary)) * model.vocabulary // min(SAMPLE, model.vocabulary)
    unembedding = circuits.unembedding(ids)
    rows = []
    for layer in range(len(model.layers)) if layers is None else layers:
        refuse_no_head(model, layer, 0)
        embedded = circuits.embedded(ids, layer)
        for head in range(model.layers[layer].heads):
            _, _, w_v, w_o = circuits.matrices(layer, head)
            values, outputs = embedded @ w_v.T, unembedding @ w_o  # [k, d_value] both
            eigenvalues = torch.linalg.eigvals(values.T @ outputs)
            logits = values.float() @ outputs.float().T  # [source, next token]
            own = (logits > logits.diagonal()[:, None]).sum(1) < TOP
            rows.append(
                {
                    "layer": layer,
                    "head": head,
                    "eigenvalues": float(eigenvalues.real.sum() / eigenvalues.abs().sum().clamp_min(1e-30)),
                    "own_token_top_5": float(own.double().mean()),
                }
            )
    frame = pd.DataFrame(rows).sort_values("eigenvalues", ascending=False, ignore_index=True)
    frame.attrs = {"sample": len(ids), "caveat": CAVEAT}
    return frame


def composition(
    model: Model,
    first: tuple[int, int],
    second: tuple[int, int],
    kind: Composed = "key",
    *,
    distances: Iterable[int] = DISTANCES,
) -> pd.DataFrame:
    """Measure how much of what one head writes a later head reads into its queries, keys or values, by weights alone.

    Args:
        model: what inspector.load returns.
        first: layer and head of the one that writes.
        second: layer and head of the one that reads, in a later layer.
        kind: which of the reader's vectors.
        distances: from key to query, in tokens; RoPE makes the reader's QK circuit depend on it (values do not).

    Returns:
        A row a distance: distance, score (the Frobenius norm of the two circuits' product over the product of theirs,
        0 to 1), baseline (the same with a writer of random numbers, mean of eight) and times_baseline.
        Source: Elhage et al. 2021; by distance, since a rotation stands between W_q and W_k.

    Raises:
        InspectorError: there is no such head, the reader does not come later, or the weights cannot be read so.
    """
    refuse_other(kind, get_args(Composed), "kind of composition")
    for layer, head in (first, second):
        refuse_no_head(model, layer, head)
    if first[0] >= second[0]:
        raise InspectorError(
            f"Head {first[0]}.{first[1]} does not come before head {second[0]}.{second[1]}: name the writer first."
        )
    circuits = Circuits(model)
    w_q, w_k, w_v, w_o = circuits.matrices(*second)
    _, _, first_v, first_o = circuits.matrices(*first)
    random = torch.Generator().manual_seed(0)
    drawn = [
        (torch.randn(first_v.shape, generator=random).double(), torch.randn(first_o.shape, generator=random).double())
        for _ in range(DRAWS)
    ]
    rows = []
    for distance in [0] if kind == "value" else distances:
        turn = circuits.rotation(second[0], distance)
        outer, inner = {"key": (w_q.T, turn @ w_k), "query": (w_k.T, turn.T @ w_q), "value": (w_o, w_v)}[kind]
        score = _composed(outer, inner, first_o, first_v)
        baseline = sum(_composed(outer, inner, o, v) for v, o in drawn) / DRAWS
        rows.append({"distance": distance, "score": score, "baseline": baseline, "times_baseline": score / baseline})
    return pd.DataFrame(rows)


def _composed(outer: Tensor, inner: Tensor, w_o: Tensor, w_v: Tensor) -> float:
    """Return |outer·inner·w_o·w_v| over |outer·inner|·|w_o·w_v| by small Gram matrices, never of the model's width.

    Args:
        outer: [m, d].
        inner: [d, m].
        w_o: [m, d_value].
        w_v: [d_value, m].
    """
    left, right = outer.T @ outer, w_v @ w_v.T
    middle = inner @ w_o
    both = torch.trace(left @ middle @ right @ middle.T)
    reads = torch.trace(left @ inner @ inner.T)
    writes = torch.trace((w_o.T @ w_o) @ right)
    return float((both / (reads * writes).clamp_min(1e-300)).clamp_min(0).sqrt())


def _both_ends(model: Model, logits: Tensor, count: int, name: str) -> pd.DataFrame:
    """Return the tokens of the largest and the smallest of these [vocabulary], less their mean."""
    shares = logits.double() - logits.double().mean()
    count = max(1, min(count, len(shares) // 2))
    ends: list[tuple[str, Any]] = [("promoted", shares.topk(count)), ("suppressed", (-shares).topk(count))]
    return pd.DataFrame(
        [
            {"side": side, "token": token, "label": model.tokenize([token]).labels[0], name: float(shares[token])}
            for side, top in ends
            for token in top.indices.tolist()
        ]
    )

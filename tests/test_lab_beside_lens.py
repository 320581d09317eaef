"""Edits of attention beside the same interventions in TransformerLens, another program on the same weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from inspector import lab
from inspector.capture.edits import Edit
from inspector.model.model import Model

pytestmark = [pytest.mark.packaged, pytest.mark.slow]
MARY = "When Mary and John went to the store, John gave a drink to"
OTHER = "When Anna and Mark went to the store, Mark gave a drink to"
LAYER, HEAD, GROUP = 23, 3, 1  # query head 3 of 9 looks through key head 1 of 3
ROOM = (
    1e-5  # of the largest logit: float32 through 30 layers, whose norms' weights are folded into other matrices there
)
Hooks = Sequence[tuple[str, Callable[[Tensor, Any], Tensor]]]


def place(name: str, layer: int = LAYER) -> str:
    return f"blocks.{layer}.attn.{name}"


def on_head(name: str, change: Callable[[Tensor], Tensor], head: int = HEAD) -> Hooks:
    """A hook that changes one head of vectors [batch, n, heads, d_head]."""

    def hook(vectors: Tensor, hook: Any) -> Tensor:
        vectors = vectors.clone()
        vectors[:, :, head] = change(vectors[:, :, head])
        return vectors

    return [(place(name), hook)]


def on_table(name: str, change: Callable[[Tensor], Tensor]) -> Hooks:
    """A hook that changes one head's table [batch, heads, query, key]."""

    def hook(table: Tensor, hook: Any) -> Tensor:
        table = table.clone()
        table[:, HEAD] = change(table[:, HEAD])
        return table

    return [(place(name), hook)]


def cut_at(table: Tensor, query: int, key: int, value: float) -> Tensor:
    table = table.clone()
    table[..., query, key] = value
    return table


def windowed(scores: Tensor, tokens: int) -> Tensor:
    n = scores.shape[-1]
    ahead = torch.arange(n)[:, None] - torch.arange(n)
    return scores.masked_fill(ahead >= tokens, -torch.inf)


def edits_and_hooks(ids: Sequence[int], there: Mapping[str, Tensor]) -> dict[str, tuple[Edit, Hooks]]:
    """Each edit of ours and the hooks of TransformerLens that do the same; `there` holds the other prompt's tensors."""
    at = (LAYER, HEAD)
    z = there[place("hook_z")][:, :, HEAD]
    return {
        "zero": (lab.zero(*at), on_head("hook_z", torch.zeros_like)),
        "scale": (lab.scale(3, *at), on_head("hook_z", lambda z: 3 * z)),
        "mean": (lab.mean([ids], *at), on_head("hook_z", lambda mine: z[:, 1:].mean(1, keepdim=True).expand_as(mine))),
        "patch context": (lab.patch(ids, *at), on_head("hook_z", lambda _: z)),
        "patch context of a token": (
            lab.patch(ids, *at, positions=[9]),
            on_head("hook_z", lambda mine: torch.cat((mine[:, :9], z[:, 9:10], mine[:, 10:]), 1)),
        ),
        "patch query": (
            lab.patch(ids, *at, what="query"),
            on_head("hook_rot_q", lambda _: there[place("hook_rot_q")][:, :, HEAD]),
        ),
        "patch weights": (
            lab.freeze(ids, *at),
            on_table("hook_pattern", lambda _: there[place("hook_pattern")][:, HEAD]),
        ),
        "cut": (
            lab.cut(query=-1, key=1, layers=LAYER, heads=HEAD),
            on_table("hook_attn_scores", lambda scores: cut_at(scores, -1, 1, -torch.inf)),
        ),
        "drop": (
            lab.cut(query=-1, key=1, layers=LAYER, heads=HEAD, renormalise=False),
            on_table("hook_pattern", lambda weights: cut_at(weights, -1, 1, 0.0)),
        ),
        "window": (
            lab.mask(*at, window=4),
            on_table("hook_attn_scores", lambda scores: windowed(scores, 4)),
        ),
        "temperature": (lab.temperature(2.0, *at), on_table("hook_attn_scores", lambda scores: 2 * scores)),
        "scale off": (lab.scale_off(*at), on_table("hook_attn_scores", lambda scores: 8 * scores)),
    }


@pytest.fixture(scope="module")
def lens(smollm: Model) -> Any:
    bridge = pytest.importorskip("transformer_lens.model_bridge")
    folder = str(smollm.source.folder)
    found = bridge.TransformerBridge.boot_transformers(
        folder, tokenizer=smollm.tokenizer, dtype=torch.float32, device="cpu"
    )
    found.enable_compatibility_mode(center_writing_weights=False, center_unembed=False)
    return found


def test_every_edit_is_transformer_lenss_intervention(smollm: Model, lens: Any) -> None:
    ids, other = (torch.tensor([list(smollm.tokenize(text).ids)]) for text in (MARY, OTHER))
    assert ids.shape == other.shape
    with torch.inference_mode():
        _, there = lens.run_with_cache(other)
        missed, moved = {}, {}
        for name, (edit, hooks) in edits_and_hooks(other[0].tolist(), there).items():
            runs = smollm.edited_runs([edit], n=ids.shape[1])
            ours = smollm.passes.logits(ids[0].tolist(), editor=runs.editor())
            plain = smollm.passes.logits(ids[0].tolist())
            theirs = lens.run_with_hooks(ids, fwd_hooks=list(hooks))[0]
            missed[name] = float((ours - theirs).abs().max() / theirs.abs().max())
            moved[name] = float((ours - plain).abs().max() / theirs.abs().max())
            print(f"{name}: differs by {missed[name]:.1e}, moved {moved[name]:.1e}")
    assert max(missed.values()) <= ROOM
    assert min(moved.values()) > 10 * ROOM  # else the agreement would be of two plain runs

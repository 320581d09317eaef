"""Shares of a logit beside TransformerLens's direct logit attribution, another program on the same weights."""

from __future__ import annotations

import pytest
import torch

from inspector import lab
from inspector.model.model import Model

pytestmark = pytest.mark.packaged
MARY = "When Mary and John went to the store, John gave a drink to"
ROOM = 1e-4  # float32 there, of vectors up to 2577 long, and its norm's weight is folded into other matrices


def lens_shares(model: Model, token: int, foil: int | None) -> dict[str, float]:
    """TransformerLens's shares of a logit after the last token of MARY, by our names of the parts."""
    from transformer_lens.model_bridge import TransformerBridge

    folder = str(model.source.folder)
    lens = TransformerBridge.boot_transformers(folder, tokenizer=model.tokenizer, dtype=torch.float32, device="cpu")
    lens.enable_compatibility_mode(center_writing_weights=False, center_unembed=False)
    _, cache = lens.run_with_cache(torch.tensor([list(model.tokenize(MARY).ids)]))
    heads, names = cache.stack_head_results(pos_slice=-1, return_labels=True)
    parts, labels = cache.decompose_resid(mode="mlp", pos_slice=-1, return_labels=True)
    stack = torch.cat((parts, heads))
    other = None if foil is None else torch.tensor([foil])
    shares = cache.logit_attrs(stack, torch.tensor([token]), incorrect_tokens=other, pos_slice=-1)
    found = dict(zip([*labels, *names], shares.flatten().tolist(), strict=True))
    ours = {"embed": "embedding"}
    for name in found:
        if name.startswith("L"):
            ours[name] = "head " + name[1:].replace("H", ".")
        elif name.endswith("mlp_out"):
            ours[name] = f"MLP {int(name.split('_')[0])}"
    return {ours[name]: share for name, share in found.items() if name in ours}


@pytest.mark.slow
@pytest.mark.parametrize("against", [None, " John"])
def test_every_share_is_transformer_lenss(smollm, against):
    pytest.importorskip("transformer_lens")
    frame = lab.attribution(smollm.trace(MARY), " Mary", against)
    theirs = lens_shares(smollm, frame.attrs["token"], frame.attrs["against"])
    mine = dict(zip(frame["part"], frame["share"], strict=True))
    assert theirs.keys() == mine.keys()
    missed = {name: abs(mine[name] - theirs[name]) for name in mine}
    print(f"{len(missed)} parts, largest difference {max(missed.values()):.1e}")
    assert max(missed.values()) <= ROOM
    other = {name: theirs[f"head {name[5:-1]}{(int(name[-1]) + 1) % 9}"] for name in mine if name.startswith("head")}
    assert max(abs(mine[name] - share) for name, share in other.items()) > 1  # the head beside it is another

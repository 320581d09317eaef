"""Attention of each token to what earlier layers made of it is none of tokens to tokens: it is passed, not refused.

transformers 5.24 lets Inkling 2 ask the library's interface for it, as for the attention between tokens.
"""

import pytest
import tiny
import torch
from torch import nn
from transformers.models.llama.modeling_llama import ALL_ATTENTION_FUNCTIONS, eager_attention_forward

import inspector
from inspector.coverage import tiny as types


class Mixture(nn.Module):
    """Each token's own mixture of two vectors, by `queries` questions: [1, t, queries, m] to [1, t, 2, m]."""

    def __init__(self, part, config, queries):
        super().__init__()
        self.part, self.config, self.queries = part, config, queries
        self.num_key_value_groups, self.is_causal = 1, False

    def forward(self, x):
        layers = torch.stack((x, self.part(x)), dim=-2)
        asked = x.unsqueeze(-2).expand(-1, -1, self.queries, -1)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        return attend(self, asked, layers, layers, None, scaling=0.1)[0].mean(1)


def mixed(model, queries):
    """The model, the feed-forward part of each block within such a mixture."""
    for layer in model.model.layers:
        layer.mlp = Mixture(layer.mlp, model.config, queries)
    return model


@pytest.mark.parametrize("n", [1, 2, 3, 4, 24])  # as many as questions, vectors, heads; and more than any
@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("kind", ["grouped", "qwen3", "gemma2"])
def test_a_mixture_of_layers_is_passed(kind, queries, n, tmp_path):
    plain = tiny.load(kind, tmp_path)
    model = inspector.load(mixed(plain.model, queries), plain.tokenizer)
    trace = model.trace(tiny.ids(n), keep=("input", "output", "residual"))
    assert [layer.name for layer in trace.layers] == [f"model.layers.{i}.self_attn" for i in range(3)]
    with torch.inference_mode():
        logits = model.model(torch.tensor([tiny.ids(n)])).logits[0, -1]
    assert torch.equal(trace.logits[-1], logits)


@pytest.mark.parametrize("name", ["inkling2_text", "inkling2_loop_text"])
@pytest.mark.parametrize("n", [1, 3, 24])
def test_inklings_attention_is_captured(name, n, tmp_path):
    if name not in types.types():
        pytest.skip("the installed transformers has no such type")
    trace = inspector.load(types.save(types.types()[name], tmp_path)).trace(tiny.ids(n))
    assert all(layer.name.endswith(".self_attn") for layer in trace.layers)
    assert trace.weights(0).shape == (4, n, n)


def test_one_wide_head_is_attention_whatever_the_length(tmp_path):
    model = tiny.load("one wide head", tmp_path)
    for n in (1, 2, 5):
        assert len(model.trace(tiny.ids(n)).layers) == 3

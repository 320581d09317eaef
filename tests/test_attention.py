"""One computation in several forms: loops, matrices, blocks, torch's own; and each of its steps on small numbers."""

import math

import pytest
import torch
from torch.nn import functional as F

from reimpl.attention import (
    CausalSelfAttention,
    attention_weights,
    context_vectors,
    repeat_heads,
    scaled_scores,
)
from reimpl.blockwise import blockwise_context
from reimpl.mask import allowed
from reimpl.spec import AttentionSpec, CheckpointError, MaskRule, RopeSpec
from reimpl.stepwise import attend_one, softmax

HEADS, KV_HEADS, N, D = 6, 2, 37, 8


@pytest.fixture
def qkv():
    return torch.randn(HEADS, N, D), torch.randn(KV_HEADS, N, D), torch.randn(KV_HEADS, N, D)


def dense(q, k, v, rule, *, scale=D**-0.5, softcap=None, sinks=None, precision=torch.float32):
    positions = torch.arange(N)
    weights = attention_weights(
        scaled_scores(q, k, scale=scale, softcap=softcap),
        allowed(rule, positions, positions),
        sinks=sinks,
        precision=precision,
    )
    return weights, context_vectors(weights, v)


def test_the_documents_five_numbers():
    """q_it = [.9 .1 0 .2 .3] and k_cat = [.8 .2 0 .1 .3] give the score 0.85."""
    q = torch.tensor([[[0.9, 0.1, 0.0, 0.2, 0.3]]])
    k = torch.tensor([[[0.8, 0.2, 0.0, 0.1, 0.3]]])
    assert float(scaled_scores(q, k, scale=1.0)) == pytest.approx(0.85)


@pytest.mark.parametrize(("pair", "larger"), [([1, 1.1], 0.525), ([10, 11], 0.731), ([100, 110], 0.999955)])
def test_softmax_of_larger_numbers_is_steeper(pair, larger):
    assert softmax(pair)[1] == pytest.approx(larger, abs=5e-4 if larger < 0.9 else 5e-7)


def test_weights_written_out():
    scores = torch.tensor([[[0.0, 5.0], [math.log(1.0), math.log(3.0)]]])
    weights = attention_weights(scores, allowed(MaskRule(), torch.arange(2), torch.arange(2)))
    torch.testing.assert_close(weights, torch.tensor([[[1.0, 0.0], [0.25, 0.75]]]))


def test_a_sink_takes_its_share():
    weights = attention_weights(torch.zeros(1, 1, 3), None, sinks=torch.tensor([math.log(2.0)]))
    torch.testing.assert_close(weights, torch.full((1, 1, 3), 0.2))  # 1 of 1+1+1+2 each; the sink has 2 of 5


def test_softcap_bends_scores():
    q, k = torch.tensor([[[30.0]]]), torch.tensor([[[1.0]]])
    assert float(scaled_scores(q, k, scale=1.0, softcap=20.0)) == pytest.approx(20 * math.tanh(1.5))


def test_query_heads_share_in_order():
    x = torch.arange(2.0)[:, None, None]
    assert repeat_heads(x, 6).flatten().tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("rule", [MaskRule(), MaskRule(window=5)])
def test_loops_equal_matrices(qkv, rule):
    q, k, v = (x.double() for x in qkv)
    weights, context = dense(q, k, v, rule, precision=torch.float64)
    may = allowed(rule, torch.arange(N), torch.arange(N))
    for h, t in ((0, 0), (2, 1), (5, N - 1)):
        seen, g = may[t], h // 3
        steps = attend_one(q[h, t].tolist(), k[g, seen].tolist(), v[g, seen].tolist(), scale=D**-0.5)
        assert steps.weights == pytest.approx(weights[h, t, seen].tolist(), abs=1e-14)
        assert steps.context == pytest.approx(context[h, t].tolist(), abs=1e-13)


def test_matrices_equal_torchs_own_attention(qkv):
    q, k, v = qkv
    theirs = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True, enable_gqa=True)[0]
    # Both sum 37 products of numbers near 1, in another order: a few units of 1.2e-7.
    torch.testing.assert_close(dense(q, k, v, MaskRule())[1], theirs, atol=5e-7, rtol=0)


@pytest.mark.parametrize("rule", [MaskRule(), MaskRule(window=5)])
@pytest.mark.parametrize("options", [{}, {"softcap": 3.0}, {"sinks": torch.linspace(-1, 2, HEADS)}])
@pytest.mark.parametrize("block", [1, 7, 64])
def test_blocks_equal_matrices(qkv, rule, options, block):
    q, k, v = qkv
    blocks = blockwise_context(q, k, v, scale=D**-0.5, rule=rule, block=block, **options)
    torch.testing.assert_close(blocks, dense(q, k, v, rule, **options)[1], atol=5e-7, rtol=0)


def test_blocks_equal_torchs_own_attention(qkv):
    q, k, v = qkv
    theirs = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True, enable_gqa=True)[0]
    blocks = blockwise_context(q, k, v, scale=D**-0.5, rule=MaskRule(), block=8)
    torch.testing.assert_close(blocks, theirs, atol=5e-7, rtol=0)


def test_a_large_score_in_a_later_block_overflows_nothing(qkv):
    q, k, v = qkv
    k = k.clone()
    k[:, 30] *= 1000
    blocks = blockwise_context(q, k, v, scale=1.0, rule=MaskRule(), block=4)
    torch.testing.assert_close(blocks, dense(q, k, v, MaskRule(), scale=1.0)[1], atol=2e-6, rtol=0)  # unscaled: steeper


def test_cross_attention_takes_keys_from_another_sequence(qkv):
    q, (_, k, v) = qkv[0][:, :5], qkv
    weights = attention_weights(scaled_scores(q, k, scale=D**-0.5), None)
    theirs = F.scaled_dot_product_attention(q[None], k[None], v[None], enable_gqa=True)[0]
    assert weights.shape == (HEADS, 5, N)
    torch.testing.assert_close(context_vectors(weights, v), theirs, atol=5e-7, rtol=0)
    torch.testing.assert_close(blockwise_context(q, k, v, scale=D**-0.5, block=8), theirs, atol=5e-7, rtol=0)


def layer(**changes) -> CausalSelfAttention:
    made = CausalSelfAttention(
        AttentionSpec(heads=4, kv_heads=2, d_head=8, d_model=32, scale=8**-0.5, rope=RopeSpec(100.0, 8), **changes)
    )
    return made.eval()


def test_batches_are_separate():
    attention, x = layer(), torch.randn(3, 11, 32)
    with torch.no_grad():
        together, alone = attention(x), torch.stack([attention(prompt) for prompt in x])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)


def test_without_positions_reordered_tokens_reorder_outputs_and_nothing_else():
    attention = CausalSelfAttention(AttentionSpec(heads=4, kv_heads=2, d_head=8, d_model=32, scale=8**-0.5, rope=None))
    attention.mask = lambda query_positions, key_positions, given=None: torch.ones(9, 9, dtype=torch.bool)
    x, order = torch.randn(9, 32), torch.randperm(9)
    with torch.no_grad():
        torch.testing.assert_close(attention(x)[order], attention(x[order]), atol=1e-6, rtol=0)


def test_dropout_acts_at_training_time_only():
    attention, x = layer(dropout=0.5), torch.randn(20, 32)
    with torch.no_grad():
        still = attention.stages(x).weights
        assert torch.equal(still, layer(dropout=0.5).like(attention).stages(x).weights)
        dropped = attention.train().stages(x).weights
    kept = dropped != 0
    seen = still > 0
    assert 0.3 < (kept & seen).sum() / seen.sum() < 0.7
    torch.testing.assert_close(dropped[kept], 2 * still[kept])  # what stays is made larger, so the mean stays


def test_specs_that_cannot_be_are_refused():
    with pytest.raises(CheckpointError, match="4 query heads cannot share 3"):
        AttentionSpec(heads=4, kv_heads=3, d_head=8, d_model=32, scale=1.0, rope=None)
    with pytest.raises(CheckpointError, match="7 of d_head=8"):
        AttentionSpec(heads=4, kv_heads=2, d_head=8, d_model=32, scale=1.0, rope=RopeSpec(100.0, 7))

"""Modules that attend in their own code: watched as they run, they give the same records as those that ask."""

import threading

import pytest
import tiny
import torch
from torch import nn
from torch.nn import functional as F

import inspector
from inspector.capture.attention_interface import recording
from inspector.capture.hooks import install_hooks
from inspector.capture.recorder import Recorder
from inspector.capture.rerun import run_again
from inspector.capture.storage import Storage
from inspector.capture.torch_functions import Watch, computes_attention
from inspector.coverage import tiny as types
from inspector.loading.releases import ONLY_LISTED
from reimpl.spec import MaskRule

# Without the interface, with RoPE; and some without it, which come for nothing.
ROTATING = ("codegen", "falcon", "gpt_neox_japanese", "gptj", "roformer")
OTHERS = ("bloom", "gpt_neo", "mpt", "openai-gpt", "xglm", "rembert", "git")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    made = {}

    def load(name):
        if name not in made:
            made[name] = inspector.load(types.save(types.types()[name], tmp_path_factory.mktemp(name)))
        return made[name]

    return load


def library_logits(model, ids):
    with torch.inference_mode():
        return model.model(torch.tensor([ids]), use_cache=False).logits[0]


@pytest.mark.parametrize("name", [*ROTATING, *OTHERS])
def test_it_is_captured_with_the_librarys_own_numbers(loaded, name):
    model, ids = loaded(name), tiny.ids(30)
    trace = model.trace(ids, keep=("input", "output", "residual"))
    assert len(trace.layers) >= 4
    assert {info.rope for info in trace.layers} == {name in ROTATING}
    for layer, kept in enumerate(trace.stored):
        assert kept.unexplained == ""
        assert isinstance(kept.mask, MaskRule) or tiny.does_otherwise(name, ONLY_LISTED)
        eager = run_again(kept.call)
        assert torch.equal(eager.query, kept.query)
        torch.testing.assert_close(trace.weights(layer), eager.weights, atol=1e-5, rtol=0)
        torch.testing.assert_close(trace.context(layer), eager.context, atol=1e-5, rtol=0)
        torch.testing.assert_close(eager.output, kept.output, atol=1e-5, rtol=0)
        assert kept.input.shape == kept.residual.shape == (30, 64)
        torch.testing.assert_close(trace.weights(layer, 1), eager.weights[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", [*ROTATING, *OTHERS])
def test_nothing_changes_by_being_watched(loaded, name):
    model, ids = loaded(name), tiny.ids(30)
    alone = library_logits(model, ids)
    with recording(Recorder(Storage(keep=frozenset({"input", "output", "residual"})))):
        assert torch.equal(library_logits(model, ids), alone)
    assert torch.equal(model.trace(ids).logits, alone)


# Query and key before rotation, as each module's own code cuts them out of its projections: [n, h, d].
PROJECTED = {
    "gptj": lambda m, x: [w(x).view(len(x), 4, 16) for w in (m.q_proj, m.k_proj)],
    "roformer": lambda m, x: [w(x).view(len(x), 4, 16) for w in (m.query, m.key)],
    "falcon": lambda m, x: m.query_key_value(x).view(len(x), 6, 16).split([4, 1, 1], dim=1)[:2],
    "gpt_neox_japanese": lambda m, x: m.query_key_value(x).view(len(x), 4, 48).split(16, dim=-1)[:2],
    # four parts, each with its share of query, value, key heads
    "codegen": lambda m, x: [
        part.reshape(len(x), 8, 8) for part in m.qkv_proj(x).view(len(x), 4, 3, 16).permute(2, 0, 1, 3)[[0, 2]]
    ],
}


@pytest.mark.parametrize("name", ROTATING)
def test_before_rotation_are_the_modules_own_projections(loaded, name):
    model = loaded(name)
    trace = model.trace(tiny.ids(20), keep=("input",))
    info = trace.layers[1]
    module = model.model.get_submodule(info.name)
    with torch.inference_mode():
        query, key = PROJECTED[name](module, trace.input(1))
    for head in range(info.heads):
        assert torch.equal(trace.query(1, head, rope=False), query[:, head])
        assert torch.equal(trace.key(1, head, rope=False), key[:, info.kv_head(head)])
        assert not torch.equal(trace.query(1, head), query[:, head])


def test_biases_by_distance_are_found(loaded):
    """ALiBi, which bloom adds in its product and mpt afterwards: slope times key position, or times distance."""
    trace = loaded("bloom").trace(tiny.ids(20))
    bias = trace.stored[2].bias
    assert bias.shape == (4, 1, 20)
    steps = bias.diff(dim=-1)
    torch.testing.assert_close(steps[:, 0], torch.tensor([[2.0**-2], [2.0**-4], [2.0**-6], [2.0**-8]]).expand(4, 19))
    assert not torch.equal(trace.scaled_scores(2, 1), trace.scores(2, 1) * trace.layers[2].scale)
    assert all(info.bias for info in trace.layers)


def test_threads_never_see_each_others_prompt(loaded):
    model = loaded("gptj")
    prompts = [tiny.ids(20 + i)[i:] for i in range(6)]
    alone = [model.trace(prompt) for prompt in prompts]
    together: list = [None] * len(prompts)
    logits: list = []
    start = threading.Barrier(len(prompts) + 1)

    def run(i):
        start.wait()
        for _ in range(3):
            together[i] = model.trace(prompts[i], keep=("input",))
            together[i].query(0, 0, rope=False)

    def bystander():
        start.wait()
        logits.extend(library_logits(model, prompts[0]) for _ in range(6))

    threads = [
        *(threading.Thread(target=run, args=(i,)) for i in range(len(prompts))),
        threading.Thread(target=bystander),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(a.query, b.query) for a, b in zip(one.stored, other.stored, strict=True))
    assert all(torch.equal(one, logits[0]) for one in logits)


def test_what_on_layer_raises_ends_the_watch_as_well(loaded):
    model, modes = loaded("gptj"), torch.overrides._len_torch_function_stack

    class Enough(Exception):
        pass

    def stop(done, total):
        raise Enough

    before = modes()
    with pytest.raises(Enough):
        model.trace(tiny.ids(9), on_layer=stop)
    assert modes() == before
    assert len(model.trace(tiny.ids(9)).layers) == 4


def watched(function):
    found = []
    with Watch(found.append):
        function()
    return found


@pytest.fixture
def qkv():
    torch.manual_seed(0)
    return torch.randn(3, 1, 4, 7, 8).unbind(0)


def test_scores_are_followed_through_whatever_is_done_to_them(qkv):
    q, k, v = qkv
    bias = torch.randn(4, 7, 7)

    def attend():
        scores = torch.bmm(q[0].float(), k[0].transpose(1, 2)).view(1, 4, 7, 7)
        scores = scores / 2
        scores *= torch.tensor(3.0)
        scores = scores + bias
        scores = scores.masked_fill(~torch.ones(7, 7, dtype=torch.bool).tril(), -1e9)
        weights = F.dropout(nn.Softmax(dim=-1)(scores).to(v.dtype), 0.1, training=False)
        return weights @ v

    (found,) = watched(attend)
    assert found.scale == 1.5
    assert found.mask == MaskRule()
    torch.testing.assert_close(found.bias.tril(), bias.tril(), atol=1e-5, rtol=0)
    assert found.query.shape == found.key.shape == found.value.shape == (4, 7, 8)
    torch.testing.assert_close(found.weights @ v[0], found.context)


def test_torchs_ready_made_attention_is_seen(qkv):
    q, k, v = qkv
    (found,) = watched(lambda: F.scaled_dot_product_attention(q, k[:, :2], v[:, :2], is_causal=True, enable_gqa=True))
    assert (found.mask, found.bias, found.key.shape[0]) == (MaskRule(), None, 2)
    table = torch.rand(1, 1, 7, 7) > 0.3
    shown = []
    with Watch(shown.append, shown=True):
        context = F.scaled_dot_product_attention(q, k, v, attn_mask=table, scale=0.5)
    expected = ((q @ k.mT) * 0.5).masked_fill(~table, -torch.inf).softmax(-1)
    torch.testing.assert_close(shown[0].weights, expected[0], equal_nan=True)
    torch.testing.assert_close(context, expected @ v, equal_nan=True)
    assert torch.equal(shown[0].mask, table[0, 0])


def test_other_products_and_softmaxes_are_none(qkv):
    q, k, v = qkv

    def none():
        torch.softmax(q @ k.mT, dim=-1)  # never meets values
        (q @ k.mT) @ v  # without a softmax
        torch.softmax(q, dim=-1) @ k.mT  # of no product
        F.linear(torch.softmax(F.linear(q, torch.randn(5, 8)), dim=-1), torch.randn(8, 5))  # a router

    assert watched(none) == []


def test_which_modules_are_watched():
    class Router(nn.Module):
        def forward(self, x):
            return F.softmax(x, dim=-1)

    class Plain(nn.Module):
        def forward(self, x):
            return x

    assert computes_attention(Router())
    assert not computes_attention(Plain())
    assert not computes_attention(nn.Softmax(dim=-1))  # torch's own: it is the module around it that attends
    library = types.build(types.types()["mixtral"])
    asking = [name for name in install_hooks(library) if name.endswith("self_attn")]
    assert len(asking) == 4

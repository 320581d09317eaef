"""A logit is the sum of what each part wrote: on the real model, in families, and against values taken by hooks."""

from __future__ import annotations

import pytest
import tiny
import torch
from why_families import FAMILIES, QUICK, tiny_model

import inspector
from inspector import lab
from inspector.analysis.frozen_steps import frozen
from inspector.capture.residual_parts import Passed
from inspector.lab.logit_shares import LogitParts

MARY = "When Mary and John went to the store, John gave a drink to"


@pytest.fixture(scope="module")
def mary(smollm):
    return smollm.trace(MARY)


@pytest.fixture(scope="module")
def parts(mary):
    """What the parts wrote, from one pass: what `lab.attribution` splits logits with."""
    return LogitParts(mary)


@pytest.fixture(scope="module")
def by_head(parts):
    return parts.frame(" Mary", None, "head")


def share(frame, part):
    return float(frame.set_index("part")["share"][part])


def test_the_logit_is_the_sum(mary, by_head):
    assert by_head.attrs["logit"] == float(mary.last_logits[0, by_head.attrs["token"]])
    assert len(by_head) == 1 + 30 * 9 + 30
    assert abs(by_head["share"].sum() - by_head.attrs["logit"]) <= 1e-5 * 11.04
    assert by_head.attrs["remainder"] == pytest.approx(by_head.attrs["logit"] - by_head["share"].sum(), abs=1e-12)


@pytest.mark.parametrize(
    ("part", "value"), [("head 29.1", 2.17), ("head 23.0", 1.14), ("head 28.1", 1.11), ("MLP 29", 5.93)]
)
def test_the_largest_parts_are_known(by_head, part, value):
    assert share(by_head, part) == pytest.approx(value, abs=0.01)


def test_single_shares_are_those_that_hooks_give(smollm, mary, by_head):
    found = {}
    layers, inner = smollm.model.model.layers, smollm.model.model

    def note(name):
        return lambda _, args, output=None: found.__setitem__(name, (args[0] if output is None else output)[0, -1])

    handles = [
        inner.embed_tokens.register_forward_hook(lambda _, __, y: found.__setitem__("embedding", y[0, -1])),
        layers[29].mlp.register_forward_hook(note("MLP 29")),
        layers[12].mlp.register_forward_hook(note("MLP 12")),
        layers[29].self_attn.o_proj.register_forward_pre_hook(note("29")),
        layers[23].self_attn.o_proj.register_forward_pre_hook(note("23")),
        inner.norm.register_forward_pre_hook(note("final")),
    ]
    with torch.inference_mode():
        smollm.model(torch.tensor([list(mary.tokens.ids)]), use_cache=False)
    for handle in handles:
        handle.remove()
    row = smollm.model.lm_head.weight[by_head.attrs["token"]].double()
    final = found["final"].double()
    u = row * inner.norm.weight.double() / (final.pow(2).mean() + inner.norm.variance_epsilon).sqrt()
    for name in ("embedding", "MLP 29", "MLP 12"):
        assert share(by_head, name) == pytest.approx(float(found[name].double() @ u), abs=2e-6)
    for layer, head in ((29, 1), (23, 0)):
        part = slice(64 * head, 64 * (head + 1))
        written = found[str(layer)].double()[part] @ layers[layer].self_attn.o_proj.weight.double()[:, part].T
        assert share(by_head, f"head {layer}.{head}") == pytest.approx(float(written @ u), abs=2e-6)


def test_sources_add_up_to_their_head(parts, by_head):
    frame = parts.frame(" Mary", None, "source")
    heads = frame[frame["kind"] == "head"]
    sums = heads.groupby("part", sort=False)["share"].sum()
    due = by_head[by_head["kind"] == "head"].set_index("part")["share"]
    assert sums.tolist() == pytest.approx(due.tolist(), abs=1e-9)
    mover = heads[heads["part"] == "head 23.0"].nlargest(1, "share").iloc[0]
    assert mover["source_token"] == "␣Mary"


def test_heads_add_up_to_their_layer(smollm, parts, by_head):
    components = parts.frame(" Mary", None, "component")
    u, _ = parts.logits.direction(5099, None)
    for layer in (0, 14, 29):
        heads = by_head[(by_head["layer"] == layer) & (by_head["kind"] == "head")]["share"].sum()
        # What the library adds up in float32, W_o's products, in an order that is the processor's.
        w_o = smollm.model.model.layers[layer].self_attn.o_proj.weight.double().abs()
        added_up = float(u.double().abs() @ w_o @ parts.contexts[layer].double().abs().flatten())
        assert share(components, f"attention {layer}") == pytest.approx(
            heads, abs=torch.finfo(torch.float32).eps * added_up
        )
        assert torch.finfo(torch.float32).eps * added_up < 1e-4


def test_a_foil_takes_off_what_all_tokens_share(mary, parts, by_head):
    john, both = parts.frame(" John", None, "head"), parts.frame(" Mary", " John", "head")
    assert both["share"].tolist() == pytest.approx((by_head["share"] - john["share"]).tolist(), abs=1e-9)
    logits = mary.last_logits[0].double()
    mean = parts.frame(" Mary", "mean", "head")
    assert mean.attrs["logit"] == pytest.approx(float(logits[5099] - logits.mean()), abs=1e-9)
    assert abs(mean.attrs["remainder"]) <= mean.attrs["limit"]


def test_an_earlier_token_and_an_edited_run_are_split_too(mary, smollm):
    frame = lab.attribution(mary, query=4)
    assert frame.attrs["logit"] == pytest.approx(float(mary.logits[4].max()), abs=1e-4)
    edited = smollm.trace(MARY, edits=[lab.zero(29, 1)])
    assert share(lab.attribution(edited, " Mary"), "head 29.1") == 0


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in FAMILIES]
)
def test_families_add_up(family, tmp_path):
    model = tiny_model(family, tmp_path)
    trace = model.trace(tiny.ids(9))
    for options in ({"against": "mean", "by": "source"}, {"query": 4, "by": "head"}, {"by": "component"}):
        frame = lab.attribution(trace, 7, **options)
        assert abs(frame.attrs["remainder"]) <= 1e-5 * max(1, abs(frame.attrs["logit"]))
    assert (frame.attrs["cap"] is None) == (family != "gemma2")


def test_a_soft_cap_stands_apart(tmp_path):
    trace = tiny_model("gemma2", tmp_path).trace(tiny.ids(9))
    frame = lab.attribution(trace, 7)
    assert frame.attrs["cap"] == pytest.approx(5.0, abs=1e-3)
    assert frame.attrs["after_cap"] == pytest.approx(float(trace.last_logits[0, 7]))
    assert abs(frame.attrs["logit"]) > abs(frame.attrs["after_cap"])


def test_what_is_no_sum_is_refused_by_what_was_seen(tmp_path):
    model = tiny_model("llama", tmp_path)
    block = type(model.model.model.layers[1])
    right = block.forward

    def grown(self, hidden_states, *args, **options):
        return right(self, hidden_states, *args, **options) * 1.25

    trace = model.trace(tiny.ids(9))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block, "forward", grown)
        trace = model.trace(tiny.ids(9))
        with pytest.raises(inspector.InspectorError, match="in block 0, it goes on with no sum"):
            lab.attribution(trace, 7)
    assert len(lab.attribution(model.trace(tiny.ids(9)), 7))


def test_a_step_that_is_no_norm_is_refused():
    x = torch.randn(3, 8)
    linear = torch.nn.Linear(8, 8)
    with pytest.raises(inspector.InspectorError, match="is no norm"):
        frozen(Passed("mlp", linear, x, linear(x).detach()))
    norm = torch.nn.LayerNorm(8)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    step = frozen(Passed("norm", norm, x, norm(x).detach()))
    assert step.centred
    assert step.bias is not None
    assert torch.allclose(step.apply(x) + step.bias, norm(x).double(), atol=1e-6)
    assert torch.allclose(
        step.apply(x)[1] @ torch.arange(8.0).double(), x[1].double() @ step.back(torch.arange(8.0), 1)
    )


def test_an_edited_model_is_refused(tmp_path):
    model = tiny_model("llama", tmp_path)
    trace = model.trace(tiny.ids(9))
    with torch.no_grad():
        model.model.model.layers[1].mlp.down_proj.weight.mul_(2)
    with pytest.raises(inspector.InspectorError, match="no longer the model"):
        lab.attribution(trace, 7)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"query": 99}, "Query token 99 does not exist"),
        ({"token": " two words"}, "is 2 tokens"),
        ({"by": "layer"}, "There is no way to split"),
    ],
)
def test_what_does_not_exist_is_refused(mary, options, says):
    with pytest.raises(inspector.InspectorError, match=says):
        lab.attribution(mary, **options)


def test_it_costs_one_pass(mary, by_head, smollm, monkeypatch):
    runs = []
    right = smollm.passes._pass
    monkeypatch.setattr(smollm.passes, "_pass", lambda *args, **options: runs.append(1) or right(*args, **options))
    frame = lab.attribution(mary, " Mary")
    assert len(runs) == 1
    assert frame.equals(by_head)

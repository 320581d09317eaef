"""A model that is no longer what was traced or verified: a right number or a sentence, and it is left as it was."""

from __future__ import annotations

import threading

import pytest
import tiny
import torch
from torch import nn

import inspector
from inspector.errors import InspectorError
from inspector.learn import token_vectors

KINDS = ("grouped", "qwen3", "gemma2", "olmo2")
CHANGED = r"is no longer the (model|attention) that made this trace: .*; trace the prompt again\.$"


@pytest.fixture(params=KINDS)
def model(request, tmp_path):
    return tiny.load(request.param, tmp_path)


def attention(model) -> list[nn.Module]:
    return [module for name, module in model.model.named_modules() if name.endswith(".self_attn")]


# -- ways to change a model --------------------------------------------------------------------------------------------


def steer(model) -> None:
    attention(model)[1].register_forward_hook(lambda _, __, out: (out[0] + 3.0, *out[1:]))


def zero_a_head(model) -> None:
    attention(model)[1].o_proj.weight.data[:, :16] = 0


def edit_in_place(model) -> None:
    with torch.no_grad():
        attention(model)[0].q_proj.weight[:8].mul_(3.0)


def other_weights(model) -> None:
    model.model.load_state_dict({name: 0.9 * tensor for name, tensor in model.model.state_dict().items()})


def other_dtype(model) -> None:
    model.model.to(torch.bfloat16)


WAYS = (steer, zero_a_head, edit_in_place, other_weights, other_dtype)
ASKED = {
    "input": lambda trace: trace.input(2),
    "residual": lambda trace: trace.residual(2),
    "output": lambda trace: trace.output(2),
    "update": lambda trace: trace.residual_update(2),
    "logits": lambda trace: trace.logits,
    "before rotation": lambda trace: trace.query(2, 0, rope=False),
    "residual stream": lambda trace: token_vectors.residual_stream(trace, 2, 3),
    "head output": lambda trace: trace.head_output(2, 1),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_fetched_of_a_changed_model_is_refused(model, way):
    trace = model.trace(tiny.ids(9))
    way(model)
    for ask in ASKED.values():
        with pytest.raises(InspectorError, match=CHANGED):
            ask(trace)
    assert all(getattr(layer, what) is None for layer in trace.stored for what in ("input", "output", "residual"))


@pytest.mark.parametrize("asked", ASKED)
def test_after_the_hook_is_gone_it_is_the_same_model_again(tmp_path, asked):
    model = tiny.load("grouped", tmp_path)
    trace, fresh = model.trace(tiny.ids(9)), model.trace(tiny.ids(9))
    expected = ASKED[asked](fresh)
    handle = attention(model)[1].register_forward_hook(lambda _, __, out: (out[0] + 3.0, *out[1:]))
    with pytest.raises(InspectorError, match=CHANGED):
        ASKED[asked](trace)
    handle.remove()
    found = ASKED[asked](trace)
    if isinstance(found, torch.Tensor):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("way", WAYS[1:4])
def test_vectors_before_rotation_of_a_stored_input_are_refused_too(model, way):
    trace = model.trace(tiny.ids(9), keep=("input", "output"))
    kept = trace.output(2)
    way(model)
    assert trace.output(2) is kept  # stored is stored
    if way is not zero_a_head:  # which makes no other queries
        with pytest.raises(InspectorError, match=CHANGED):
            trace.query(0, 0, rope=False)


@pytest.mark.parametrize("way", WAYS)
def test_a_trace_from_a_file_is_held_against_the_model_given_with_it(tmp_path, way):
    model = tiny.load("grouped", tmp_path / "model")
    model.trace(tiny.ids(9)).save(tmp_path / "t.safetensors")
    assert torch.equal(
        inspector.open_trace(tmp_path / "t.safetensors", model).output(2), model.trace(tiny.ids(9)).output(2)
    )
    way(model)
    with pytest.raises(InspectorError, match=CHANGED):
        inspector.open_trace(tmp_path / "t.safetensors", model).output(2)


def first_token_alone(_, __, out):
    changed = (out[0] if isinstance(out, tuple) else out).clone()
    changed[:, 0] += 3.0
    return (changed, *out[1:]) if isinstance(out, tuple) else changed


LATE = {
    "attention": lambda model: attention(model)[-1].register_forward_hook(first_token_alone),
    "MLP": lambda model: model.model.model.layers[-1].mlp.register_forward_hook(first_token_alone),
    "final norm": lambda model: model.model.model.norm.register_forward_hook(first_token_alone),
}


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("place", LATE)
def test_a_change_of_an_earlier_token_in_the_last_block_is_seen(tmp_path, place, opened):
    model = tiny.load("grouped", tmp_path / "model")
    trace, last = model.trace(tiny.ids(9)), model.trace(tiny.ids(9)).last_logits
    if opened:
        trace = inspector.open_trace(trace.save(tmp_path / "t.safetensors"), model)
    assert torch.equal(trace.logits[-1], model.model(torch.tensor([tiny.ids(9)])).logits[0, -1].detach())
    trace._logits = None
    handle = LATE[place](model)
    assert torch.equal(model.trace(tiny.ids(9)).last_logits, last)  # which do not show it
    for ask in (lambda: trace.logits, lambda: trace.next_tokens_after_each(2), lambda: trace.output(0)):
        with pytest.raises(InspectorError, match=CHANGED):
            ask()
    handle.remove()
    assert len(trace.logits) == trace.n


# -- live weights ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["folder", "object"])
def test_a_heads_matrices_are_those_of_the_live_model(model, given):
    if given == "object":
        model = inspector.load(model.model, model.tokenizer)
    before = model.head_parameters(1, 0).W_o.clone()
    assert float(before.abs().max()) > 0
    zero_a_head(model)
    assert float(model.head_parameters(1, 0).W_o.abs().max()) == 0 or before.shape[1] != 16
    expected = attention(model)[1].o_proj.weight[:, : before.shape[1]]
    assert torch.equal(model.head_parameters(1, 0).W_o, expected)


@pytest.mark.parametrize("way", [zero_a_head, edit_in_place, other_weights])
def test_shares_of_a_model_edited_before_its_trace_add_up(model, way):
    way(model)
    trace = model.trace(tiny.ids(9))
    shares, output = trace.head_output(1).sum(0), trace.output(1)
    torch.testing.assert_close(shares, output, atol=1e-5 * float(output.abs().max()), rtol=0)


def test_a_head_costs_one_more_pass_and_no_more(tmp_path):
    model = tiny.load("grouped", tmp_path)
    trace, passes = model.trace(tiny.ids(9)), []
    assert len(model.layers) == 3  # which two tokens have shown
    model.model.register_forward_hook(lambda *_: passes.append(1))
    for layer in range(3):
        for head in range(4):
            trace.head_output(layer, head)
    assert len(passes) == 1
    zero_a_head(model)
    with pytest.raises(InspectorError, match=CHANGED):
        trace.head_output(1, 0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_another_dtype_after_a_verification_is_verified_anew(model, dtype):
    trace = model.trace(tiny.ids(9), keep=("input",))
    assert inspector.verify(model, trace, controls=False).ok
    model.model.to(dtype)
    again = inspector.verify(model, tiny.ids(9), controls=False, spliced=False)
    assert (again.dtype, len(again.checks) > 0) == (str(dtype).removeprefix("torch."), True)
    assert {layer.o_proj.weight.dtype for layer in model.reimplementation} == {dtype}
    with pytest.raises(InspectorError):
        inspector.verify(model, trace, controls=False)


# -- the caller's mode -------------------------------------------------------------------------------------------------


def test_a_training_model_stays_one_and_gives_eval_numbers(model):
    own = model.model
    for module in own.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.5
    expected = model.trace(tiny.ids(9))
    own.train()
    own.model.layers[0].eval()  # a mode of its own
    before = [module.training for module in own.modules()]
    loaded = inspector.load(own, model.tokenizer)
    trace = loaded.trace(tiny.ids(9), generate=2)
    assert torch.equal(loaded.trace(tiny.ids(9)).last_logits, expected.last_logits)
    assert torch.equal(loaded.trace(tiny.ids(9)).query(1, 0, rope=False), expected.query(1, 0, rope=False))
    assert torch.equal(loaded.logits(tiny.ids(9)), model.logits(tiny.ids(9)))
    assert trace.n == 11
    assert inspector.verify(loaded, tiny.ids(9), controls=False).ok
    assert [module.training for module in own.modules()] == before


def test_threads_together_leave_a_training_model_in_training(tmp_path):
    model = tiny.load("grouped", tmp_path)
    model.model.train()
    found: list[torch.Tensor] = []
    runs = [threading.Thread(target=lambda: found.append(model.logits(tiny.ids(9)))) for _ in range(6)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert len(found) == 6
    assert all(torch.equal(found[0], one) for one in found)
    assert all(module.training for module in model.model.modules())


def test_a_run_that_fails_leaves_the_mode_too(tmp_path):
    model = tiny.load("grouped", tmp_path)
    model.model.train()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.trace(tiny.ids(9), on_layer=stop)
    assert all(module.training for module in model.model.modules())

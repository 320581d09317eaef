"""What people make of a model and hand over: wrapped, compiled, in a pipeline. Captured and verified like the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import transformers
from torch import nn

import inspector


def compiled(module: nn.Module) -> nn.Module:
    return torch.compile(module, backend="eager")


def forward_compiled(model: nn.Module) -> nn.Module:
    model.forward = torch.compile(model.forward, backend="eager")
    model(torch.tensor([[1, 2, 3]]))  # it was used before: code for this length is there
    return model


def layers_compiled(model: nn.Module) -> nn.Module:
    for layer in model.model.layers:
        layer.forward = torch.compile(layer.forward, backend="eager")
    return model


def attention_compiled(model: nn.Module) -> nn.Module:
    for layer in model.model.layers:
        layer.self_attn.forward = torch.compile(layer.self_attn.forward, backend="eager")
    return model


def compiled_in_place(model: nn.Module) -> nn.Module:
    model.compile(backend="eager")
    return model


WRAPPED: dict[str, Callable[[nn.Module], Any]] = {
    "torch.compile": compiled,
    "DataParallel": nn.DataParallel,
    "DataParallel of a compiled one": lambda model: nn.DataParallel(compiled(model)),
    "its forward compiled": forward_compiled,
    "its layers' forward compiled": layers_compiled,
    "its attention's forward compiled": attention_compiled,
    "compiled in place": compiled_in_place,
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_what_was_wrapped_is_captured_and_verified(kind: str, tmp_path: Path) -> None:
    plain = tiny.load("grouped", tmp_path)
    before = plain.trace(tiny.ids(12))
    wrapped = WRAPPED[kind](plain.model)
    model = inspector.load(wrapped, plain.tokenizer)
    trace = model.trace(tiny.ids(12))
    assert torch.equal(trace.last_logits, before.last_logits)
    assert torch.equal(trace.weights(1, 0), before.weights(1, 0))
    report = inspector.verify(model, tiny.ids(12), controls=False)
    assert (report.ok, report.verdict) == (True, "equal")
    assert report.spliced is not None


def test_what_the_caller_set_for_compiled_code_stays_set(tmp_path: Path) -> None:
    plain = tiny.load("grouped", tmp_path)
    model = inspector.load(layers_compiled(plain.model), plain.tokenizer)
    with torch.compiler.set_stance("eager_on_recompile"):
        model.trace(tiny.ids(5))
        assert stance() == "eager_on_recompile"
    assert stance() == "default"


def stance() -> str:
    return torch._dynamo.eval_frame._stance.stance


def test_a_pipeline_brings_its_tokenizer(tmp_path: Path) -> None:
    plain = tiny.load("grouped", tmp_path)
    whole = transformers.pipeline("text-generation", model=plain.model, tokenizer=plain.tokenizer)
    model = inspector.load(whole)
    assert model.model is plain.model
    assert model.tokenizer is plain.tokenizer
    assert inspector.verify(model, tiny.ids(12), controls=False).ok


def test_our_own_model_is_itself(tmp_path: Path) -> None:
    plain = tiny.load("grouped", tmp_path)
    assert inspector.load(plain) is plain
    assert inspector.load(plain, plain.tokenizer).model is plain.model


def test_another_module_is_refused_by_its_kind() -> None:
    with pytest.raises(inspector.InspectorError, match="this is a Linear"):
        inspector.load(nn.Linear(2, 2))
    with pytest.raises(inspector.InspectorError, match="needs its tokenizer too"):
        inspector.load(compiled(_llama()))


def _llama() -> nn.Module:
    config = transformers.LlamaConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=9
    )
    return transformers.LlamaForCausalLM(config)

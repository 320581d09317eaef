"""Products that are somebody's own modules, computed matrices and compiled parts: verified as they multiply."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
import transformers
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import inspector


class LoraByHand(nn.Module):
    """A low-rank matrix added to a Linear, as people write it themselves."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear
        self.a = nn.Parameter(0.3 * torch.randn(4, linear.in_features))
        self.b = nn.Parameter(0.3 * torch.randn(linear.out_features, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + x @ self.a.T @ self.b.T


class Louder(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 1.5 * super().forward(x)


class Shifted(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + 0.25


class Curved(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).tanh()


class Twice(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return 2 * weight


def each(model: nn.Module, name: str, change: Callable[[nn.Linear], nn.Module | None]) -> None:
    for layer in model.model.layers:
        made = change(getattr(layer.self_attn, name))
        if made is not None:
            setattr(layer.self_attn, name, made)


def as_kind(kind: type[nn.Linear]) -> Callable[[nn.Linear], nn.Linear]:
    def made(linear: nn.Linear) -> nn.Linear:
        other = kind(linear.in_features, linear.out_features, bias=False)
        other.weight = linear.weight
        return other

    return made


def pruned(linear: nn.Linear) -> None:
    prune.l1_unstructured(linear, "weight", amount=0.3)


def twice(linear: nn.Linear) -> None:
    parametrize.register_parametrization(linear, "weight", Twice())


def normalised(linear: nn.Linear) -> None:
    parametrizations.weight_norm(linear)


OWN: dict[str, tuple[str, Callable[[nn.Linear], nn.Module | None], str]] = {
    "LoRA by hand": ("q_proj", LoraByHand, "3 as what its LoraByHand does to unit vectors"),
    "a Linear of its own kind": ("v_proj", as_kind(Louder), "3 as what its Louder does to unit vectors"),
    "pruning": ("o_proj", pruned, "3 as matrices that are computed from others"),
    "a parametrization": ("k_proj", twice, "3 as matrices that are computed from others"),
    "weight norm": ("q_proj", normalised, "3 as matrices that are computed from others"),
}


@pytest.mark.parametrize("given", ["object", "folder"])
@pytest.mark.parametrize("case", OWN)
def test_own_products_are_verified_as_they_multiply(case: str, given: str, tmp_path: Path) -> None:
    name, change, form = OWN[case]
    model = tiny.load("grouped", tmp_path)
    torch.manual_seed(0)
    each(model.model, name, change)
    if given == "object":
        model = inspector.load(model.model, model.tokenizer)
    report = inspector.verify(model, tiny.ids(20), controls=False)
    assert report.ok, report.summary()
    assert any(remark.startswith("Weights from memory, not from files") and form in remark for remark in report.remarks)
    trace = model.trace(tiny.ids(9))
    whole = trace.head_output(1).sum(0)
    torch.testing.assert_close(whole, trace.output(1), atol=2e-5 * float(whole.abs().max()), rtol=0)


def test_what_is_no_product_is_said(tmp_path: Path) -> None:
    model = tiny.load("grouped", tmp_path)
    each(model.model, "q_proj", as_kind(Curved))
    with pytest.raises(inspector.InspectorError, match=r"a Curved that does more than multiply by a matrix"):
        inspector.verify(model, tiny.ids(20), controls=False, spliced=False)


def test_a_bias_that_the_class_has_not_is_named(tmp_path: Path) -> None:
    model = tiny.load("grouped", tmp_path)
    each(model.model, "v_proj", as_kind(Shifted))
    with pytest.raises(inspector.InspectorError, match=r"not read: model\.layers\.0\.self_attn\.v_proj\.bias"):
        inspector.verify(model, tiny.ids(20), controls=False, spliced=False)


def _its_body(model: nn.Module) -> None:
    model.model = torch.compile(model.model, backend="eager")


def _its_layers(model: nn.Module) -> None:
    for index, layer in enumerate(model.model.layers):
        model.model.layers[index] = torch.compile(layer, backend="eager")


def _its_attention(model: nn.Module) -> None:
    for layer in model.model.layers:
        layer.self_attn = torch.compile(layer.self_attn, backend="eager")


def _one_layer_twice(model: nn.Module) -> None:
    model.model.layers[1] = model.model.layers[0]


CHANGED = {
    "its body compiled": _its_body,
    "its layers compiled": _its_layers,
    "its attention compiled": _its_attention,
    "one layer twice": _one_layer_twice,
}


@pytest.mark.parametrize("case", CHANGED)
def test_compiled_and_shared_parts_are_verified(case: str, tmp_path: Path) -> None:
    folder = tiny.save("grouped", tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    CHANGED[case](model)
    loaded = inspector.load(model, transformers.AutoTokenizer.from_pretrained(folder))
    assert loaded.layers[1].name == f"model.layers.{0 if 'twice' in case else 1}.self_attn"
    assert inspector.verify(loaded, tiny.ids(20), controls=False, spliced="twice" not in case).ok


class WithValueHead(nn.Module):
    """As trl's models with a value head hold theirs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.pretrained_model, self.v_head = model, nn.Linear(64, 1)


def test_a_model_with_a_value_head_is_looked_into(tmp_path: Path) -> None:
    plain = tiny.load("grouped", tmp_path)
    loaded = inspector.load(WithValueHead(plain.model), plain.tokenizer)
    assert loaded.model is plain.model

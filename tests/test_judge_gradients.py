"""The judge compares gradients: right passes back are right, wrong ones are named, what is absent is not compared."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from judge_cases import Mine
from torch import Tensor, nn
from torch.nn import functional as F

import inspector
from inspector.errors import InspectorError
from inspector.judging.gradient_mistakes import GRADIENT_MISTAKES
from inspector.judging.gradients import wide
from inspector.model.model import Model
from inspector.verification.compare import STAGES

KINDS = {"qwen2": "qwen2", "gemma2": "gemma2", "qwen3": "qwen3_moe", "grouped": "grouped"}
N = 14


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    return {name: tiny.load(kind, tmp_path_factory.mktemp(name)) for name, kind in KINDS.items()}


class Learning(Mine):
    """Somebody's attention whose matrices ask for gradients."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.weights_of = {name: tensor.clone().requires_grad_() for name, tensor in self.weights_of.items()}


class Fused(Learning):
    """The same through PyTorch's own fused attention."""

    def __call__(self, x: Tensor, layer: int) -> dict[str, Tensor]:
        q, k, v = self.project(x, layer)
        q, k = self.turn(q, layer, "q"), self.turn(k, layer, "k")
        mask = self.mask(len(x), layer)
        c = F.scaled_dot_product_attention(
            q, self.expand(k, "k"), self.expand(v, "v"), attn_mask=mask, scale=self.scale(layer)
        )
        return {"output": self.out(c, layer)}


def judged(model: Model, mine: Any, n: int = N) -> Any:
    return inspector.judge(model, mine, tiny.ids(n), gradients=True, decode=False)


@pytest.mark.parametrize("n", [2, 40])
@pytest.mark.parametrize(
    ("name", "kind"), [("qwen2", Learning), ("gemma2", Learning), ("qwen2", Fused), ("grouped", Fused)]
)
def test_right_gradients_are_right(models, name, kind, n):
    report = judged(models[name], kind(models[name]), n)
    assert report.ok, str(report)
    by = set(report.gradients.by)
    assert {"input", "W_q", "W_k", "W_v", "W_o"} <= by
    if kind is Learning:
        assert set(STAGES) - {"output"} <= by
    if name == "qwen2":
        assert {"the bias of W_q", "the bias of W_k", "the bias of W_v"} <= by
    assert "gradients by" in report.summary()


def test_the_librarys_own_modules_have_right_gradients(models):
    """Norms of queries and keys, windows, soft-caps: whatever the library makes of them, ours in float64 agrees."""
    for name in ("qwen3", "gemma2"):
        report = judged(models[name], models[name].model)
        assert report.ok, str(report)
        assert "input" in set(report.gradients.by) <= {"weights", "input"}  # the loaded model's matrices ask for none
        assert "your matrices ask for no gradient: theirs were not compared" in report.said


def test_a_module_with_one_matrix_for_all_three_is_recognised_by_its_numbers(models):
    model = models["grouped"]
    right = Mine(model)

    class Module(nn.Module):
        def __init__(self, layer: int) -> None:
            super().__init__()
            self.layer = layer
            self.qkv = nn.Parameter(torch.cat([right.matrix(layer, name) for name in "qkv"]).T.clone())
            self.wo = nn.Parameter(right.matrix(layer, "o").T.reshape(4, 16, 64).clone())
            self.unused = nn.Parameter(torch.zeros(3))

        def forward(self, x: Tensor) -> Tensor:
            parts = (x[0] @ self.qkv).split([64, 32, 32], -1)
            q, k, v = (part.unflatten(-1, (-1, 16)).transpose(0, 1) for part in parts)
            q, k = right.turn(q, self.layer, "q"), right.turn(k, self.layer, "k")
            w = right.soften(right.scores(q, k, self.layer), self.layer)
            return torch.einsum("hts,hsd,hdm->tm", w, right.expand(v, "v"), self.wo)[None]

    report = judged(model, [Module(layer) for layer in range(3)])
    assert report.ok, str(report)
    assert set(report.gradients.by) == {"input", "W_q, W_k and W_v", "W_o"}


class Planted:
    """One of the judge's own mistakes as somebody's attention."""

    def __init__(self, model: Model, mistake: Any) -> None:
        self.mistake = mistake
        self.layer = wide(model.reimplementation[0], mistake.kind).float()

    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        record: dict[str, Tensor] = {}
        output = self.layer(x, record=record)
        return {"query": record["query"], "key": record["key"], "value": record["value"], "output": output}


QUICK = {"keys detached", "mask missing backwards", "soft-cap straight through", "one head's keys", "norm constant"}


@pytest.mark.parametrize(
    "mistake",
    [
        pytest.param(one, id=one.name, marks=() if one.name in QUICK else pytest.mark.slow)
        for one in GRADIENT_MISTAKES
        if one.after is None
    ],
)
def test_each_gradient_mistake_is_named_and_its_output_is_right(models, mistake):
    name = next(name for name, model in models.items() if not mistake.unless(model.reimplementation[0].spec))
    report = judged(models[name], {0: Planted(models[name], mistake)})
    assert report.verdict == "different"
    assert report.table.ok.all()
    assert mistake.meaning in report.causes[0], str(report)
    assert report.step == mistake.step
    assert "output is right and its gradients differ" in report.summary()


# -- as strangers write them ------------------------------------------------------------------------------------------


class Detached(Learning):
    """Values out of a cache without their graph."""

    def expand(self, k: Tensor, name: str) -> Tensor:
        return super().expand(k.detach() if name == "v" else k, name)


class Kernel(torch.autograd.Function):
    """A kernel's softmax(q kᵀ scale) v, whose pass back forgets the scale for dq alone."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float, wrong: str) -> Tensor:
        s = (q @ k.mT * scale).masked_fill(torch.ones(q.shape[1], q.shape[1]).triu(1).bool(), -math.inf)
        p = s.softmax(-1)
        ctx.save_for_backward(q, k, v, p)
        ctx.scale, ctx.wrong = scale, wrong
        return p @ v

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        q, k, v, p = ctx.saved_tensors
        g = gradients[0]
        dp = g @ v.mT
        row = 0.0 if ctx.wrong == "no row sum" else (dp * p).sum(-1, keepdim=True)
        ds = p * (dp - row) * (1.0 if ctx.wrong == "no scale" else ctx.scale)
        dv = p.mT @ g if ctx.wrong != "small dv" else 0.3 * (p.mT @ g)
        return ds @ k, ds.mT @ q, dv, None, None


class ByKernel(Learning):
    """Attention by that kernel."""

    wrong = ""

    def __call__(self, x: Tensor, layer: int) -> dict[str, Tensor]:
        q, k, v = self.project(x, layer)
        q, k = self.turn(q, layer, "q"), self.turn(k, layer, "k")
        c = Kernel.apply(q, self.expand(k, "k"), self.expand(v, "v"), self.scale(layer), self.wrong)
        return {"query": q, "key": k, "value": v, "output": self.out(c, layer)}


class RoundedTwice(Learning):
    """Rounding passed straight through, which is right forwards only if nothing is rounded: a rounding of nothing."""

    def turn(self, x: Tensor, layer: int, name: str) -> Tensor:
        return x + (super().turn(x, layer, name) - x).detach()


@pytest.mark.parametrize(
    ("kind", "wrong", "words"),
    [
        (ByKernel, "", None),
        (Detached, "", "no gradient through values"),
        (ByKernel, "no scale", "no scale on the gradient of scores"),
        (ByKernel, "no row sum", "w·g where the softmax's gradient"),
        (ByKernel, "small dv", "W_v a gradient that is the model's times 0.3"),
        (RoundedTwice, "", "not turned back by RoPE"),
    ],
)
def test_gradients_that_strangers_get_wrong(models, kind, wrong, words):
    mine = type("Wrong", (kind,), {"wrong": wrong})(models["grouped"])
    report = judged(models["grouped"], {0: lambda x: mine(x, 0)})
    assert report.ok == (words is None), str(report)
    if words:
        assert words in " | ".join(report.causes)


def test_matrices_whose_gradient_is_averaged_or_missing(models):
    model = models["grouped"]

    class Averaged(Learning):
        def linear(self, x: Tensor, layer: int, name: str) -> Tensor:
            matrix = self.matrix(layer, name)
            return x @ (matrix / len(x) + (matrix - matrix / len(x)).detach()).T

    report = judged(model, Averaged(model))
    assert "gradients of matrices averaged over tokens" in report.causes[0]

    own = model.model.model.layers[0].self_attn

    class Module(type(own)):  # type: ignore[misc]
        def forward(self, hidden_states: Tensor, position_embeddings: Any, attention_mask: Any, **more: Any) -> Any:
            for parameter in self.k_proj.parameters():
                parameter.requires_grad_(False)
            made = super().forward(hidden_states, position_embeddings, attention_mask, **more)
            for parameter in self.k_proj.parameters():
                parameter.requires_grad_(True)
            return made

    copy = Module(model.model.config, 0)
    copy.load_state_dict(own.state_dict())
    report = judged(model, {0: copy})
    assert report.verdict == "different"
    assert any("gives W_k no gradient" in cause for cause in report.causes), report.causes


def test_an_output_without_a_graph_is_different(models):
    model = models["grouped"]
    report = judged(model, lambda x, layer: Mine(model)(x, layer)["output"].detach())
    assert report.verdict == "different"
    assert "cut from autograd's graph" in report.causes[0]


def test_gradients_are_not_compared_where_the_output_is_wrong(models):
    model = models["grouped"]
    report = judged(model, lambda x, layer: Learning(model)(x, layer)["output"] * 2)
    assert report.verdict == "different"
    assert len(report.gradients) == 0
    assert "Gradients were not compared: the outputs differ already." in report.remarks


def test_power_of_gradients_says_which_mistakes_would_have_shown(models):
    model = models["grouped"]
    power = judged(model, Learning(model)).power
    back = power[power.way == "gradients"].set_index("mistake")
    assert len(back) == len(GRADIENT_MISTAKES)
    assert back[back.applies].shown.all()
    assert not back.loc["soft-cap straight through", "applies"]
    plain = inspector.judge(model, Learning(model), tiny.ids(N)).power
    assert not (plain.way == "gradients").any()


@pytest.mark.parametrize(
    ("mine", "n", "sentence"),
    [
        (lambda x, layer: np.zeros((N, 64), dtype=np.float32), N, "gradients=True needs tensors of torch"),
        (lambda ids: ids, N, "you handed over a function of token ids"),
        ("dump", N, "gradients=True needs something to call"),
        (lambda x, layer: x, 20, "give at most 16 tokens"),
    ],
)
def test_what_has_no_gradients_is_refused_in_a_sentence(models, tmp_path, monkeypatch, mine, n, sentence):
    monkeypatch.setattr("inspector.judging.gradient_checks.MOST_TOKENS", 16)
    model = models["grouped"]
    if mine == "dump":
        right = Mine(model)(model.trace(tiny.ids(N), keep=("input",)).input(0), 0)
        np.savez(tmp_path / "dump.npz", **{f"layers.0.{stage}": tensor.numpy() for stage, tensor in right.items()})
        mine = tmp_path / "dump.npz"
    elif n == N and sentence.endswith("of torch"):
        right_mine = Mine(model)
        mine = lambda x, layer: right_mine(x.detach(), layer)["output"].numpy()  # noqa: E731
    elif n == 20:
        mine = Mine(model)
    with pytest.raises(InspectorError, match=sentence):
        inspector.judge(model, mine, tiny.ids(n), gradients=True)

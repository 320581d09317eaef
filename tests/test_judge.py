"""The judge of somebody's own attention: right code is right, wrong code is named, and nothing more is claimed."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import tiny
import torch
from judge_cases import ALL, CASES, HANDED, Mine
from lab_laws import tiny_model
from test_judge_ways import Cached
from torch import Tensor

import inspector
from inspector.errors import InspectorError
from inspector.judging.layer_at import LayerAt
from inspector.judging.report import Judgement
from inspector.model.model import Model
from inspector.verification.compare import STAGES
from reimpl.attention import CausalSelfAttention

KINDS = {"qwen2": "qwen2", "gemma2": "gemma2", "partial": "phi3 partial", "grouped": "grouped"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    return {name: tiny.load(kind, tmp_path_factory.mktemp(name)) for name, kind in KINDS.items()}


# -- right code is right ---------------------------------------------------------------------------------------------


class InFloat64(Mine):
    """Frequencies and angles in float64."""

    def angles(self, n: int, layer: int, name: str) -> Tensor:
        return torch.outer(
            torch.arange(n).double(), 1 / self.theta ** (torch.arange(0, self.r, 2).double() / self.r)
        ).float()


class ByExp(Mine):
    """Frequencies by exp and log, as nanoGPT's children do."""

    def frequencies(self, layer: int) -> Tensor:
        return torch.exp(-math.log(self.theta) * torch.arange(0, self.r, 2).float() / self.r)


class ByHead(Mine):
    """Each head multiplied by its own part of W_o, and summed."""

    def out(self, c: Tensor, layer: int) -> Tensor:
        parts = self.matrix(layer, "o").view(self.m, self.h, -1)
        return sum(c[i] @ parts[:, i].T for i in range(self.h))  # type: ignore[return-value]


class Complex(Mine):
    """RoPE by complex numbers, values' sums by SDPA's order of axes."""

    def turn(self, x: Tensor, layer: int, name: str) -> Tensor:
        half = self.r // 2
        z = torch.complex(x[..., :half].contiguous(), x[..., half : self.r].contiguous())
        z = z * torch.polar(torch.ones(1), self.angles(x.shape[1], layer, name))
        return torch.cat((z.real, z.imag, x[..., self.r :]), -1)


@pytest.mark.parametrize("stages", [ALL, ("output",)], ids=["all", "output"])
@pytest.mark.parametrize("kind", [InFloat64, ByExp, ByHead, Complex])
@pytest.mark.parametrize("name", ["qwen2", "gemma2", "partial"])
@pytest.mark.parametrize("n", [2, 40])
def test_right_code_is_right(models, name, kind, stages, n):
    report = inspector.judge(models[name], kind(models[name], stages), tiny.ids(n))
    assert report.ok, str(report)
    assert report.causes == ()
    assert report.step is None


@pytest.mark.parametrize("kind", [InFloat64, ByExp])
def test_angles_may_be_rounded_the_more_the_further(models, kind):
    """Frequencies of another formula move far tokens by what would be a mistake at the first ones."""
    model = models["grouped"]
    report = inspector.judge(model, kind(model), tiny.ids(250))
    assert report.verdict == "right", str(report)
    moved = report.table[report.table.stage == "query"].max_abs.max()
    assert moved > 1e-6

    class Off(Mine):
        def turn(self, x: Tensor, layer: int, name: str) -> Tensor:
            return (
                super().turn(x, layer, name) + (4e-5 if name == "q" else 0) * (torch.arange(x.shape[1]) == 2)[:, None]
            )

    assert not inspector.judge(model, Off(model), tiny.ids(250)).ok


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 1000, 4000])
def test_right_code_is_right_at_every_length(tmp_path, n):
    import transformers

    config = transformers.LlamaConfig(
        **{
            **tiny.SIZES,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "hidden_size": 32,
            "max_position_embeddings": 8192,
        }
    )
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    tiny.word_tokenizer(tmp_path)
    model = inspector.load(tmp_path)
    for kind in (InFloat64, ByExp, ByHead):
        report = inspector.judge(model, kind(model), tiny.ids(n))
        assert report.ok or n == 1, str(report)
        assert report.table.ok.all()


# -- wrong code is named ---------------------------------------------------------------------------------------------

QUICK = {
    "pairs",
    "k permuted with the number of query heads",
    "base 33000",
    "window + 1",
    "tiled",
    "soft-cap left out",
    "layer 1's W_k",
    "v bias",
    "pairs and base 500000",
    "angles in bfloat16",
    "heads joined without exchanging axes",
    "positions from 1",
}


@pytest.mark.parametrize(
    ("name", "case"),
    [
        pytest.param(
            name,
            case,
            marks=() if case.name in QUICK and name == chosen else pytest.mark.slow,
            id=f"{name}-{case.name}",
        )
        for name in ("qwen2", "gemma2", "partial")
        for case in CASES
        for chosen in ["gemma2" if "window" in case.name or "cap" in case.name else "qwen2"]
    ],
)
def test_each_mistake_is_named_with_its_value(models, name, case):
    model = models[name]
    if not case.can(Mine(model)):
        pytest.skip("this model cannot have it")
    for handed, stages in HANDED.items():
        report = inspector.judge(model, case.of(model, stages), tiny.ids(24))
        if handed in case.hidden_at:
            assert report.ok, "it moves no number that was handed over"
            continue
        assert report.verdict == "different"
        said = " | ".join(report.causes)
        for words in case.says(Mine(model)):
            assert words in said, f"{handed}: {said}"
        assert report.step is not None


def test_a_second_mistake_is_not_hidden_by_the_first(models):
    class Two(Mine):
        def frequencies(self, layer: int) -> Tensor:
            return 1 / 500.0 ** (torch.arange(0, self.r, 2).float() / self.r)

        def merge(self, c: Tensor) -> Tensor:
            return c.reshape(c.shape[1], -1)

    report = inspector.judge(models["grouped"], Two(models["grouped"]), tiny.ids(24))
    assert len(report.causes) == 2
    assert "base 500 " in report.causes[0]
    assert "joined without exchanging" in report.causes[1]
    assert report.step == "rotate"
    table = report.table.set_index(["layer", "stage"])
    assert not table.loc[(0, "weights"), "ok"]  # beside the model's: the first mistake moves it
    assert table.loc[(0, "weights"), "own_ok"]  # from your own queries and keys it is right
    assert not table.loc[(0, "output"), "own_ok"]


def test_any_base_is_measured_from_the_output_alone(models):
    class Odd(Mine):
        def frequencies(self, layer: int) -> Tensor:
            return 1 / 12346.0 ** (torch.arange(0, self.r, 2).float() / self.r)

    report = inspector.judge(models["grouped"], Odd(models["grouped"], ("output",)), tiny.ids(20))
    assert len(report.causes) == 1
    assert "has RoPE base 1234" in report.causes[0]
    assert report.measured["base"] == pytest.approx(12346, rel=1e-4)


def test_layers_that_differ_for_another_reason_are_said(models):
    class ByLayer(Mine):
        def scale(self, layer: int) -> float:
            return 1.0 if layer == 2 else super().scale(layer)

        def mask(self, n: int, layer: int) -> Tensor:
            return torch.ones(n, n).bool() if layer == 0 else super().mask(n, layer)

    report = inspector.judge(models["grouped"], ByLayer(models["grouped"]), tiny.ids(20))
    assert "no causal mask" in report.causes[0]
    assert "(layer 0:" in report.causes[0]
    assert "not scaled" in report.causes[1]
    assert "(layer 2:" in report.causes[1]


def test_what_no_change_explains_has_no_cause(models):
    noise = torch.randn(4, 20, 16) * 0.1
    model = models["grouped"]

    def noisy(x: Tensor, layer: int) -> dict[str, Tensor]:
        made = Mine(model)(x, layer)
        return {"query": made["query"] + noise}

    report = inspector.judge(model, noisy, tiny.ids(20))
    assert (report.verdict, report.causes, report.step) == ("different", (), "rotate")
    assert "no cause was found" in report.summary()


# -- no more is claimed than was compared ----------------------------------------------------------------------------


def shown(report: Judgement) -> tuple[int, int]:
    whole = report.power[report.power.applies & (report.power.way == "whole")]
    return int(whole.shown.sum()), len(whole)


def test_power_counts_what_would_have_shown(models):
    model = models["grouped"]
    counts = {
        stages: shown(inspector.judge(model, Mine(model, stages), tiny.ids(20)))
        for stages in (("query_pre",), ("query", "key"), ("weights",), ("output",), ALL)
    }
    numbers = [number for number, _ in counts.values()]
    assert numbers == sorted(numbers)
    assert counts[ALL][0] == counts[ALL][1]
    assert counts[("output",)][0] == counts[ALL][0] - 1  # positions from 1 move no output
    assert counts[("query_pre",)][0] < 3


@pytest.mark.parametrize(
    ("stages", "n", "verdict"),
    [
        (("query_pre",), 20, "not shown"),
        (("query", "key"), 20, "right"),
        (("output",), 1, "not shown"),
        (("output",), 20, "right"),
    ],
)
def test_what_hardly_a_mistake_would_move_is_not_shown(models, stages, n, verdict):
    report = inspector.judge(models["grouped"], Mine(models["grouped"], stages), tiny.ids(n))
    assert report.verdict == verdict
    assert set(report.table.stage) == set(stages)
    assert ("says little" in report.summary()) == (verdict == "not shown")


def test_a_prompt_within_the_window_cannot_show_it(models):
    class NoWindow(Mine):
        def window(self, layer: int) -> None:
            return None

    model = models["gemma2"]
    short, long = (inspector.judge(model, NoWindow(model), tiny.ids(n)) for n in (6, 20))
    assert (short.ok, long.ok) == (True, False)
    row = short.power.set_index("mistake").loc["window ignored"]
    assert row.applies
    assert not row.shown
    assert "longer than your prompt of 6 tokens" in row.why_not


def test_the_callers_trace_stays_as_it_was_and_each_layer_is_called_once(models):
    model = models["grouped"]
    trace = model.trace(tiny.ids(12), keep=("input",))
    before = [trace.input(layer).clone() for layer in range(3)]
    calls: list[int] = []

    def writing(x: Tensor, layer: int) -> Tensor:
        calls.append(layer)
        made = Mine(model)(x.clone(), layer)["output"]
        x.zero_()
        return made * 1.5

    assert not inspector.judge(model, writing, trace).ok
    assert all(torch.equal(trace.input(layer), before[layer]) for layer in range(3))
    assert calls == [0, 1, 2]


# -- right, but otherwise --------------------------------------------------------------------------------------------


def test_half_precision_code_is_right_to_its_precision(models):
    model = models["grouped"]

    class Half(Mine):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.weights_of = {name: tensor.bfloat16() for name, tensor in self.weights_of.items()}

        def frequencies(self, layer: int) -> Tensor:
            return super().frequencies(layer)

        def turn(self, x: Tensor, layer: int, name: str) -> Tensor:
            return super().turn(x.float(), layer, name).bfloat16()

        def __call__(self, x: Tensor, layer: int) -> dict[str, Tensor]:
            return super().__call__(x.bfloat16(), layer)

    class Wrong(Half):
        def merge(self, c: Tensor) -> Tensor:
            return c.reshape(c.shape[1], -1)

    report = inspector.judge(model, Half(model), tiny.ids(20))
    assert (report.verdict, report.ok) == ("right to bfloat16", True)
    assert 'dtype="bfloat16"' in str(report)
    report = inspector.judge(model, Wrong(model), tiny.ids(20))
    assert report.verdict == "different"
    assert "joined without exchanging" in report.causes[0]
    assert report.measured["dtype"] == "bfloat16"


def test_another_layout_of_queries_and_keys_is_right(models):
    model = models["grouped"]

    class Meta(Mine):  # rows in Meta's order, neighbours turned
        def project(self, x: Tensor, layer: int) -> list[Tensor]:
            q, k, v = super().project(x, layer)
            return [
                q.unflatten(-1, (2, -1)).transpose(-1, -2).flatten(-2),
                k.unflatten(-1, (2, -1)).transpose(-1, -2).flatten(-2),
                v,
            ]

        def turn(self, x: Tensor, layer: int, name: str) -> Tensor:
            angle = self.angles(x.shape[1], layer, name)
            a, b = x[..., 0::2], x[..., 1::2]
            return torch.stack((a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()), -1).flatten(-2)

    class Folded(Mine):  # the scale in the queries
        def project(self, x: Tensor, layer: int) -> list[Tensor]:
            q, k, v = super().project(x, layer)
            return [q * super().scale(layer), k, v]

        def scale(self, layer: int) -> float:
            return 1.0

    for kind, words in ((Meta, "Meta's order"), (Folded, "times 0.25")):
        report = inspector.judge(model, kind(model), tiny.ids(20))
        assert (report.verdict, report.ok) == ("right, in another layout", True), str(report)
        assert words in report.causes[0]
        assert inspector.judge(model, kind(model, ("output",)), tiny.ids(20)).verdict == "right"


# -- the report ------------------------------------------------------------------------------------------------------


def test_the_report_speaks_to_the_person(models):
    model = models["grouped"]
    right = inspector.judge(model, Mine(model), tiny.ids(12))
    assert right.summary().startswith("Your attention is right as far as it was compared")
    assert json.loads(right.to_json())["schema"] == 1
    assert "<table" in right._repr_html_()
    assert "right:" in repr(right)
    wrong = inspector.judge(model, CASES[0].of(model, ALL), tiny.ids(12))
    record = json.loads(wrong.to_json())
    assert (record["kind"], record["ok"], record["verdict"], record["step"]) == (
        "judgement",
        False,
        "different",
        "rotate",
    )
    assert record["causes"] == list(wrong.causes)
    assert wrong.causes[0] in str(wrong)
    assert "neighbouring dimensions" in wrong._repr_html_()


def test_what_can_be_read_off_right_numbers_is_measured(models):
    measured = inspector.judge(models["grouped"], Mine(models["grouped"]), tiny.ids(40)).measured
    assert measured["pairing"] == "halves"
    assert measured["base"] == pytest.approx(10000, rel=1e-3)
    assert measured["dims"] == 16
    assert measured["first position"] == 0
    assert measured["scale"] == pytest.approx(0.25, rel=1e-3)
    assert measured["head map"] == [0, 0, 1, 1]
    assert measured["row sums"] == pytest.approx([1, 1])


def test_verify_hands_somebodys_attention_on(models):
    with pytest.raises(InspectorError, match=r"call inspector.judge\(model, attention, prompt\)"):
        inspector.verify(models["grouped"], tiny.ids(5), attention=Mine(models["grouped"]))


def test_where_the_family_is_not_known_stages_are_compared_and_no_cause_is_named(models, monkeypatch):
    model = models["grouped"]

    def refuse(self: Model) -> list[CausalSelfAttention]:
        raise InspectorError("This family is not reimplemented.")

    monkeypatch.setattr(Model, "reimplementation", property(refuse))
    right = inspector.judge(model, Mine(model), tiny.ids(12))
    assert right.verdict == "right"
    assert "not known (This family is not reimplemented)" in right.summary()
    wrong = inspector.judge(model, CASES[0].of(model, ALL), tiny.ids(12))
    assert (wrong.verdict, wrong.step, wrong.causes) == ("different", "rotate", ())


@pytest.mark.packaged
@pytest.mark.parametrize("wrong", ["", "no rotation", "no scale", "no mask"])
def test_half_precision_hides_no_gross_mistake_of_the_real_model(wrong, smollm):
    layers = smollm.reimplementation

    def mine(x: Tensor, layer: int) -> Tensor:
        at, n = layers[layer], len(x)
        matrices = at.projections.matrices()
        q, k, v = ((x.bfloat16() @ w.bfloat16().T).unflatten(-1, (-1, 64)).transpose(0, 1) for w in matrices)
        if wrong != "no rotation":
            q, k = (one.bfloat16() for one in at.rotate(q.float(), k.float(), torch.arange(n)))
        scores = q @ k.repeat_interleave(3, 0).transpose(-1, -2) * (1 if wrong == "no scale" else 0.125)
        if wrong != "no mask":
            scores = scores.masked_fill(torch.ones(n, n, dtype=torch.bool).triu(1), -math.inf)
        context = scores.float().softmax(-1).bfloat16() @ v.repeat_interleave(3, 0)
        return context.transpose(0, 1).flatten(1) @ at.o_proj.weight.bfloat16().T

    report = inspector.judge(smollm, mine, "Houston, we have a problem")
    assert report.verdict == ("different" if wrong else "right to bfloat16")
    assert bool(report.causes) == bool(wrong)


def test_scores_beside_a_sink_are_right(tmp_path):
    model = tiny_model("gpt_oss", tmp_path)

    def mine(x: Tensor, layer: int) -> dict[str, Tensor]:
        at = model.reimplementation[layer]
        stages = at.stages(x)
        return {"scores": at.score(stages.query, stages.key), "output": stages.output}

    assert inspector.judge(model, mine, tiny.ids(12)).ok


def test_a_cache_is_not_computed_where_a_norm_stands_after_rope(tmp_path):
    model = inspector.load(tiny.save("hunyuan alpha", tmp_path))
    mine = Cached(model, "")
    power = inspector.judge(model, mine, tiny.ids(12)).power
    assert not power[power["mistake"] == "positions restart"]["applies"].any()


def test_a_chain_stores_no_more_than_it_may(models, monkeypatch):
    monkeypatch.setattr("inspector.judging.chain.MOST_STORED", 20_000)
    model = models["grouped"]
    found = LayerAt(model.trace(tiny.ids(40), keep=("input",)), 0, model.reimplementation).right_chain
    for stage in STAGES * 2:
        found.stage(stage, found.right)
    assert sum(tensor.nbytes for tensor in found._made.values()) <= 20_000 or len(found._made) == 1

"""Whatever is handed over and whatever it answers: recognised, and said how it was read; bad input is one sentence."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from judge_cases import ALL, Mine
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import AttentionInterface

import inspector
from inspector.errors import InspectorError
from inspector.judging.answers import Handed, answers_of
from inspector.model.model import Model

N = 12


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return tiny.load("grouped", tmp_path_factory.mktemp("kinds"))


@pytest.fixture(scope="module")
def mine(model: Model) -> Mine:
    return Mine(model)


def judged(model: Model, attention: Any, **options: Any) -> inspector.Judgement:
    return inspector.judge(model, attention, tiny.ids(N), **options)


class Whole(nn.Module):
    """Takes [b, n, m], for one layer."""

    def __init__(self, mine: Mine, layer: int, factor: float = 1.0) -> None:
        super().__init__()
        self.mine, self.layer, self.factor = mine, layer, factor

    def forward(self, x: Tensor) -> Tensor:
        assert x.ndim == 3
        return self.mine(x[0], self.layer)["output"][None] * self.factor


class FromJax:
    """An array that speaks dlpack and nothing else, as JAX's do."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.contiguous()

    def __dlpack__(self, **options: Any) -> Any:
        return self.tensor.__dlpack__()

    def __dlpack_device__(self) -> Any:
        return self.tensor.__dlpack_device__()


# -- what may be handed over -----------------------------------------------------------------------------------------


def test_a_function_of_x_alone_is_taken_for_the_layer_that_it_is_nearest_to(model, mine):
    report = judged(model, lambda x: mine(x, 1))
    assert report.verdict == "right"
    assert report.layers == (1,)
    assert any("taken as layer 1's" in said for said in report.said)


def test_modules_and_lists_of_them(model, mine):
    report = judged(model, Whole(mine, 2))
    assert (report.verdict, report.layers) == ("right", (2,))
    modules = nn.ModuleList([Whole(mine, layer) for layer in range(3)])
    assert judged(model, modules).layers == (0, 1, 2)
    assert judged(model, {2: Whole(mine, 2)}).layers == (2,)
    assert not judged(model, [Whole(mine, layer, 1.01) for layer in range(3)]).ok
    assert judged(model, [lambda x, layer=layer: mine(x, layer) for layer in range(3)]).ok


def test_a_model_object_and_its_attention_modules(model):
    twin = copy.deepcopy(model.model)
    assert judged(model, twin).verdict == "right"
    assert judged(model, twin.model.layers[1].self_attn).layers == (1,)
    with torch.no_grad():
        twin.model.layers[1].self_attn.o_proj.weight.copy_(twin.model.layers[1].self_attn.o_proj.weight.T.clone())
    report = judged(model, twin)
    assert report.verdict == "different"
    assert "W_o not transposed" in report.causes[0]
    assert "(layer 1:" in report.causes[0]


def tiled_function(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **options: Any) -> Any:
    times = query.shape[1] // key.shape[1]
    made = torch.nn.functional.scaled_dot_product_attention(
        query, key.repeat(1, times, 1, 1), value.repeat(1, times, 1, 1), is_causal=True, scale=options["scaling"]
    )
    return made.transpose(1, 2), None


def test_a_registered_function_is_judged_by_what_it_computed(model):
    AttentionInterface.register("mine_tiled", tiled_function)
    AttentionInterface.register("mine_right", sdpa_attention_forward)
    try:
        before = model.model.config._attn_implementation
        report = judged(model, "mine_tiled")
        assert report.verdict == "different"
        assert "tiled, 0 1 2 0 1 2" in report.causes[0]
        assert judged(model, "mine_right").verdict == "right"
        assert model.model.config._attn_implementation == before
        model.model.set_attn_implementation("mine_tiled")
        assert judged(model, model.model).verdict == "different"
        assert judged(model, model).verdict == "different"
        verified = inspector.verify(model, tiny.ids(N), controls=False)  # stages alone would pass: they run eagerly
        assert verified.verdict == "different"
        assert verified.stages_ok
        assert "attends by 'mine_tiled'" in verified.summary()
        assert "inspector.judge(model, model, prompt)" in verified.summary()
    finally:
        model.model.set_attn_implementation(before)
        AttentionInterface._global_mapping.pop("mine_tiled", None)
        AttentionInterface._global_mapping.pop("mine_right", None)


def test_a_whole_model_from_ids_to_logits(model):
    def logits(ids: Tensor) -> Tensor:
        return model.model(ids[None], use_cache=False).logits[0]

    report = judged(model, logits)
    assert report.verdict == "right"
    power = report.power[report.power.applies]
    assert len(power) > 15
    assert power.shown.sum() >= len(power) - 1  # positions from 1 move no logit
    assert "in 3 layers" not in report.summary()
    assert "known mistakes would have shown" in report.summary()
    alone = inspector.judge(model, logits, tiny.ids(1))
    assert (alone.verdict, alone.ok) == ("not shown", False), str(alone)
    report = judged(model, lambda input_ids: logits(input_ids) + 0.1)
    assert report.verdict == "different"
    assert not report.causes
    assert "Logits alone name no step" in report.remarks[0]
    half = copy.deepcopy(model.model).bfloat16()
    assert judged(model, lambda ids: half(ids[None], use_cache=False).logits[0]).verdict == "right to bfloat16"


def test_an_object_that_follows_the_protocol(model, mine):
    class Files:
        layers = (0, 2)
        said = ("read from files",)

        def __init__(self, moved: float = 0.0) -> None:
            self.moved = moved
            self.inputs = {layer: model.trace(tiny.ids(N), keep=("input",)).input(layer) for layer in self.layers}

        def answer(self, layer: int, x: Tensor) -> dict[str, Tensor]:
            return mine(self.inputs[layer] + self.moved * (layer == 2), layer)

        def input(self, layer: int) -> Tensor:
            return self.inputs[layer] + self.moved * (layer == 2)

    assert isinstance(Files(), Handed)
    files = Files()
    assert answers_of(files) is files
    report = judged(model, files)
    assert (report.verdict, report.layers, report.said[0]) == ("right", (0, 2), "read from files")
    assert "input" in set(report.table.stage)
    report = judged(model, Files(0.5))
    assert (report.verdict, report.step) == ("different", "input")
    assert report.causes == (report.causes[0],)
    assert report.causes[0].startswith("layer 2's input already differs")
    assert "look at layer 1's MLP, norm or residual, not at attention" in report.causes[0]
    assert report.table[report.table.layer == 2].own_ok.dropna().all()  # from that input, attention is right


# -- what may be answered --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [lambda t: t, lambda t: t.numpy(), FromJax, lambda t: t.tolist()])
def test_arrays_of_any_kind(model, mine, kind):
    assert judged(model, lambda x, layer: kind(mine(x, layer)["output"])).verdict == "right"
    assert judged(model, lambda x, layer: {s: kind(t) for s, t in mine(x, layer).items()}).verdict == "right"


def test_a_pair_is_output_and_weights(model, mine):
    report = judged(model, lambda x, layer: (mine(x, layer)["output"], mine(x, layer)["weights"]))
    assert set(report.table.stage) == {"weights", "output"}
    averaged = judged(model, lambda x, layer: (mine(x, layer)["output"], mine(x, layer)["weights"].mean(0)))
    assert set(averaged.table.stage) == {"output"}
    assert "your weights are averaged over heads and were not compared" in averaged.said


NAMES = {
    "query_pre": "q_pre",
    "key_pre": "hook_k",
    "query": "q",
    "key": "k",
    "value": "v",
    "weights": "attn_probs",
    "context": "z",
    "output": "out",
}


def test_own_names_are_read_and_said(model, mine):
    report = judged(model, lambda x, layer: {NAMES[s]: t for s, t in mine(x, layer).items()} | {"loss": x})
    assert report.verdict == "right"
    assert set(report.table.stage) == set(ALL)
    assert "'attn_probs' was read as weights" in report.said
    assert any("'loss' is no stage that is known" in said for said in report.said)


def test_scores_are_compared_by_their_softmax(model, mine):
    def scores(x: Tensor, layer: int) -> dict[str, Tensor]:
        made = mine(x, layer)
        return {"scores": mine.scores(made["query"], made["key"], layer), "output": made["output"]}

    report = judged(model, scores)
    assert report.verdict == "right"
    assert set(report.table.stage) == {"weights", "output"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s, t: t[None], ""),
        (lambda s, t: t if s == "output" else t.transpose(0, 1), "[n, h, d]"),
        (lambda s, t: t if s in ("output", "weights") else t.transpose(0, 1).flatten(1)[None], "[n, h·d]"),
        (
            lambda s, t: t.repeat_interleave(2, 0) if s in ("key_pre", "key", "value") else t,
            "repeated for each of 4 query heads",
        ),
    ],
)
def test_layouts_are_read_and_said(model, mine, change, said):
    report = judged(model, lambda x, layer: {s: change(s, t) for s, t in mine(x, layer).items()})
    assert report.verdict == "right", str(report)
    assert set(report.table.stage) == set(ALL)
    assert any(said in one for one in report.said) or not said
    assert (report.said == ()) == (said == "")


@pytest.mark.parametrize(
    "change", [lambda t: t, lambda t: t[None], lambda t: t[:, None]], ids=["n h d", "b n h d", "n b h d"]
)
def test_one_token_is_no_batch(model, mine, change):
    def tokens_first(x: Tensor, layer: int) -> dict[str, Tensor]:
        found = mine(x, layer)
        return {
            stage: change(found[stage].transpose(0, 1)) for stage in ("query", "key", "value", "weights", "context")
        }

    assert inspector.judge(model, tokens_first, tiny.ids(1)).table.ok.all()


def test_groups_and_a_batch_in_the_middle_are_read(model, mine):
    def grouped(x: Tensor, layer: int) -> dict[str, Tensor]:
        found = mine(x, layer)
        parted = {stage: found[stage].unflatten(0, (2, -1)) for stage in ("query", "weights", "context")}
        return {**parted, "query": parted["query"].permute(2, 0, 1, 3), "output": found["output"][:, None]}

    report = judged(model, grouped)
    assert report.ok, str(report)
    assert len(report.stages) == 4


def test_as_many_tokens_as_heads_are_read_by_the_numbers(model, mine):
    attention = {
        True: lambda x, layer: mine(x, layer),
        False: lambda x, layer: {s: t if s == "output" else t.transpose(0, 1) for s, t in mine(x, layer).items()},
    }
    for each in attention.values():
        assert inspector.judge(model, each, tiny.ids(4)).ok


# -- what cannot be read is one sentence -----------------------------------------------------------------------------


def raising(x: Tensor, layer: int) -> Tensor:
    if layer == 1:
        raise ValueError("shapes do not\nmatch")
    return x


def leaving(x: Tensor, layer: int) -> Tensor:
    raise SystemExit(3)


class Wordless(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def without_words(x: Tensor, layer: int) -> Tensor:
    raise Wordless


async def later(x: Tensor, layer: int) -> Tensor:
    return x


@pytest.mark.parametrize(
    ("attention", "sentence"),
    [
        (7, "An object of type int cannot be judged: give a function of"),
        (Whole, "Whole is a class: hand over an object of it"),
        ("no such", "No attention function is registered as 'no such'"),
        ([1, 2], "Among the attentions of this list is one of type int"),
        ([None], "Among the attentions of this list is one of type NoneType"),
        ({"q": lambda x: x}, "Among the attentions that you handed over is one for 'q', which is no layer"),
        ({7: lambda x: x}, "You handed over layer 7, and .* has layers 0 to 2"),
        (lambda: 1, "takes no argument"),
        (lambda x, layer, cos, sin: x, "asks for cos, sin, which the judge has not"),
        (raising, r"Your attention raised ValueError at layer 1, given x \[12, 64\] of float32: shapes do not match"),
        (leaving, "Your attention raised SystemExit at layer 0"),
        (without_words, "Your attention raised Wordless at layer 0, .* no message"),
        (later, "Your attention is async at layer 0"),
        (lambda x, layer: x.to("meta"), "Your output at layer 0 is on the meta device"),
        (lambda x, layer: None, "Your output at layer 0 is nothing: return a tensor"),
        (lambda x, layer: np.array([None]), "Your output at layer 0 is of type ndarray"),
        (lambda x, layer: "out", "Your output at layer 0 is of type str"),
        (lambda x, layer: {}, "Your attention at layer 0 returned no stage"),
        (lambda x, layer: {"foo": x}, "Your attention at layer 0 returned 'foo': return at least one of query_pre"),
        (lambda x, layer: {"q": x, "query": x}, "returned both 'q' and 'query', which both mean query"),
        (lambda x, layer: x.bool(), "Your output at layer 0 is an array of bool"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_a_sentence(model, attention, sentence):
    with pytest.raises(InspectorError, match=sentence):
        judged(model, attention)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({"decode": "all"}, "decode='all' is neither"), ({"dtype": "int8"}, "dtype='int8' is not known")],
)
def test_options_are_refused_in_a_sentence(model, mine, options, sentence):
    with pytest.raises(InspectorError, match=sentence):
        judged(model, mine, **options)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t[:, :3], r"shape [12, 3] where the model has [12, 64]"),
        (
            lambda t: torch.cat((t, t[:1])),
            "13 tokens where the prompt has 12; is there a second beginning-of-sequence token?",
        ),
        (
            lambda t: t.masked_fill(torch.arange(N)[:, None] == 3, float("nan")),
            "64 numbers that are not finite, in rows (tokens) 3",
        ),
    ],
)
def test_shapes_and_what_is_not_finite_are_said(model, mine, change, reason):
    report = judged(model, lambda x, layer: change(mine(x, layer)["output"]))
    assert report.verdict == "different"
    assert reason in report.first_difference.reason
    assert reason in report.summary()


def test_a_bare_name_or_folder_is_loaded(model, mine):
    assert inspector.judge(model.source.folder, mine, tiny.ids(N)).ok
    assert np.isfinite(inspector.judge(str(model.source.folder), mine, tiny.ids(N)).table.max_abs).all()

"""What other libraries recorded becomes a trace, if it gives the weights they recorded; and traces go out to them."""

from __future__ import annotations

import pandas as pd
import pytest
import tiny
import torch
import transformers

import inspector
from inspector.errors import InspectorError
from inspector.trace import trace as trace_module

IDS = [3, 14, 15, 9, 26, 3, 14, 35]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.load("grouped", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def trace(model):
    return model.trace(IDS)


def recorded(trace) -> list[dict]:
    """Each layer as nnsight's users save it: a batch of one, heads first."""
    return [
        {
            "query": trace.query(info.index)[None],
            "key": trace.key(info.index)[None],
            "value": trace.value(info.index)[None],
            "weights": trace.weights(info.index)[None],
            "context": trace.context(info.index)[None],
        }
        for info in trace.layers
    ]


def as_cache(layers: list[dict], *, rotated: str = "rot_") -> dict:
    """The same under TransformerLens's names, positions first: [b, t, h, d]."""
    found = {}
    for index, layer in enumerate(layers):
        place = f"blocks.{index}.attn.hook_"
        found |= {
            f"{place}{rotated}q": layer["query"].transpose(1, 2),
            f"{place}{rotated}k": layer["key"].transpose(1, 2),
            f"{place}v": layer["value"].transpose(1, 2),
            f"{place}z": layer["context"].transpose(1, 2),
            f"{place}pattern": layer["weights"],
        }
    return found


def test_a_cache_becomes_the_same_trace(model, trace):
    made = inspector.from_transformer_lens(as_cache(recorded(trace)), torch.tensor([IDS]), tokenizer=model.tokenizer)
    assert made.tokens == trace.tokens
    for layer in range(3):
        assert torch.equal(made.weights(layer), trace.weights(layer))
        assert torch.equal(made.context(layer), trace.context(layer))
        assert torch.equal(made.value(layer), trace.value(layer))
    assert made.layers[0].kv_heads == 2
    assert made.source["largest difference"] == 0
    assert made.source["layers whose values were checked"] == 3
    assert made.stored[0].mask == trace.stored[0].mask  # the rule, not a table


def test_what_needs_the_model_works_with_it_and_is_refused_without(model, trace):
    made = inspector.from_tensors(recorded(trace), IDS, model=model)
    assert torch.equal(made.head_output(1, 2), trace.head_output(1, 2))
    assert made.next_tokens(3) == trace.next_tokens(3)
    assert made.layers == trace.layers
    with pytest.raises(InspectorError, match=r"not those that .* makes of these tokens"):
        inspector.from_tensors(recorded(trace), IDS[::-1], model=model)
    with pytest.raises(inspector.InspectorError, match="has no model at hand"):
        inspector.from_tensors(recorded(trace), IDS).head_output(1, 2)


def test_it_can_be_saved_opened_and_drawn(trace, tmp_path):
    made = inspector.from_tensors(recorded(trace), IDS)
    again = inspector.open_trace(made.save(tmp_path / "outside.safetensors"))
    assert torch.equal(again.weights(2, 1), trace.weights(2, 1))
    assert again.tokens.labels[:2] == ("3", "14")
    assert "3" in inspector.views.head_figure(again, 2, 1).html


def test_an_object_that_holds_its_tensor_is_taken(trace):
    class Saved:
        def __init__(self, value):
            self.value = value

    layers = [{name: Saved(tensor) for name, tensor in layer.items()} for layer in recorded(trace)]
    assert torch.equal(inspector.from_tensors(layers, IDS).weights(0), trace.weights(0))


def test_a_soft_cap_and_a_window(tmp_path):
    given = tiny.load("gemma2", tmp_path).trace(list(range(1, 60)))
    info = given.layers[0]
    made = inspector.from_tensors(recorded(given), given.tokens.ids, scale=info.scale, softcap=info.softcap)
    for layer in range(len(given.layers)):
        torch.testing.assert_close(made.weights(layer), given.weights(layer), rtol=0, atol=1e-6)
        assert torch.equal(made.allowed(layer, 0), given.allowed(layer, 0))


# -- each way to hand over the wrong tensors ------------------------------------------------------------------------


def unrotated(trace, layers):
    layers[1]["query"], layers[1]["key"] = trace.query(1, rope=False)[None], trace.key(1, rope=False)[None]


def other_layers_keys(trace, layers):
    layers[1]["key"] = layers[2]["key"]


def heads_in_another_order(trace, layers):
    layers[1]["query"] = layers[1]["query"].flip(1)


def other_values(trace, layers):
    layers[1]["value"] = layers[1]["value"].flip(1)


def scores_for_weights(trace, layers):
    layers[1]["weights"] = trace.scaled_scores(1)[None]


def positions_first(trace, layers):
    layers[1]["query"] = layers[1]["query"].transpose(1, 2)


def no_weights(trace, layers):
    del layers[1]["weights"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (unrotated, "Layer 1's weights, computed from its queries and keys, differ"),
        (other_layers_keys, "Layer 1's weights"),
        (heads_in_another_order, "Layer 1's weights"),
        (scores_for_weights, "Layer 1's weights"),
        (other_values, "Layer 1's context vectors"),
        (positions_first, r"Layer 1's query is \[8, 4, 16\]"),
        (no_weights, "Layer 1 lacks a tensor weights"),
    ],
)
def test_wrong_tensors_are_refused(trace, wrong, said):
    layers = recorded(trace)
    wrong(trace, layers)
    with pytest.raises(InspectorError, match=said):
        inspector.from_tensors(layers, IDS)


def test_a_wrong_scale_or_too_few_of_a_cache_are_refused(trace):
    with pytest.raises(InspectorError, match=r"the model's own scale \(0\.3 was used\)"):
        inspector.from_tensors(recorded(trace), IDS, scale=0.3)
    with pytest.raises(InspectorError, match=r"lacks blocks\.0\.attn\.hook_rot_q"):
        inspector.from_transformer_lens({"blocks.0.attn.hook_pattern": trace.weights(0)[None]}, IDS)
    with pytest.raises(InspectorError, match="has patterns of layers"):
        inspector.from_transformer_lens({}, IDS)
    with pytest.raises(InspectorError, match="is no flat list of token ids"):
        inspector.from_tensors(recorded(trace), "text")


# -- out --------------------------------------------------------------------------------------------------------------


def test_attentions_are_those_of_the_library(model):
    library = model.model
    before = library.config._attn_implementation
    library.set_attn_implementation("eager")  # the one that hands weights out; in one pass with sdpa last bits differ
    try:
        given = model.trace(IDS).attentions()
        theirs = library(torch.tensor([IDS]), output_attentions=True).attentions
    finally:
        library.set_attn_implementation(before)
    assert [tuple(one.shape) for one in given] == [(1, 4, 8, 8)] * 3
    torch.testing.assert_close(given, tuple(one.detach() for one in theirs), rtol=0, atol=0)


def test_a_tidy_table(model):
    trace = model.trace("w3 w14 w15 w3")
    table = trace.to_pandas()
    columns = ["model", "prompt", "layer", "head", "query", "key", "query_token", "key_token", "weight"]
    assert list(table.columns) == columns
    assert len(table) == 3 * 4 * (4 * 5 // 2)
    sums = table.groupby(["layer", "head", "query"])["weight"].sum()
    assert ((sums - 1).abs() < 1e-6).all()
    row = table[(table.layer == 2) & (table["head"] == 1) & (table["query"] == 3) & (table["key"] == 1)].iloc[0]
    assert row.weight == float(trace.weights(2, 1)[3, 1])
    assert (row.query_token, row.key_token, row.prompt) == (*trace.tokens.labels[3:0:-2], "w3 w14 w15 w3")
    one = trace.to_pandas(2, 1)
    whole = table[(table.layer == 2) & (table["head"] == 1)].reset_index(drop=True)
    pd.testing.assert_frame_equal(one, whole, check_categorical=False)


def test_what_would_fill_the_memory_is_refused(trace, monkeypatch):
    monkeypatch.setattr(trace_module, "ATTENTIONS_BYTES", 1000)
    for ask in (trace.attentions, trace.to_pandas):
        with pytest.raises(InspectorError, match="GB are allowed: ask for one layer or head"):
            ask()


@pytest.mark.slow  # loads libraries that the environment of the tests need not have
def test_a_real_cache_of_transformer_lens(model, trace):
    pytest.importorskip("transformer_lens")
    from transformer_lens.model_bridge import TransformerBridge

    lens = TransformerBridge.boot_transformers("llama", hf_model=model.model, tokenizer=model.tokenizer, device="cpu")
    made = inspector.from_transformer_lens(lens.run_with_cache(torch.tensor([IDS]))[1], IDS)
    assert made.source["layers whose values were checked"] == 3
    for layer in range(3):
        torch.testing.assert_close(made.weights(layer), trace.weights(layer), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_nnsight_saves(tmp_path):
    nnsight = pytest.importorskip("nnsight")
    folder = tiny.save("grouped", tmp_path)
    library = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    ours = inspector.load(folder)
    seen, layers = nnsight.LanguageModel(library, tokenizer=ours.tokenizer), []
    with seen.trace(torch.tensor([IDS])):
        for layer in seen.model.layers:
            call = layer.self_attn.source.attention_interface_1
            query, key, value = (call.inputs[0][place].save() for place in (1, 2, 3))
            layers.append({"query": query, "key": key, "value": value, "weights": call.output[1].save()})
    made = inspector.from_tensors(layers, IDS, model=ours)
    torch.testing.assert_close(made.weights(2), ours.trace(IDS).weights(2), rtol=0, atol=1e-5)

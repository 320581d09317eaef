"""What a longer prompt costs: formulas against the bytes of real tensors, and the page's numbers against both."""

from __future__ import annotations

import dataclasses

import pytest
import tiny
import torch
from learn_app import open_lab

from inspector.errors import InspectorError
from inspector.learn import attention_sizes, cache_sizes, costs, counted_costs
from inspector.model.library_cache import returned_cache

KINDS = ["grouped", "multi-query", "wide heads", "mistral", "qwen2 sliding", "gemma2", "smollm3", "biases", "qwen3"]


@pytest.mark.packaged
def test_the_packaged_models_formulas_are_its_tensors_to_the_byte(smollm, houston):
    found, counted = attention_sizes.sizes(houston), attention_sizes.parameters(smollm)
    counts, why = counted_costs.measured(houston, 5)
    table = costs.compared(costs.by_formula(found, counted, 5, counts["tokens"]), counts)
    assert not why
    assert counts["tokens"].to_list() == [1, 4, 8, 16, 64]
    assert len(table) == 25
    assert (table["difference"] == 0).all()
    at = counts.set_index("tokens").loc[8]  # counted here once more, in the plainest way
    assert at["weights of one head"] == houston.weights(5, 2).nbytes == 8 * 8 * 4
    assert at["weights of all layers"] == sum(houston.weights(layer).nbytes for layer in range(30))
    with torch.inference_mode():
        (cache,) = returned_cache(smollm.model(torch.tensor([houston.tokens.ids]), use_cache=True)).values()
    assert at["key/value cache"] == sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)

    names = [name for name, _ in smollm.model.named_parameters() if ".self_attn." in name]
    assert len(names) == 4 * 30
    assert counted.attention == sum(smollm.model.get_parameter(name).nbytes for name in names)
    assert counted.matrices == counted.attention == found.matrices()
    # Embeddings are tied with the language-model head: one tensor, counted once.
    assert counted.whole == sum({p.data_ptr(): p.nbytes for p in smollm.model.state_dict().values()}.values())


@pytest.mark.parametrize("tiny_model", KINDS, indirect=True)
def test_formulas_hold_for_every_kind_of_layer(tiny_model):
    trace = tiny_model.trace(tiny.ids(20))
    found, counted = attention_sizes.sizes(trace), attention_sizes.parameters(tiny_model)
    counts, why = counted_costs.measured(trace, 1)
    assert not why
    assert (costs.compared(costs.by_formula(found, counted, 1, counts["tokens"]), counts)["difference"] == 0).all()
    assert counted.matrices == found.matrices()
    # What is more than four matrices are vectors: biases, and the norms of queries and keys.
    inside = (p for name, p in tiny_model.model.named_parameters() if ".self_attn." in name)
    assert counted.attention - counted.matrices == sum(p.nbytes for p in inside if p.ndim == 1)


@pytest.mark.parametrize("tiny_model", ["mistral"], indirect=True)
def test_a_wrong_size_is_caught(tiny_model):
    """The negative control: each size, a little wrong, shows as a difference."""
    trace = tiny_model.trace(tiny.ids(20))
    right = attention_sizes.sizes(trace)
    counts, _ = counted_costs.measured(trace, 0)
    for change in ({"kv_heads": 4}, {"heads": 5}, {"d_head": 15}, {"back": None}, {"back": 7}):
        layers = (*right.layers[:2], dataclasses.replace(right.layers[2], **change))
        wrong = dataclasses.replace(right, layers=layers)
        table = costs.compared(costs.by_formula(wrong, None, 0, counts["tokens"]), counts)
        assert (table["difference"] != 0).any(), change
    half = dataclasses.replace(right, element=2)
    assert (costs.compared(costs.by_formula(half, None, 0, counts["tokens"]), counts)["difference"] != 0).all()


@pytest.mark.parametrize("tiny_model", ["mistral"], indirect=True)
def test_a_window_keeps_its_last_positions_only(tiny_model):
    found = attention_sizes.sizes(tiny_model.trace(tiny.ids(20)))
    assert [layer.back for layer in found.layers] == [6, 6, 6]  # a window of 7 is the new token and 6 before it
    assert found.cache(6) == found.cache(1000) == 6 * found.cache(1)
    law = costs.growth(found, None, 0, 200).set_index("what")
    assert law.loc["key/value cache", "twice the tokens"] == 1
    assert "window" in law.loc["key/value cache", "grows with"]
    assert r"\min(n, 6)" in costs.formulas(found)["key/value cache"]


def test_half_precision_costs_half(tmp_path):
    model = tiny.load("grouped", tmp_path, dtype="bfloat16")
    trace = model.trace(tiny.ids(9))
    found = attention_sizes.sizes(trace)
    assert (found.element, found.dtype) == (2, "bfloat16")
    counts, _ = counted_costs.measured(trace, 0)
    table = costs.compared(costs.by_formula(found, attention_sizes.parameters(model), 0, counts["tokens"]), counts)
    assert (table["difference"] == 0).all()


def test_what_grows_how_and_by_how_much(tmp_path):
    found = attention_sizes.sizes(tiny.load("grouped", tmp_path).trace(tiny.ids(9)))
    law = costs.growth(found, None, 0, 64).set_index("what")
    assert law["twice the tokens"].to_list() == [4, 4, 4, 2, 2, 1]  # without a model its parameters are not counted
    assert found.without_sharing().cache(100) == 2 * found.cache(100)  # 4 heads share 2
    assert costs.steps(100) == [1, 2, 4, 8, 16, 32, 64, 100]
    assert costs.steps(None)[-1] == costs.DRAWN_UP_TO


def test_a_cache_of_another_kind_is_refused_in_a_sentence():
    class Recurrence:
        pass

    for cache in (None, Recurrence()):
        with pytest.raises(InspectorError, match=r"not made of keys and values alone\.$"):
            cache_sizes.cache_bytes(cache)


def test_the_tensor_nobody_builds():
    assert costs.nobody_builds(8192, 4096) == 8192**2 * 4096**2 * 4 == 4_503_599_627_370_496
    assert costs.human(costs.nobody_builds(8192, 4096)) == "4.5 PB"
    said = {0: "0 B", 999: "999 B", 1000: "1 kB", 46080: "46.1 kB", 999_600: "1 MB", 538_060_032: "538 MB"}
    assert {count: costs.human(count) for count in said} == said


@pytest.mark.packaged
def test_the_page_shows_these_numbers(houston, smollm):
    app = open_lab("context", layer="5", head="3")
    assert not app.error
    found, counted = attention_sizes.sizes(houston), attention_sizes.parameters(smollm)
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown["Weights of all layers"] == costs.human(found.weights(8192)) == "72.5 GB"
    assert shown["Key/value cache"] == costs.human(found.cache(8192))
    assert shown["All parameters"] == costs.human(counted.whole)
    assert shown["Saved"] == "× 3"
    assert shown["n 8,192, d_model 4,096, float32"] == "4.5 PB"
    assert any("26 counts of real tensors, each equal to its formula" in found.label for found in app.expander)
    drawn, law, compared = (table.value for table in app.dataframe)
    assert {"what", "tokens", "bytes"} <= set(drawn)
    assert law.equals(costs.growth(found, counted, 5, 8192))
    assert (compared["difference"] == 0).all()
    assert any(r"30 \cdot 9 \cdot 4 \cdot n^2" in text.value for text in app.latex)

    app.select_slider(key="context_tokens").set_value(8).run()
    assert not app.exception
    law = app.dataframe[1].value.set_index("what")
    assert law.loc["weights of one head", "bytes"] == houston.weights(5, 3).nbytes
    assert law.loc["weights of one layer", "bytes"] == houston.weights(5).nbytes

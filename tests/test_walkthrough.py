"""Every station of the Walkthrough shows the trace's own numbers; and what it says was measured is measured."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from screen_app import chosen_in, open_app, payloads
from transformers import AutoConfig, AutoModelForCausalLM

import inspector
from inspector import InspectorError
from inspector.analysis import score_breakdown, shares
from inspector.coverage import tiny as entries
from inspector.learn import token_vectors, walkthrough
from inspector.learn.glossary import TERMS
from inspector.learn.stations import STATIONS
from inspector.ui.screens.labs.table import BY_NAME, TRY
from inspector.ui.screens.walkthrough import DRAW
from inspector.ui.server import shared

LAYER, HEAD, QUERY, KEY = 13, 8, 7, 4
ROW = slice(QUERY, QUERY + 1)  # one row is computed, as the page does: all at once, sums run in another order


def station(name, **address):
    return open_app(
        "Walkthrough", **{"layer": str(LAYER), "head": str(HEAD), "station": name, "query": str(QUERY), **address}
    )


def strips(app, key):
    """The rows of numbers of a picture of strips and bars, by their titles."""
    header, numbers = payloads(app, key)
    rows = numbers.reshape(-1, header["count"])
    return {panel["title"]: rows[panel["rows"][0]] for panel in header["panels"]}


def matrix(app, key):
    header, numbers = payloads(app, key)
    return header, numbers.reshape(header["shape"])


def entry(name, folder):
    """A tiny model of any of the library's types."""
    entries.save(entries.types()[name], folder)
    return inspector.load(folder).trace(tiny.ids(12), keep=("input", "output", "residual"))


def said(app):
    elements = (app.markdown, app.caption, app.success, app.info)
    return " ".join(element.value for found in elements for element in found)


# -- each station, against the trace ------------------------------------------------------------------------------


@pytest.mark.packaged
def test_tokens_and_embedding(houston):
    app = station("tokens")
    assert app.dataframe[0].value["token"].to_list() == list(houston.tokens.labels)
    assert app.dataframe[0].value["id"].to_list() == list(houston.tokens.ids)
    (row,) = strips(app, "embedding").values()
    assert np.array_equal(row, houston.embedding[QUERY].numpy())
    assert "equal in all 576 numbers" in said(app)


@pytest.mark.packaged
def test_attention_input(houston):
    residual, received = strips(station("input"), "attention input").values()
    assert np.array_equal(residual, houston.residual(LAYER)[QUERY].numpy())
    assert np.array_equal(received, houston.input(LAYER)[QUERY].numpy())


@pytest.mark.packaged
def test_matrices(smollm):
    app = station("matrices")
    parameters = smollm.head_parameters(LAYER, HEAD)
    for name in ("W_q", "W_k", "W_v"):
        header, numbers = matrix(app, f"matrix {name}")
        assert np.array_equal(numbers, getattr(parameters, name).numpy())
        assert header["masked"] == ""
    assert "147,456 parameters" in said(app)  # 4 matrices of 64 x 576


@pytest.mark.packaged
def test_vectors(houston):
    app = station("vectors")
    query, key, value = strips(app, "query before RoPE key before RoPE value").values()
    assert np.array_equal(query, houston.query(LAYER, HEAD, rope=False)[QUERY].numpy())
    assert np.array_equal(key, houston.key(LAYER, HEAD, rope=False)[QUERY].numpy())
    assert np.array_equal(value, houston.value(LAYER, HEAD)[QUERY].numpy())
    assert app.dataframe[0].value["differing"].to_list() == [0, 0, 0]


@pytest.mark.packaged
def test_rope(houston):
    app = station("rope", key=str(KEY))
    before, after = strips(app, "turned query").values()
    assert np.array_equal(before, houston.query(LAYER, HEAD, rope=False)[QUERY].numpy())
    assert np.array_equal(after, houston.query(LAYER, HEAD)[QUERY].numpy())
    before, after = strips(app, "turned key").values()
    assert np.array_equal(before, houston.key(LAYER, HEAD, rope=False)[KEY].numpy())
    assert np.array_equal(after, houston.key(LAYER, HEAD)[KEY].numpy())


@pytest.mark.packaged
def test_one_key_at_a_time(houston):
    query, key, product, so_far = strips(station("pair", key=str(KEY)), "building up").values()
    assert np.array_equal(query, houston.query(LAYER, HEAD)[QUERY].numpy())
    assert np.array_equal(key, houston.key(LAYER, HEAD)[KEY].numpy())
    assert np.allclose(product, query * key, rtol=1e-6)
    assert so_far[-1] == pytest.approx(houston.scores(LAYER, HEAD)[QUERY, KEY].item(), rel=1e-6)
    assert so_far[0] == pytest.approx(float(product[0]))


@pytest.mark.packaged
def test_scores_and_scaling(houston, smollm):
    (scores,) = strips(station("scores"), "scores row").values()
    assert np.array_equal(scores, houston.scores(LAYER, HEAD, queries=ROW)[0].numpy())
    app = station("scaling")
    scores, scaled = strips(app, "scaled row").values()
    assert np.array_equal(scores, houston.scores(LAYER, HEAD, queries=ROW)[0].numpy())
    assert np.array_equal(scaled, houston.scaled_scores(LAYER, HEAD, queries=ROW)[0].numpy())
    table = app.dataframe[0].value
    assert table["scale"].to_list() == [1.0, 64**-0.5, 576**-0.5]
    weights = houston.weights(LAYER, HEAD)[QUERY].double()
    assert table["largest"][1] == pytest.approx(weights.max().item(), rel=1e-6)
    assert table["entropy"][1] == pytest.approx(float(-(weights * weights.log2()).sum()), rel=1e-6)
    # What the page says: without scaling one token takes nearly all; with d_model's root they are nearly alike.
    assert table["entropy"][0] < 0.01 < table["entropy"][1] < table["entropy"][2] < 3


@pytest.mark.packaged
def test_mask_and_softmax(houston):
    app = station("mask", query="4")
    header, numbers = payloads(app, "masked scores")
    assert header["packing"] == "lower"  # what is masked is not sent
    assert np.array_equal(numbers, houston.scaled_scores(LAYER, HEAD).numpy()[np.tril_indices(houston.n)])
    assert "may look at 5 of 8 tokens" in said(app)
    assert "“we” may look at 5 tokens and not at 3" in said(app)
    app = station("softmax", query="4")
    table = app.dataframe[0].value
    weights = houston.weights(LAYER, HEAD, queries=slice(4, 5))[0, :5].numpy()
    assert np.array_equal(table["weight"], weights)
    assert np.allclose(table["exponential"] / table["exponential"].sum(), table["weight"], rtol=1e-6)
    header, numbers = payloads(app, "softmax row")
    assert np.array_equal(numbers.reshape(2, -1)[0], weights)


@pytest.mark.packaged
def test_weighted_values_and_context(houston):
    header, numbers = matrix(station("values"), "weighted values")
    weights, values = houston.weights(LAYER, HEAD, queries=ROW)[0], houston.value(LAYER, HEAD)
    assert np.array_equal(numbers, (weights[:, None] * values).numpy())
    assert header["rows"][4] == f"{weights[4]:.3f} × 4 ␣we"
    context = list(strips(station("context"), "context vector").values())[-1]
    assert np.allclose(context, houston.context(LAYER, HEAD)[QUERY].numpy(), atol=1e-6)


@pytest.mark.packaged
def test_heads_and_output(houston):
    _, numbers = matrix(station("heads"), "contexts")
    assert np.allclose(numbers, houston.context(LAYER)[:, QUERY].numpy(), atol=1e-6)
    app = station("output")
    share, total, library = strips(app, "output").values()
    assert np.allclose(share, houston.head_output(LAYER, HEAD)[QUERY].numpy(), atol=1e-5)
    assert np.array_equal(library, houston.output(LAYER)[QUERY].numpy())
    assert np.abs(total - library).max() < 1e-5
    assert "The shares add up to the library's own output" in said(app)
    (lengths,) = strips(app, "share lengths").values()
    assert lengths[HEAD] == pytest.approx(float(np.linalg.norm(share)), rel=1e-6)


@pytest.mark.packaged
def test_residual_and_next_layer(houston):
    app = station("residual")
    before, output, after = strips(app, "residual").values()
    assert np.array_equal(before, houston.residual(LAYER)[QUERY].numpy())
    assert np.array_equal(output, houston.output(LAYER)[QUERY].numpy())
    assert np.array_equal(after, before + output)
    assert "was called with exactly this sum" in said(app)
    app = station("next")
    rows = list(strips(app, "next residual").values())
    assert np.array_equal(rows[-1], houston.residual(LAYER + 1)[QUERY].numpy())
    assert np.allclose(rows[0] + rows[1] + rows[2], rows[3], atol=1e-4)
    next(button for button in app.button if button.label == "Go on in layer 14").click().run()
    assert chosen_in(app) == {"layer": "14", "head": "8", "station": "input", "query": str(QUERY)}
    last = station("next", layer="29")
    assert last.dataframe[0].value["token"].to_list() == [token for token, _, _ in houston.next_tokens(8)]


def test_every_station_has_a_title_is_drawn_and_leads_to_a_laboratory():
    assert list(DRAW) == list(STATIONS) == list(TRY)
    assert set(TRY.values()) <= set(BY_NAME)
    assert all(meaning.endswith(".") for meaning in TERMS.values())


@pytest.mark.packaged
def test_it_begins_with_a_word_in_the_middle_and_ends_with_what_was_learned():
    app = open_app("Walkthrough", layer=str(LAYER), head=str(HEAD))
    assert any("Follow one query token through one head" in text.value for text in app.markdown)
    assert app.selectbox(key="query_field").value == 5  # "have": after it, two tokens are masked
    assert app.selectbox(key="key_field").value not in (0, 5)
    assert app.button(key="station_back").disabled
    app = open_app("Walkthrough", layer=str(LAYER), head=str(HEAD), station="next")
    assert app.header[0].value == "What you have seen"
    assert app.button(key="station_next").disabled
    assert any("You followed “have” through layer 13, head 8" in text.value for text in app.markdown)


@pytest.mark.packaged
def test_place_is_kept_between_the_walkthrough_and_the_other_pages():
    app = station("scores", query="6", key="2")
    app.switch_page("screens/pair.py").run()
    assert chosen_in(app) == {"layer": "13", "head": "8", "station": "scores", "query": "6", "key": "2"}
    app.switch_page("screens/walkthrough.py").run()
    assert app.selectbox(key="query_field").value == 6
    assert app.title[0].value == "7. The row of scores"


@pytest.mark.packaged
@pytest.mark.parametrize("prompt", ["H", "</script><b>x</b> 日本 🙂"])
def test_stations_with_one_token_and_hostile_ones(prompt):
    app = station("tokens", layer="2", head="1")
    app.text_area[0].set_value(prompt)
    next(button for button in app.button if button.label == "Run").click().run()
    for number, (name, title) in enumerate(STATIONS.items(), start=1):
        assert app.title[0].value == f"{number}. {title}"
        assert not app.exception, name
        assert not app.error, name
        if number < len(STATIONS):
            app.button(key="station_next").click().run()


# -- what is measured, and what must be noticed ---------------------------------------------------------------------


def test_around_shows_one_token_of_one_layer(tmp_path):
    trace = entry("llama", tmp_path)
    last = len(trace.layers) - 1
    for layer, position in [(0, 3), (last, 11)]:
        found = trace.model.passes.residual_stream(trace.tokens.ids, trace.layers[layer], position)
        assert torch.equal(found.embedding, trace.embedding[position])
        assert torch.equal(found.residual, trace.residual(layer)[position])
        assert torch.equal(found.input, trace.input(layer)[position])
        assert torch.equal(found.output, trace.output(layer)[position])
        assert found.added_to == "post_attention_layernorm"
        assert (found.next_residual is None) == (layer == last)
    assert torch.equal(
        trace.model.passes.residual_stream(trace.tokens.ids, trace.layers[0], 3).next_residual, trace.residual(1)[3]
    )


@pytest.mark.packaged
def test_where_nothing_receives_the_sum_no_sum_is_drawn(monkeypatch, houston):
    found = token_vectors.residual_stream(houston, LAYER, QUERY)
    monkeypatch.setattr(token_vectors, "residual_stream", lambda *_: replace(found, added_to=""))
    shared.start_anew()
    app = station("residual")
    assert list(strips(app, "residual")) == ["residual of 7 ␣problem before layer 13", "attention output"]
    assert "No part of this block was called with" in said(app)
    between = list(strips(station("next"), "next residual").values())
    assert np.allclose(between[0] + between[1], between[2], atol=1e-4)
    shared.start_anew()


@pytest.mark.parametrize("name", ["gemma2", "gpt_neox", "cohere"])
def test_a_sum_that_the_model_does_not_make_is_not_claimed(name, tmp_path):
    """A norm before it is added, or a feed-forward network beside it: then no part receives the sum."""
    trace = entry(name, tmp_path)
    assert trace.model.passes.residual_stream(trace.tokens.ids, trace.layers[0], 3).added_to == ""


def test_a_scaled_embedding_is_recognised(tmp_path):
    trace = entry("gemma2", tmp_path)
    found = token_vectors.residual_stream(trace, 0, 3)
    row = token_vectors.look_up(trace, 3, found.embedding)
    width = len(found.embedding)
    assert not row.same
    assert row.factor == pytest.approx(width**0.5, rel=1e-2)  # gemma multiplies by the root of d_model
    changed = found.embedding.copy()
    changed[0] += 0.5
    assert np.isnan(token_vectors.look_up(trace, 3, changed).factor)


def test_a_matrix_that_is_not_all_of_it_is_noticed(tmp_path):
    """qwen2 adds biases to query, key and value, qwen3 normalises queries and keys: W · x alone is not the vector."""
    for name, differing in (("qwen2", (True, True, True)), ("qwen3", (True, True, False)), ("llama", (False,) * 3)):
        trace = entry(name, tmp_path / name)
        if name == "qwen2":
            with torch.no_grad():
                for parameter_name, parameter in trace.model.model.named_parameters():
                    if parameter_name.endswith("bias"):
                        parameter.add_(0.5)
            trace = trace.model.trace(tiny.ids(12), keep=("input",))
        received = token_vectors.residual_stream(trace, 1, 5).input
        table = token_vectors.made_vectors(trace, 1, 0, 5, received)
        assert tuple(table["differing"] > 0) == differing, name


@pytest.mark.packaged
def test_a_changed_weight_is_noticed_in_the_output(houston):
    library = token_vectors.residual_stream(houston, LAYER, QUERY).output
    good = shares.output(houston, LAYER, QUERY, library)
    assert good.why_not == ""
    wrong = library.copy()
    wrong[100] += 1e-4
    assert "do not add up" in shares.output(houston, LAYER, QUERY, wrong).why_not


@pytest.mark.packaged
def test_the_rest_of_a_long_row_is_added_up(houston):
    found = walkthrough.weighted_values(houston, LAYER, HEAD, QUERY, most=3)
    weights = houston.weights(LAYER, HEAD)[QUERY]
    assert found.positions == sorted(weights.argsort(descending=True)[:3].tolist())
    assert found.rest_weight + found.weights.sum() == pytest.approx(1, abs=1e-6)
    assert np.allclose(found.values.sum(0) + found.rest, found.context, atol=1e-6)


def test_a_trace_without_its_model_says_so(tmp_path):
    trace = entry("llama", tmp_path)
    opened = inspector.open_trace(trace.save(tmp_path / "trace.safetensors"))
    for call in (lambda: token_vectors.residual_stream(opened, 0, 1), lambda: token_vectors.matrices(opened, 0, 0)):
        with pytest.raises(InspectorError, match="opened from a file"):
            call()
    row = walkthrough.with_exponentials(score_breakdown.row(opened, 0, 0, 5))
    assert len(row) == 6  # what does not need the model works


@pytest.mark.packaged
def test_in_all_heads_of_llama_the_matrices_are_all(smollm):
    """Not one of the 270 heads is said to add a bias or normalise, at a token in the middle or at the last, in turn."""
    trace = smollm.trace("Houston, we have a problem", keep=("input",))
    differing = {
        (layer, head, query, name): count
        for layer in range(30)
        for head in range(9)
        for query in ((3, 7)[(layer + head) % 2],)
        for name, count in token_vectors.made_vectors(trace, layer, head, query, trace.input(layer)[query].numpy())[
            ["vector", "differing"]
        ].itertuples(index=False)
        if count
    }
    assert differing == {}
    assert {token_vectors.beyond_the_matrices(trace, layer) for layer in range(30)} == {""}


@pytest.mark.parametrize(
    ("kind", "settings", "said", "vectors"),
    [
        ("llama", {}, "", 0),
        ("qwen2", {}, "adds a bias to query, key and value", 3),
        ("qwen3", {}, "normalises query and key", 2),
        ("olmo2", {}, "normalises query and key", 2),
        ("olmo", {"clip_qkv": 0.5}, "limits numbers to ±0.5", 3),
        ("qwen3", {"attention_bias": True}, "adds a bias to query, key and value and normalises query and key", 3),
        ("gemma3_text", {}, "normalises query and key", 2),
    ],
)
def test_what_a_layer_does_beside_its_matrices_is_its_specs_word(tmp_path, kind, settings, said, vectors):
    config = AutoConfig.for_model(kind, **{**tiny.SIZES, "head_dim": 16, **settings})
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=0.5 if parameter.ndim == 1 else 0.0, std=0.3)
    model.save_pretrained(tmp_path)
    entries.word_tokenizer(tmp_path)
    trace = inspector.load(tmp_path).trace(tiny.ids(12), keep=("input",))
    assert token_vectors.beyond_the_matrices(trace, 1) == said
    table = token_vectors.made_vectors(trace, 1, 1, 5, trace.input(1)[5].numpy())
    assert int((table["differing"] > 0).sum()) == vectors


def test_a_bias_of_zeros_is_a_bias_and_a_changed_weight_differs(tmp_path):
    """The words come from the spec, the count from the numbers: neither decides for the other."""
    fresh = AutoModelForCausalLM.from_config(AutoConfig.for_model("qwen2", **tiny.SIZES))  # its biases are 0
    fresh.save_pretrained(tmp_path)
    entries.word_tokenizer(tmp_path)
    trace = inspector.load(tmp_path).trace(tiny.ids(12), keep=("input",))
    assert token_vectors.beyond_the_matrices(trace, 0) == "adds a bias to query, key and value"
    received = trace.input(0)[5].numpy()
    assert not token_vectors.made_vectors(trace, 0, 0, 5, received)["differing"].any()
    assert token_vectors.made_vectors(trace, 0, 0, 5, received * 1.001)["differing"].all()

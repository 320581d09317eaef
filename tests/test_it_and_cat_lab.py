"""The laboratory "it → cat": the toy against numbers worked out by hand, the ranking against the trace, the page."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tiny
import torch
from learn_app import open_lab
from screen_app import chosen_in, field, payloads, whole
from streamlit.testing.v1 import AppTest

from inspector.errors import InspectorError
from inspector.learn import toy
from inspector.ui import state
from reimpl.attention import attention_weights, context_vectors, scaled_scores

pytestmark = pytest.mark.packaged


@pytest.fixture(scope="module")
def cat(smollm):
    return smollm.trace(toy.SENTENCE)


def test_the_toy_by_hand():
    made = toy.compute_toy()
    # .9·.8 + .1·.2 + 0·0 + .2·.1 + .3·.3 and .9·.1 + .1·.3 + 0·.2 + .2·0 + .3·.4
    assert made.unscaled.scores == pytest.approx([0.24, 0.85], abs=1e-15)
    e = math.exp(0.85) / (math.exp(0.85) + math.exp(0.24))
    assert made.unscaled.weights == pytest.approx([1 - e, e], abs=1e-15)
    assert e == pytest.approx(0.648, abs=5e-4)  # not the assumed 0.70
    assert made.scaled.weights[1] == pytest.approx(1 / (1 + math.exp(-0.61 / math.sqrt(5))), abs=1e-15)
    scale = toy.scale_for(made, toy.ASSUMED)
    assert 1 / (1 + math.exp(-0.61 * scale)) == pytest.approx(toy.ASSUMED)


def test_the_toy_is_the_attention_of_the_models():
    query, key, value = (
        torch.tensor([[toy.VECTORS[f"{kind}_{word}"] for word in toy.KEYS]], dtype=torch.float64) for kind in "qkv"
    )
    weights = attention_weights(scaled_scores(query, key, scale=5**-0.5), None, precision=torch.float64)
    context = context_vectors(weights, value)[0]
    for at, word in enumerate(toy.KEYS):
        made = toy.compute_toy(query=word)
        assert made.scaled.weights == pytest.approx(weights[0, at].tolist(), abs=1e-15)  # float64, two terms
        assert made.scaled.context == pytest.approx(context[at].tolist(), abs=1e-15)


def test_vectors_of_different_lengths_are_refused():
    with pytest.raises(InspectorError, match="k_cat has 2 numbers and q_it has 5"):
        toy.compute_toy({**toy.VECTORS, "k_cat": (1.0, 2.0)})
    with pytest.raises(InspectorError, match="v_it has 5 numbers and v_cat has 1"):
        toy.compute_toy({**toy.VECTORS, "v_cat": (1.0,)})
    assert toy.scale_for(toy.compute_toy({**toy.VECTORS, "k_cat": toy.VECTORS["k_it"]}), 0.7) is None


def test_the_ranking_is_the_traces_weights(cat):
    query, key = 7, 1
    assert (cat.tokens.labels[query], cat.tokens.labels[key]) == ("␣it", "␣cat")
    frame = toy.ranking(cat, query, key)
    assert len(frame) == 30 * 9
    for row in frame.iloc[::17].itertuples():
        weights = cat.weights(row.layer, row.head, queries=slice(query, query + 1))[0]
        assert row.weight == weights[key].item()  # the same functions on the same numbers
        assert row.place == int((weights >= weights[key]).sum())
        assert row.strongest == int(weights.argmax())
    assert (np.diff(frame["weight"]) <= 0).all()
    assert frame["rank"].to_list() == list(range(1, 271))
    first = frame.iloc[0]
    assert (first["layer"], first["head"]) == (13, 8)
    other = toy.ranking(cat, query, 5)  # a control: another key token gives another order
    assert (other.iloc[0]["layer"], other.iloc[0]["head"], other.iloc[0]["weight"]) != tuple(
        first[["layer", "head", "weight"]]
    )
    assert toy.head_map(cat, frame)[13, 8] == np.float32(first["weight"])


def test_tokens_that_are_not_there_or_not_seen_are_refused(cat):
    with pytest.raises(InspectorError, match="no query token 11: this prompt has tokens 0 to 10"):
        toy.ranking(cat, 11, 0)
    with pytest.raises(InspectorError, match="Query token 1 may not attend to key token 7 in any layer"):
        toy.ranking(cat, 1, 7)


def test_a_word_may_be_several_tokens(houston):
    assert toy.word_of(houston.tokens, 1) == (0, 1, 2)


@pytest.mark.parametrize("tiny_model", ["mistral", "gemma2"], indirect=True)
def test_keys_that_some_layer_lets_the_query_see(tiny_model):
    trace = tiny_model.trace(tiny.ids(12))
    windows = [info.window for info in trace.layers]
    first = 0 if None in windows else 12 - max(windows)
    assert toy.visible(trace, 11) == list(range(first, 12))
    frame = toy.ranking(trace, 11, toy.visible(trace, 11)[0])
    assert len(frame) == 12


# -- the page ------------------------------------------------------------------------------------------------------


def test_the_toy_on_the_page_is_computed_and_follows_what_is_typed():
    app = open_lab("it_and_cat")
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown["Score it · cat"] == "0.85"
    assert shown["Weight of cat"] == f"{toy.compute_toy().unscaled.weights[1]:.5g}"
    assert shown["with scores / √5"] == f"{toy.compute_toy().scaled.weights[1]:.5g}"
    app.text_input(key="k_cat").set_value("0 0 0 0 1").run()
    changed = toy.compute_toy({**toy.VECTORS, "k_cat": (0, 0, 0, 0, 1)})
    assert {metric.label: metric.value for metric in app.metric}["Score it · cat"] == "0.3"
    assert app.dataframe[1].value.iloc[1, 1:].to_list() == changed.scaled.context
    _, numbers = payloads(app, "toy")
    assert numbers.reshape(3, 5)[2].tolist() == [0, 0, 0, 0, np.float32(0.3)]
    app.text_input(key="k_cat").set_value("1 2").run()
    assert "k\\_cat has 2 numbers" in app.error[0].value
    assert len(app.dataframe) == 1  # the real model is still there
    press(app, "Reset")
    assert not app.error


def test_the_page_ranks_the_heads_of_the_real_model(cat):
    app = open_lab("it_and_cat")
    press(app, f"Run “{toy.SENTENCE}”")
    assert not app.exception
    assert field(app, "prompt").value == toy.SENTENCE
    assert (app.selectbox(key="query_field").value, app.selectbox(key="key_field").value) == (7, 1)
    frame = toy.ranking(cat, 7, 1)
    table = app.dataframe[0].value
    assert table["weight"].to_list() == frame["weight"].to_list()
    assert table["most"].iloc[0] == "1 ␣cat"
    header, numbers = payloads(app, "head_map")
    assert np.array_equal(whole(header, numbers), toy.head_map(cat, frame).T)
    assert any("layer 13, head 8 gives the largest" in text.value for text in app.markdown)
    app.selectbox(key="query_field").set_value(9).run()
    app.selectbox(key="key_field").set_value(7).run()
    assert {"query": "9", "key": "7"}.items() <= chosen_in(app).items()
    assert app.dataframe[0].value["weight"].to_list() == toy.ranking(cat, 9, 7)["weight"].to_list()
    press(app, "Back to it → cat")
    assert app.selectbox(key="query_field").value == 7


def test_the_token_that_is_meant_is_said():
    app = open_lab("it_and_cat", query="4", key="1")
    assert any("is 3 tokens, at 0, 1 and 2; using the token 1 “ou” alone" in text.value for text in app.caption)


@pytest.mark.parametrize("tiny_model", ["grouped"], indirect=True)
def test_one_token_alone_looks_at_itself(tiny_model, tmp_path):
    app = open_lab("it_and_cat", request=state.Request(str(tmp_path), "w1"))
    assert not app.error
    assert set(app.dataframe[0].value["weight"]) == {1.0}


def press(app: AppTest, label: str) -> None:
    next(button for button in app.button if button.label == label).click().run()

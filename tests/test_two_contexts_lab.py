"""One word in two contexts: distances against the library's own hidden states, and the page's numbers against both."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from learn_app import open_lab
from screen_app import payloads

import inspector
from inspector.coverage import tiny as types
from inspector.errors import InspectorError
from inspector.learn import context_controls, contexts

FIRST, SECOND = contexts.EXAMPLES[0].first, contexts.EXAMPLES[0].second


@pytest.fixture(scope="module")
def pair(smollm):
    """Both prompts' traces, and where the word stands in each."""
    first, second = smollm.trace(FIRST), smollm.trace(SECOND)
    return first, contexts.find(first.tokens, "have").last, second, contexts.find(second.tokens, "have").last


@pytest.mark.packaged
def test_distances_are_those_of_the_librarys_hidden_states(smollm, pair):
    first, at, second, other = pair
    assert (at, other) == (3, 5)
    found = contexts.residuals(first, at, second, other)
    with torch.inference_mode():
        states = [
            smollm.model(torch.tensor([trace.tokens.ids]), output_hidden_states=True).hidden_states
            for trace in (first, second)
        ]
    for layer in range(30):
        a, b = states[0][layer][0, at].double(), states[1][layer][0, other].double()
        row = found.iloc[layer]
        assert row["cosine"] == pytest.approx(torch.cosine_similarity(a, b, dim=0).item(), abs=1e-12)
        assert row["distance"] == pytest.approx(2 * torch.dist(a, b).item() / (a.norm() + b.norm()).item(), abs=1e-12)
        assert row["differing"] == int((a != b).sum())


@pytest.mark.packaged
def test_the_same_token_begins_at_distance_zero_and_moves(pair):
    first, at, second, other = pair
    found = contexts.residuals(first, at, second, other)
    assert tuple(found.loc[0, ["cosine", "distance", "differing"]]) == (1, 0, 0)
    assert (found.loc[1:, "distance"] > 0.2).all()
    assert contexts.inputs(first, at, second, other).loc[0, "differing"] == 0


@pytest.mark.packaged
def test_control_the_same_prompt_twice_is_zero_everywhere(pair):
    first, at, *_ = pair
    assert not context_controls.repeated(first, at)[["distance", "differing"]].to_numpy().any()


@pytest.mark.packaged
def test_another_meaning_is_farther_than_the_same_meaning(smollm):
    """What the ready examples claim: lamp and weight lie apart more than lamp and lamp. Each in several sentences."""
    lamps = ["He switched on the light", "The lamp gave a warm light", "They saw a bright light"]
    weights = ["The feather is very light", "My bag was surprisingly light"]
    traces = [smollm.trace(text, keep=("residual",)) for text in lamps + weights]
    at = [contexts.find(trace.tokens, "light").last for trace in traces]
    mean = np.array(
        [
            [contexts.residuals(one, i, other, j)["distance"].mean() for other, j in zip(traces, at, strict=True)]
            for one, i in zip(traces, at, strict=True)
        ]
    )
    alike = [mean[0, 1], mean[0, 2], mean[1, 2], mean[3, 4]]
    assert max(alike) < mean[:3, 3:].min()
    examples = {example.title: example for example in contexts.EXAMPLES}
    assert examples["light: lamp and weight"].first == examples["light: lamp and lamp"].first == lamps[0]


@pytest.mark.packaged
def test_position_alone_changes_nothing_where_rope_turns(pair):
    first, at, *_ = pair
    far = context_controls.moved(first, at, 100)
    assert far["distance"].max() < context_controls.rounding(first)
    assert far.loc[5, "differing"] > 0  # it was another run, at other positions


def test_position_alone_counts_where_it_is_learned_and_is_refused_beyond_the_last(tmp_path):
    trace = inspector.load(types.save(types.types()["gpt2"], tmp_path)).trace(tiny.ids(6, vocabulary=64))
    moved = context_controls.moved(trace, 3, 2)
    assert moved["distance"].min() > 10 * context_controls.rounding(trace)  # from the embedding on
    with pytest.raises(InspectorError, match=r"Position \d+ does not exist: .* take a shorter prompt\."):
        context_controls.moved(trace, 3, 10_000)


@pytest.mark.packaged
def test_cut_to_one_position(smollm, pair):
    found, position, texts = context_controls.at_one_position(*pair)
    assert (position, texts) == (3, (FIRST, "ston, we have"))
    again = smollm.trace(list(pair[2].tokens.ids[2:]))
    assert found.equals(contexts.residuals(pair[0], 3, again, 3))
    with pytest.raises(InspectorError, match="cannot be brought"):
        context_controls.cut_to(pair[0], 3, 5)


@pytest.mark.packaged
def test_where_a_word_stands(smollm):
    tokens = smollm.trace("Houston: Light, light and lightning; it is light. 日本").tokens
    last = max(i for i, label in enumerate(tokens.labels) if label == "␣light")
    assert contexts.find(tokens, " light ").last == contexts.find(tokens, "LIGHT").last == last
    assert tokens.labels[contexts.find(tokens, "Light").last] == "␣Light"  # written so only once
    houston = contexts.find(tokens, "Houston")
    assert houston.last > houston.first  # several tokens: the last has seen the whole word
    assert contexts.find(tokens, "日本").last == len(tokens) - 1
    for word in ("lightn", "moon", "ight"):
        with pytest.raises(InspectorError, match=f"“{word}” does not occur in"):
            contexts.find(tokens, word)
    with pytest.raises(InspectorError, match="No word is typed"):
        contexts.find(tokens, "  ")


@pytest.mark.packaged
def test_a_heads_vectors_and_rows_are_the_traces(pair):
    first, at, second, other = pair
    frame = contexts.vectors(first, at, second, other, 13, 8).set_index("vector")
    a, b = first.value(13, 8)[at].double(), second.value(13, 8)[other].double()
    assert frame.loc["value", "distance"] == pytest.approx(2 * ((a - b).norm() / (a.norm() + b.norm())).item())
    assert list(frame.index) == ["query before RoPE", "query after RoPE", "key before RoPE", "key after RoPE", "value"]
    row = contexts.row(second, other, 13, 8)
    assert row["weight"].to_numpy() == pytest.approx(second.weights(13, 8)[other].numpy(), abs=1e-6)  # a row by itself


@pytest.mark.packaged
def test_the_page_shows_these_numbers(pair):
    app = open_lab("two_contexts", layer="13", head="8")
    assert not app.error
    first, at, second, other = pair
    expected = contexts.residuals(first, at, second, other)
    drawn, vectors, numbers = (table.value for table in app.dataframe)
    assert set(drawn["what"]) >= {"the two prompts"}
    assert np.array_equal(numbers["residual distance"], expected["distance"])
    assert np.array_equal(numbers["residual cosine"], expected["cosine"])
    assert not numbers["control"].any()
    assert vectors.equals(contexts.vectors(first, at, second, other, 13, 8))
    for name, trace, place in (("first", first, at), ("second", second, other)):
        header, sent = payloads(app, f"contexts_row_{name}")
        assert np.array_equal(sent, trace.weights(13, 8, queries=slice(place, place + 1))[0, : place + 1].numpy())
        assert header["axis"][-1] == f"{place} ␣have"
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown["Control: one prompt run twice"] == "0"
    assert f"{expected['distance'].max():.5g}" in shown.values()
    assert any("distance 0 at layer 0" in text.value for text in app.markdown)
    assert any("8 tokens" in text.value for text in app.caption)  # the prompt on screen is still its own


@pytest.mark.packaged
def test_the_page_takes_examples_and_typed_words_and_refuses_in_a_sentence():
    app = open_lab("two_contexts")
    app.pills(key="contexts_example").set_value("light: lamp and weight").run()
    assert app.text_input(key="contexts_second").value == "The feather is very light"
    assert not app.error
    compare(app, first="Have *fun* <b>", second="we have", word="have")
    assert any("Two different tokens of the vocabulary" in text.value for text in app.markdown)
    compare(app, word="[moon](x)")
    assert "does not occur in" in app.error[0].value
    assert r"\[moon\]" in app.error[0].value
    compare(app, first=" ")
    assert "first prompt is empty" in app.error[0].value


def compare(app, **typed):
    """Type into the form's fields and press its button."""
    for name, text in typed.items():
        app.text_input(key=f"contexts_{name}").set_value(text)
    next(button for button in app.button if button.label == "Compare").click().run()
    assert not app.exception

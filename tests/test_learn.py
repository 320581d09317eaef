"""Learn: the table of pages, the cards, and two questions at each laboratory's end whose answers are true."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tiny
from learn_app import open_alone, page
from screen_app import MAIN
from streamlit.testing.v1 import AppTest

import inspector
from inspector.analysis import shares
from inspector.learn import attention_sizes, contexts, cross, dropout, four_ways, softmax, spread, toy
from inspector.learn.middle_word import content_word
from inspector.learn.questions import QUESTIONS, questions_of
from inspector.learn.shift import shifted
from inspector.learn.unmasked import mask_on_off
from inspector.ui.screens.labs import frame
from inspector.ui.screens.labs.table import BY_NAME, LABORATORIES, PAGES


def right(name: str, number: int) -> str:
    question = questions_of(name)[number]
    return question.options[question.right]


# -- the table -----------------------------------------------------------------------------------------------------


def test_every_page_of_the_table_exists_and_every_laboratory_asks_two_questions():
    assert len(BY_NAME) == len(PAGES)
    for one in PAGES:
        assert (MAIN.parent / page(one.name)).is_file()
        assert one.title
        assert one.teaser.endswith(".")
    assert [question.laboratory for question in QUESTIONS] == [one.name for one in LABORATORIES for _ in range(2)]
    for question in QUESTIONS:
        assert question.asks.endswith("?")
        assert len(set(question.options)) == len(question.options) >= 2
        assert 0 <= question.right < len(question.options)
        assert question.why.endswith(".")
    assert len({question.right for question in QUESTIONS}) == 3  # not always the first


def test_the_cards_stand_in_the_tables_order():
    app = open_alone("learn")
    teasers = [text.value for text in app.markdown]
    assert [one.teaser for one in PAGES[1:]] == [text for text in teasers if text in {one.teaser for one in PAGES}]


def test_a_link_to_a_page_that_the_app_does_not_have_is_refused():
    app = AppTest.from_file(str(MAIN.parent / "screens/learn.py"), default_timeout=60).run()
    assert len(app.exception) == 1


@pytest.mark.packaged
def test_an_answer_shows_once_an_option_is_chosen():
    app = open_alone("dropout", layer="16", head="0")
    first, second = questions_of("dropout")
    assert not any(question.why in box.value for question in (first, second) for box in [*app.success, *app.warning])
    app.radio(key="question_dropout_0").set_value(first.options[first.right]).run()
    assert [box.value for box in app.success] == [f"Right. {first.why}"]
    app.radio(key="question_dropout_1").set_value(second.options[second.right - 1]).run()
    assert [box.value for box in app.warning] == [f"Not quite. {second.why}"]


@pytest.mark.parametrize(
    ("value", "tolerance", "said"),
    [(0.0, 1e-6, "0"), (6.4963e-07, 1e-6, "0 (rounding)"), (-6e-07, 1e-6, "0 (rounding)"), (-0.25, 1e-6, "−0.25")],
)
def test_what_should_be_zero_is_said_to_be(value, tolerance, said):
    assert frame.small(value, tolerance) == said


# -- the word a page begins with -----------------------------------------------------------------------------------


@pytest.mark.packaged
@pytest.mark.parametrize(
    ("prompt", "word"),
    [
        ("Houston, we have a problem", "␣have"),
        ("The quick brown fox jumps over the lazy dog", "␣over"),
        ("The light in the hall was dim, but the box was light enough to carry.", "␣light"),
        ("a b c d e", "␣c"),
        ("H", "H"),
    ],
)
def test_a_page_begins_with_a_content_word_that_is_not_the_last_token(smollm, prompt, word):
    tokens = smollm.trace(prompt).tokens
    at = content_word(tokens)
    assert tokens.labels[at] == word
    assert at < len(tokens) - 1 or len(tokens) == 1


# -- the answers ---------------------------------------------------------------------------------------------------


@pytest.mark.packaged
def test_answers_about_scale_and_position(houston):
    row = spread.row_by_scale(houston, 16, 0, 5)
    before = softmax.shares(row["score"].tolist(), scale=0.125)
    after = softmax.shares(row["score"].tolist(), scale=1.25)
    assert max(after.weights) > max(before.weights)
    assert right("softmax", 0) == "It gets larger"
    assert spread.variance(houston, 16, 0).expected == 8
    assert houston.layers[16].scale == 1 / 8
    assert right("softmax", 1) == "8"
    moved = shifted(houston, 13, 8, 6, 100)
    assert moved.both.ok
    assert not moved.keys_only.ok
    assert right("position", 0) == "It stays the same"
    turned, plain = houston.query(13, 8), houston.query(13, 8, rope=False)
    assert np.allclose(turned.norm(dim=1), plain.norm(dim=1), rtol=1e-5)
    assert right("position", 1) == "Nothing"


@pytest.mark.packaged
def test_answers_about_mask_and_shares(houston):
    found = mask_on_off(houston, 13, 8)
    assert np.allclose(found.free.sum(1), 1, atol=1e-6)
    assert right("mask_and_heads", 0) == "1, as before"
    assert np.allclose(found.free[-1], found.masked[-1], atol=1e-6)
    assert not np.allclose(found.free[0], np.nan_to_num(found.masked[0]), atol=1e-3)
    assert right("mask_and_heads", 1) == "The last token's"
    output = shares.output(houston, 13, 6, houston.output(13)[6].numpy())
    assert output.check.ok
    assert right("head_shares", 0) == "They are added up"
    assert output.frame["length"].sum() > output.length
    assert right("head_shares", 1).startswith("No, they add up to at least")


@pytest.mark.packaged
def test_answers_about_cost_and_contexts(houston, smollm):
    sizes = attention_sizes.sizes(houston)
    assert sizes.weights(64) == 4 * sizes.weights(32)
    assert right("context", 0) == "Four times as much"
    assert sizes.cache(64) == 2 * sizes.cache(32)
    assert right("context", 1) == "Twice as much"
    example = contexts.EXAMPLES[0]
    first, second = smollm.trace(example.first), smollm.trace(example.second)
    at, other = (contexts.find(trace.tokens, example.word).last for trace in (first, second))
    drift = contexts.residuals(first, at, second, other)["distance"]
    assert drift[0] == 0 < drift[1]
    assert right("two_contexts", 0) == "Not at all"
    assert right("two_contexts", 1) == "Attention"


@pytest.mark.packaged
def test_answers_about_it_and_cat(smollm):
    ranking = toy.ranking(smollm.trace(toy.SENTENCE), 7, 1)
    assert 0 < (ranking["weight"] > 0.5).sum() < len(ranking) / 10
    assert right("it_and_cat", 1) == "No, only a few do strongly"
    assert right("it_and_cat", 0).endswith("come from “cat”")


@pytest.mark.packaged
def test_answers_about_implementations_crossing_and_dropout(houston, smollm):
    ways = four_ways.compute_four_ways(houston, 16, 0, 3, block=2)
    assert all(way.check.ok for way in ways if not way.control)
    assert any(way.check.differing for way in ways if not way.control)
    assert all(way.check.max_abs > 5 * way.check.tolerance for way in ways if way.control)
    assert right("four_ways", 0) == "They add up in another order and round differently"
    assert right("four_ways", 1) == "A difference larger than the tolerance"
    made = cross.crossed(houston, smollm.trace("The rocket is on its way to the moon."), 16, 0)
    assert made.weights.shape == (8, 10)
    assert (made.weights > 0).all()  # nothing is masked
    assert right("cross_attention", 0) == "8 × 10"
    assert right("cross_attention", 1) == "None"
    kept = dropout.dropped(np.full(64, 0.25, dtype=np.float32), 0.5, seed=0)[0]
    assert set(np.unique(kept)) == {0, 0.5}
    assert right("dropout", 0) == "It is doubled"


def test_a_finished_model_drops_nothing(tmp_path):
    from inspector.coverage import tiny as entries

    entries.save(entries.types()["llama"], tmp_path)
    found = dropout.at_inference(inspector.load(tmp_path).trace(tiny.ids(6)), 0)
    assert (found.differing, found.training) == (0, False)
    assert right("dropout", 1) == "None"
    assert math.isfinite(found.rate)

"""The measures of heads against plain loops over the trace's own weights, and the words that find them."""

import math

import pytest
import tiny

from inspector.analysis import head_scores
from inspector.analysis.head_scores import FARTHEST, MEASURES, find, ordered
from inspector.errors import InspectorError


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    return tiny.load("grouped", tmp_path_factory.mktemp("tiny")).trace(tiny.ids(30))


def by_hand(trace, layer, head):
    weights, ids, n = trace.weights(layer, head).tolist(), trace.tokens.ids, trace.n
    rows = range(1, n)
    mean = lambda numbers: sum(numbers) / len(numbers) if numbers else 0.0  # noqa: E731
    earlier = {t: [s for s in range(t) if ids[s] == ids[t]] for t in rows}
    seen = [t for t in rows if earlier[t]]
    continued = [t for t in rows if any(s + 1 <= t for s in earlier[t])]
    found = {
        "first": mean([weights[t][0] for t in rows]),
        "itself": mean([weights[t][t] for t in rows]),
        "entropy": mean([-sum(w * math.log2(w) for w in weights[t] if w > 0) for t in rows]),
        "distance": mean([sum(w * (t - s) for s, w in enumerate(weights[t])) for t in rows]),
        "same": mean([sum(weights[t][s] for s in earlier[t]) for t in seen]),
        "repeated": mean([sum(weights[t][s + 1] for s in earlier[t] if s + 1 <= t) for t in continued]),
    }
    return found | {f"back {k}": mean([weights[t][t - k] for t in range(k, n)]) for k in range(1, FARTHEST + 1)}


@pytest.mark.parametrize("strip_bytes", [64 * 2**20, 4 * 30 * 4 * 7])
def test_each_measure_is_what_a_loop_says(trace, monkeypatch, strip_bytes):
    monkeypatch.setattr("inspector.trace.trace.STRIP_BYTES", strip_bytes)
    frame = head_scores.measures(trace).set_index(["layer", "head"])
    assert len(frame) == sum(layer.heads for layer in trace.layers)
    assert frame["repeated"].max() > 0  # the prompt does repeat tokens
    for layer, head in ((0, 0), (1, 3), (2, 2)):
        for name, value in by_hand(trace, layer, head).items():
            assert frame.loc[(layer, head), name] == pytest.approx(value, abs=1e-6), name


def test_one_token_has_no_choice(trace):
    frame = head_scores.measures(trace.model.trace([5]))
    assert (frame[[measure.name for measure in MEASURES]] == 0).all(axis=None)


def test_ordering_puts_the_telling_end_first(trace):
    frame = head_scores.measures(trace)
    assert ordered(frame, find("back 1"))["back 1"].is_monotonic_decreasing
    assert ordered(frame, find("Attends narrowly"))["narrow"].is_monotonic_increasing


@pytest.mark.parametrize(
    ("words", "name"),
    [("heads that look back 1", "back 1"), ("look back 3", "back 3"), ("previous token", "back 1"),
     ("induction", "repeated"), ("Attends broadly", "entropy"), ("look widely", "entropy"), ("3 tokens back", "back 3"),
     ("attention sink", "first"), ("far away", "distance")],
)  # fmt: skip
def test_words_find_a_measure(words, name):
    assert find(words).name == name


@pytest.mark.parametrize("words", ["", "heads that hum", "look back 99"])
def test_other_words_find_none(words):
    assert find(words) is None


@pytest.mark.packaged
def test_the_real_model_has_heads_for_the_previous_token_and_for_repetitions(smollm):
    frame = head_scores.measures(smollm.trace("1 2 3 5 8 13 21 34, 1 2 3 5 8 13 21 34, 1 2 3 5 8 13"))
    assert frame["back 1"].max() > 0.7
    assert frame["repeated"].max() > 0.3


def test_wrong_types_are_refused_in_a_sentence(trace):
    with pytest.raises(InspectorError, match=r"measures needs a trace and was given str: pass what model\.trace"):
        head_scores.measures("Houston")
    with pytest.raises(InspectorError, match=r"A sample of 0 query tokens measures nothing: choose 1 or more"):
        head_scores.measures(trace, sample=0)
    with pytest.raises(InspectorError, match=r"find needs words and was given int"):
        find(3)
    with pytest.raises(InspectorError, match=r"ordered needs one of MEASURES and was given str"):
        ordered(head_scores.measures(trace), "back 1")

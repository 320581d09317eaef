"""The measures of heads against plain loops over the trace's own weights, and the words that find them."""

import math

import pytest
import tiny
import torch

from inspector.analysis import head_scores
from inspector.analysis.head_scores import FARTHEST, MEASURES, ROLES, find, ordered, role_summaries
from inspector.errors import InspectorError


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    return tiny.load("grouped", tmp_path_factory.mktemp("tiny")).trace(tiny.ids(30))


def by_hand(trace, layer, head):
    weights, ids, n = trace.weights(layer, head).tolist(), trace.tokens.ids, trace.n
    rows = range(1, n)
    mean = lambda numbers: sum(numbers) / len(numbers) if numbers else 0.0  # noqa: E731
    earlier = {t: [s for s in range(t) if ids[s] == ids[t]] for t in rows}
    copies = {t: [s for s in earlier[t] if s] for t in rows}
    seen = [t for t in rows if copies[t]]
    continued = [t for t in rows if any(s + 1 <= t for s in earlier[t])]
    found = {
        "first": mean([weights[t][0] for t in rows]),
        "itself": mean([weights[t][t] for t in rows]),
        "entropy": mean([-sum(w * math.log2(w) for w in weights[t] if w > 0) for t in rows]),
        "distance": mean([sum(w * (t - s) for s, w in enumerate(weights[t])) for t in rows]),
        "same": mean([sum(weights[t][s] for s in copies[t]) for t in seen]),
        "repeated": mean([sum(weights[t][s + 1] for s in earlier[t] if s + 1 <= t) for t in continued]),
    }
    found["local"] = mean([sum(weights[t][t - 3 : t + 1]) for t in range(4, n)])
    return found | {f"back {k}": mean([weights[t][t - k] for t in range(k + 1, n)]) for k in range(1, FARTHEST + 1)}


@pytest.mark.parametrize("strip_bytes", [64 * 2**20, 4 * 30 * 4 * 7])
def test_each_measure_is_what_a_loop_says(trace, monkeypatch, strip_bytes):
    monkeypatch.setattr("inspector.trace.trace.STRIP_BYTES", strip_bytes)
    frame = head_scores.measures(trace).set_index(["layer", "head"])
    assert len(frame) == sum(layer.heads for layer in trace.layers)
    assert frame["repeated"].max() > 0  # the prompt does repeat tokens
    for layer, head in ((0, 0), (1, 3), (2, 2)):
        for name, value in by_hand(trace, layer, head).items():
            assert frame.loc[(layer, head), name] == pytest.approx(value, abs=1e-6), name


def test_a_head_that_only_looks_at_the_first_token_has_no_other_role(trace, monkeypatch):
    """Its weight on the first token is at once weight on the previous token of token 1, on a copy, and nearby."""
    sink = torch.zeros(1, trace.n, trace.n)
    sink[..., 0] = 1.0
    monkeypatch.setattr(type(trace), "weights", lambda self, layer, head=None, *, queries=slice(None), keys=slice(None):
                        sink.expand(trace.layers[layer].heads, -1, -1)[:, queries][..., keys])  # fmt: skip
    again = trace.model.trace([5, 5, 6, 5, 7, 8, 5, 9])  # the first token occurs again
    monkeypatch.setattr(trace, "tokens", again.tokens)
    sink = sink[:, :8, :8]
    frame = head_scores.measures(again)
    assert (frame["first"] == 1).all()
    for measure in ROLES:
        assert measure.name in ("first", "repeated") or (frame[measure.name] == 0).all(), measure.name
    counts = {found.measure.role: found.count for found in role_summaries(frame, again.tokens.ids)}
    assert counts.pop("First-token sink") == len(frame)
    assert set(counts.values()) == {0}


def test_roles_are_counted_from_the_table(trace):
    frame = head_scores.measures(trace)
    for found in role_summaries(frame, trace.tokens.ids):
        scores = frame[found.measure.name]
        assert found.count == (scores >= head_scores.COUNTS_FROM).sum()
        assert found.best == scores.max()
        best = frame[(frame["layer"] == found.head[0]) & (frame["head"] == found.head[1])]
        assert best[found.measure.name].item() == found.best
    once = trace.model.trace(range(9))
    frame = head_scores.measures(once)
    unknown = [found.measure.role for found in role_summaries(frame, once.tokens.ids) if math.isnan(found.best)]
    assert unknown == ["Induction", "Duplicate token"]


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

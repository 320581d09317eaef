"""The message of the Explore screen against the trace that it is made from: weights, small pictures, scores, tokens."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

import inspector
from inspector.analysis import head_scores, maps
from inspector.analysis.head_scores import MEASURES, ROLES
from inspector.analysis.thumbnails import MASKED, draw_thumbnails
from inspector.coverage import table
from inspector.coverage import tiny as every_type
from inspector.errors import InspectorError
from inspector.trace.trace import Trace
from inspector.ui.server import explore
from inspector.ui.state import Request
from inspector.views import grid_figure, header_types
from inspector.views.explore_message import ALL_UP_TO, prompt_message
from inspector.views.payload import decode

NAME = "0123456789abcdef"
LENGTHS = {"grouped": (1, 2, 40, ALL_UP_TO, ALL_UP_TO + 1), "mistral": (40,), "gemma2": (23,), "multi-query": (3,)}
OTHERS = {"gpt_oss": (21,), "laguna": (20,)}  # an attention sink in each head; another number of heads in each layer
CASES = [(kind, n) for kind, lengths in {**LENGTHS, **OTHERS}.items() for n in lengths]


@pytest.fixture(scope="module")
def traces(tmp_path_factory) -> dict[tuple[str, int], Trace]:
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        layers = table.OVERRIDES["laguna"]
        heads = [4, 8, 6, 2][: len(layers["num_attention_heads_per_layer"])]
        patch.setitem(table.OVERRIDES, "laguna", {**layers, "num_attention_heads_per_layer": heads})
        for kind, lengths in {**LENGTHS, **OTHERS}.items():
            folder = tmp_path_factory.mktemp("tiny")
            save = every_type.save(every_type.types()[kind], folder) if kind in OTHERS else tiny.save(kind, folder)
            model = inspector.load(save)
            found |= {(kind, n): model.trace(tiny.ids(n)) for n in lengths}
    return found


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]} {case[1]}")
def trace(request, traces) -> Trace:
    return traces[request.param]


def made(trace, *, following=None, selected=(0, 0), **pictures):
    whole = {"pictures": draw_thumbnails(trace), "without_first": draw_thumbnails(trace, without_first=True)}
    return prompt_message(
        trace,
        name=NAME,
        **{**whole, **pictures},
        scores=head_scores.measures(trace),
        following=trace.next_tokens_after_each(5) if following is None else following,
        selected=selected,
    )


def parts(message):
    """Header, the two kinds of small pictures, and all heads' lower triangles where they were sent."""
    header, body = decode(message, np.uint8)
    count = sum(header["heads"])
    size = count * header["side"] ** 2
    small = body[: 2 * size].reshape(2, count, header["side"], header["side"])
    n = len(header["tokens"])
    weights = (
        np.frombuffer(body[2 * size :].tobytes(), "<f2").reshape(count, n * (n + 1) // 2) if header["map"] else None
    )
    return header, small, weights, len(body) - 2 * size


def test_the_header_says_what_is_declared_and_nothing_that_json_lacks(trace):
    message = made(trace)
    length = int.from_bytes(message[:4], "little")
    text = message[4 : 4 + length].decode("ascii")
    json.loads(text, parse_constant=lambda name: pytest.fail(f"JSON has no {name}"))
    header, *_ = parts(message)
    assert header.keys() == header_types.ExploreHeader.__annotations__.keys()
    for measure in header["measures"]:
        assert measure.keys() == header_types.ExploreMeasure.__annotations__.keys()
    if header["map"] is not None:
        assert header["map"].keys() == header_types.MapHeader.__annotations__.keys()
        assert (header["map"]["shape"], header["map"]["packing"]) == ([trace.n, trace.n], "lower")
    assert header["tokens"] == list(trace.tokens.labels)
    assert (header["heads"], header["groups"]) == (
        [layer.heads for layer in trace.layers],
        [layer.kv_heads for layer in trace.layers],
    )
    assert header["join"] == trace.n
    assert (header["pooled"], header["words"]) == (False, len(trace.tokens.words))
    assert (header["counts_from"], header["most_scaled"]) == (head_scores.COUNTS_FROM, maps.MOST_SCALED)
    assert header["id"] == NAME


def test_every_heads_weights_travel_in_float16_without_the_upper_triangle(trace):
    header, _, weights, left = parts(made(trace))
    if trace.n > ALL_UP_TO:
        assert (header["map"], left) == (None, 0)
        return
    assert header["map"] is not None
    assert len(weights) == sum(header["heads"])
    rows, columns = np.tril_indices(trace.n)
    heads = iter(weights)
    for layer in trace.layers:
        for head in range(layer.heads):
            allowed = trace.allowed(layer.index, head).numpy()
            exact = np.where(allowed, trace.weights(layer.index, head).numpy(), np.nan).astype(np.float16)
            np.testing.assert_array_equal(next(heads), exact[rows, columns])
            assert not allowed[columns[rows != columns], rows[rows != columns]].any()  # what is left out is masked


def test_the_cases_are_what_they_are_meant_to_be(traces):
    assert traces["mistral", 40].layers[0].window == 7
    assert traces["gemma2", 23].layers[0].softcap == 2.0
    assert traces["gpt_oss", 21].layers[0].sinks
    assert len({layer.heads for layer in traces["laguna", 20].layers}) > 1
    assert np.isnan(parts(made(traces["mistral", 40]))[2]).any()
    assert not np.isnan(parts(made(traces["grouped", 40]))[2]).any()
    sums = np.nansum(parts(made(traces["gpt_oss", 21]))[2][0][-21:].astype(float))
    assert sums < 0.999  # the sink has the rest


def test_small_pictures_scores_and_next_tokens_are_the_traces(trace):
    header, small, _, _ = parts(made(trace))
    np.testing.assert_array_equal(small[0], draw_thumbnails(trace).pixels)
    np.testing.assert_array_equal(small[1], draw_thumbnails(trace, without_first=True).pixels)
    frame = head_scores.measures(trace)
    assert [each["name"] for each in header["measures"]] == [
        *(role.name for role in ROLES),
        *(measure.name for measure in MEASURES if not measure.role),
    ]
    for measure in header["measures"]:
        np.testing.assert_allclose(measure["scores"], frame[measure["name"]], atol=5.1e-5)
    for measure, role in zip(header["measures"], head_scores.role_summaries(frame, trace.tokens.ids), strict=False):
        if math.isnan(role.best):
            needs = "needs a repeat" if measure["repeats"] else "needs more tokens"
            assert (measure["best"], measure["note"]) == (-1, needs)
            continue
        assert measure["scores"][measure["best"]] == max(measure["scores"])
        assert f"best score {role.best:.2f}" in measure["note"]
    assert header["next_from"] == 0
    for row, expected in zip(header["next"], trace.next_tokens_after_each(5), strict=True):
        assert [label for label, _ in row] == [label for label, *_ in expected]
        np.testing.assert_allclose([share for _, share in row], [share for *_, share in expected], atol=5.1e-7)


def test_next_tokens_of_the_last_ones_alone_say_from_where_on(traces):
    trace = traces["grouped", 40]
    for count in (0, 1, 7):
        header, *_ = parts(made(trace, following=trace.next_tokens_after_each(5)[40 - count :]))
        assert (len(header["next"]), header["next_from"]) == (count, 40 - count)


def test_a_window_and_a_sink_are_said(traces):
    assert parts(made(traces["mistral", 40]))[0]["notes"] == ["looks back 7 tokens at most"] * 3
    assert "has an attention sink of its own" in parts(made(traces["gpt_oss", 21]))[0]["notes"][0]
    assert set(parts(made(traces["grouped", 40]))[0]["notes"]) == {""}


@pytest.mark.parametrize("hidden", [(1,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("n", [20, ALL_UP_TO + 1])
def test_layers_whose_weights_cannot_be_computed_are_said_and_the_others_shown(tmp_path, hidden, n):
    trace = tiny.load("grouped", tmp_path).trace(tiny.ids(n))
    whole, pictures, *_ = parts(made(trace))
    for layer in hidden:
        trace.stored[layer].unexplained = "it adds something"
    header, small, weights, _ = parts(made(trace))
    for layer in range(3):
        heads = slice(4 * layer, 4 * layer + 4)
        for measure, before in zip(header["measures"], whole["measures"], strict=True):
            assert measure["scores"][heads] == ([None] * 4 if layer in hidden else before["scores"][heads])
            assert measure["best"] // 4 not in hidden
        assert (small[:, heads] == MASKED).all() if layer in hidden else (small[:, heads] == pictures[:, heads]).all()
        assert header["known"][layer] == (layer not in hidden)
        assert header["notes"][layer] == ("its weights cannot be shown: it adds something" if layer in hidden else "")
        if weights is not None:
            assert np.isnan(weights[heads]).all() == (layer in hidden)
    with pytest.raises(InspectorError, match="it adds something"):  # a figure would show them as masked
        grid_figure(trace).svg  # noqa: B018


def test_logits_that_are_no_numbers_are_said_and_sent_to_no_browser(tmp_path):
    model = tiny.load("grouped", tmp_path)
    with torch.no_grad():
        model.model.lm_head.weight *= 3e38
    trace = model.trace(tiny.ids(9))
    for ask in (trace.next_tokens, trace.next_tokens_after_each):
        with pytest.raises(InspectorError, match=r"logits in .* hold infinite numbers or NaN"):
            ask(5)


def test_a_prompt_of_more_than_1024_tokens_is_sampled_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(tiny.SIZES, "max_position_embeddings", 1200)
    folder = tiny.save("grouped", Path(tmp_path))
    request = Request(str(folder), " ".join(f"w{i}" for i in tiny.ids(1100)))
    header, small, weights, left = parts(explore.message(request, (1, 2)))
    assert (weights, left, header["map"], header["selected"], header["pooled"]) == (None, 0, None, [1, 2], True)
    assert re.match(r"drawn from 6\d of 1,100 query tokens", header["sampled"])
    assert (header["side"], header["pool"]) == (small.shape[-1], -(-1100 // header["side"]))
    assert (len(header["next"]), header["next_from"]) == (1, 1099)

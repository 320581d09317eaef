"""What the server answers to a browser's question for one head's exact numbers: those of `maps`, bit for bit."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import tiny
from head_questions import NAME, asked

from inspector.analysis import maps
from inspector.ui.server import explore, traces
from inspector.ui.state import SCALES, SHOWS, SINKS, UNITS, Request
from inspector.views import header_types
from inspector.views.payload import decode

LOOKS = list(itertools.product(SHOWS, SCALES, SINKS, UNITS))


def numbers(request, text):
    """An answer's header and its map, [rows, columns]."""
    name = explore.name_of(request, traces.trace(request))
    answer = explore.answer(request, asked(text, name))
    assert answer is not None, text
    header, flat = decode(answer, np.float32)
    assert header.keys() == header_types.HeadAnswer.__annotations__.keys()
    assert header["map"].keys() == header_types.MapHeader.__annotations__.keys()
    assert (header["id"], header["asked"]) == (name, asked(text, name).asked)
    assert header["asked"].keys() == header_types.HeadAsked.__annotations__.keys()
    length = int.from_bytes(answer[:4], "little")
    json.loads(answer[4 : 4 + length], parse_constant=lambda word: pytest.fail(f"JSON has no {word}"))
    rows, columns = header["map"]["shape"]
    found = np.full((rows, columns), np.nan, np.float32)
    place = np.tril_indices(rows) if header["map"]["packing"] == "lower" else np.indices((rows, columns)).reshape(2, -1)
    found[tuple(place)] = flat
    return header["map"], found


def expected(trace, layer, head, kind, sink, unit):
    without = sink == "without"
    if unit == "words" and kind == "weights" and trace.n <= maps.EXACT_UP_TO:
        return maps.by_words(trace, layer, head, trace.tokens.words, without_first=without)
    return maps.picture(trace, layer, head, kind=kind, without_first=without).values


@pytest.fixture(scope="module")
def requests(tmp_path_factory):
    prompt = " ".join(f"w{i}" for i in tiny.ids(30))
    kinds = ("grouped", "mistral", "gemma2")
    return {kind: Request(str(tiny.save(kind, tmp_path_factory.mktemp("tiny"))), prompt) for kind in kinds}


# -- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["3.0", "0.4", "2.4", "9999.0", "0.9999", "9999.9999"])
@pytest.mark.parametrize("unit", list(UNITS))
def test_a_head_that_does_not_exist_has_no_numbers(requests, head, unit):
    name = explore.name_of(requests["grouped"], traces.trace(requests["grouped"]))
    assert explore.answer(requests["grouped"], asked(f"{head} weights sqrt with {unit}", name)) is None


@pytest.mark.parametrize(("show", "scale", "sink", "unit"), LOOKS)
@pytest.mark.parametrize("kind", ["grouped", "mistral", "gemma2"])
def test_an_answers_numbers_are_those_of_the_maps(requests, kind, show, scale, sink, unit):
    request = requests[kind]
    trace = traces.trace(request)
    for layer, head in ((0, 0), (1, 3), (2, 1)):
        header, found = numbers(request, f"{layer}.{head} {show} {scale} {sink} {unit}")
        right = expected(trace, layer, head, show, sink, unit)
        assert right.dtype == np.float32
        assert np.array_equal(np.isnan(found), np.isnan(right))
        assert found[~np.isnan(found)].tobytes() == right[~np.isnan(right)].tobytes()  # bit for bit
    assert header["label"].startswith(f"{SHOWS[show]} of layer 2, head 1")
    assert header["palette"] == ("diverging" if show == "scaled_scores" else "sequential")
    if show != "scaled_scores":
        assert header["scale"] == scale
        assert ("without the first token" in header["legend"]) == (sink == "without")


@pytest.mark.packaged
def test_words_of_several_tokens_are_rows_that_nobody_chooses_as_tokens():
    request = Request("smollm2-135m-instruct", "Houston, we have a problem")
    trace = traces.trace(request)
    header, found = numbers(request, "16.0 weights sqrt with words")
    assert found.shape == (len(trace.tokens.words),) * 2 != (trace.n, trace.n)
    assert header["rows"] == list(trace.tokens.word_labels())
    assert (header["picks"], header["join"]) == (False, None)
    assert header["label"].endswith(", by words")
    assert np.array_equal(found, maps.by_words(trace, 16, 0, trace.tokens.words), equal_nan=True)
    header, found = numbers(request, "16.0 scaled_scores sqrt with words")  # there are none of words
    assert (header["picks"], found.shape) == (True, (trace.n, trace.n))


def test_of_a_long_prompt_cells_are_pooled(tmp_path, monkeypatch):
    monkeypatch.setitem(tiny.SIZES, "max_position_embeddings", 1200)
    request = Request(str(tiny.save("mistral", tmp_path)), " ".join(f"w{i}" for i in tiny.ids(1101)))
    trace = traces.trace(request)
    for show, sink, unit in (
        ("weights", "with", "tokens"),
        ("weights", "without", "words"),
        ("scaled_scores", "with", "tokens"),
    ):
        header, found = numbers(request, f"1.2 {show} sqrt {sink} {unit}")
        assert (header["pool"], header["shape"], header["picks"]) == ([2, 2], [551, 551], True)
        assert np.array_equal(found, expected(trace, 1, 2, show, sink, unit), equal_nan=True)


def test_what_the_model_wrote_begins_where_the_prompt_ends(requests):
    prompt = requests["grouped"].prompt
    header, found = numbers(Request(requests["grouped"].model, prompt, generate=4), "1.2 weights sqrt with tokens")
    assert (header["join"], found.shape) == (30, (34, 34))
    assert numbers(requests["grouped"], "1.2 weights sqrt with tokens")[0]["join"] is None


@pytest.mark.parametrize("show", list(SHOWS))
def test_a_layer_whose_weights_cannot_be_computed_has_no_numbers(tmp_path, show):
    request = Request(str(tiny.save("grouped", tmp_path)), "w1 w2 w3")
    traces.trace(request).stored[1].unexplained = "it adds something"
    name = explore.name_of(request, traces.trace(request))
    assert explore.answer(request, asked(f"1.0 {show} sqrt with tokens", name)) is None
    assert explore.answer(request, asked(f"2.0 {show} sqrt with tokens", name)) is not None


def test_a_question_about_another_prompt_is_not_answered(requests):
    text = "1.2 weights sqrt with tokens"
    names = {kind: explore.name_of(request, traces.trace(request)) for kind, request in requests.items()}
    names["written"] = explore.name_of(
        longer := Request(requests["grouped"].model, requests["grouped"].prompt, generate=2), traces.trace(longer)
    )
    assert len(set(names.values())) == len(names)
    for kind, request in {**requests, "written": longer}.items():
        for other, name in {**names, "": NAME}.items():
            assert (explore.answer(request, asked(text, name)) is not None) == (kind == other)

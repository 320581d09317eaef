"""The Explore screen in a notebook and in one file: the app's own script, answers as the app gives them, words where
nothing can run. What happens in a browser is asked by tests/js/own_host.test.js."""

from __future__ import annotations

import base64
import builtins
import re

import numpy as np
import pytest
import tiny
from head_questions import sent

import inspector
from inspector import views
from inspector.errors import InspectorError
from inspector.views import canvases, explorer
from inspector.views.explore_data import explore_payload, name_of_trace
from inspector.views.head_answer import answer_question
from inspector.views.head_question import read_question
from inspector.views.payload import decode

PROMPT = "w3 w14 w15 w9 w3 w14"


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    return tiny.load("grouped", tmp_path_factory.mktemp("model")).trace(PROMPT)


@pytest.fixture
def widget(trace):
    pytest.importorskip("anywidget", reason="make setup brings anywidget")
    said = []
    made = views.explore(trace, 1, 2)
    made.send = lambda content, buffers=(): said.append((content, list(buffers)))
    made.said = said
    return made


def test_the_widget_shows_the_apps_own_script_and_the_chosen_head(trace, widget):
    assert "const $explore = " in widget._esm
    assert "import " not in widget._esm.replace("@import", "")
    assert re.search(r"https?://", widget._esm + widget._css + widget._style + widget._skeleton) is None
    header, _ = decode(widget.message, np.uint8)
    assert (header["selected"], header["id"]) == ([1, 2], name_of_trace(trace))
    assert header["tokens"] == list(trace.tokens.labels)
    assert len(header["next"]) == trace.n


def test_a_question_is_answered_with_the_traces_numbers_to_the_one_who_asked(trace, widget):
    question = sent("2.3 weights sqrt with tokens", name_of_trace(trace))
    widget._asked(widget, {"view": "one", "question": question}, [])
    ((content, (answer,)),) = widget.said
    assert content == {"view": "one"}
    header, numbers = decode(answer, np.float32)
    assert header["asked"]["head"] == 3
    lower = np.tril_indices(trace.n)
    np.testing.assert_array_equal(numbers, trace.weights(2, 3).numpy()[lower])


@pytest.mark.parametrize(
    "said",
    [None, 3, [], {}, {"view": 3}, {"view": "x" * 99}, {"question": {}}],
)
def test_what_is_no_question_of_a_view_is_left_alone(widget, said):
    widget._asked(widget, said, [])
    assert widget.said == []


def test_a_wrong_question_gets_a_sentence_and_the_kernel_goes_on(trace, widget, monkeypatch):
    right = sent("0.0 weights sqrt with tokens", name_of_trace(trace))
    asked = [{**right, "head": 99}, {**right, "head": "0"}, {**right, "id": "f" * 16}, {"odd": 1}, None]
    for question in asked:
        widget._asked(widget, {"view": "v", "question": question}, [])
    assert len(widget.said) == len(asked)
    assert all(content["refused"].endswith(".") and not buffers for content, buffers in widget.said)

    def fails(*_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("inspector.views.widget.answer_question", fails)
    widget._asked(widget, {"view": "v", "question": right}, [])
    assert widget.said[-1][0]["refused"] == "This head could not be drawn (out of memory)."


def test_two_widgets_of_one_page_have_names_and_messages_of_their_own(trace, tmp_path):
    other = tiny.load("grouped", tmp_path).trace(PROMPT)
    assert name_of_trace(trace) != name_of_trace(other)


def test_where_nothing_runs_there_are_words_that_say_what_to_do(widget, monkeypatch):
    display = pytest.importorskip("IPython.display")
    shown = []
    monkeypatch.setattr(display, "display", lambda data, *, raw, metadata=None: shown.append(data))
    widget._ipython_display_()
    drawn, words = shown
    # Apart from the widget's output: nbconvert and JupyterLab choose one form of an output, and of these the widget.
    assert "application/vnd.jupyter.widget-view+json" in drawn
    assert "text/html" not in drawn
    assert drawn["text/plain"].startswith("Explorer of Trace of 6 tokens")
    assert "trust it and run the cell again" in words["text/html"]
    assert len(words["text/html"]) < 2000
    assert f'<div class="{widget._instead}">' in words["text/html"]


def test_without_anywidget_the_sentence_names_both_ways(trace, monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name.startswith("inspector.views.widget"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InspectorError, match=r"pip install 'attention-inspector\[notebook\]'.*explore_page"):
        views.explore(trace)


@pytest.mark.parametrize(("layer", "head", "said"), [(0, None, "give both, or neither"), (0, 9, "does not exist")])
def test_a_head_that_does_not_exist_is_refused(trace, layer, head, said):
    for show in (views.explore, views.explore_page):
        with pytest.raises(InspectorError, match=said):
            show(trace, layer, head)


def test_answers_are_those_of_the_app_for_each_kind_of_number(trace):
    for words in (
        "0.1 weights sqrt with tokens",
        "0.1 scaled_scores linear with tokens",
        "1.0 weighted_values log without tokens",
        "2.2 weights sqrt without words",
    ):
        answer = answer_question(trace, read_question(sent(words)))
        assert answer is not None
        assert decode(answer, np.float32)[0]["map"]["shape"][0] in (trace.n, len(trace.tokens.words))
    assert answer_question(trace, read_question(sent("9.1 weights sqrt with tokens"))) is None


# -- one file ---------------------------------------------------------------------------------------------------------


def test_the_page_asks_nothing_outside_and_holds_the_message(trace, tmp_path):
    page = views.explore_page(trace, 1, 2)
    file = page.save(tmp_path / "explore.html")
    text = file.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.findall(r"(?:src|href)=\"(?!#)", text)
    held = base64.b64decode(re.search(r'id="payload">([^<]*)<', text).group(1))
    assert held == explore_payload(trace, (1, 2))[1]


def test_a_prompt_too_long_for_one_page_is_refused(trace, monkeypatch):
    monkeypatch.setattr(explorer, "ALL_UP_TO", 4)
    with pytest.raises(InspectorError, match="has 6 tokens, and a page holds every head's weights of 4 at most"):
        views.explore_page(trace)


def test_a_trace_from_a_file_has_all_but_what_needs_the_model(trace, tmp_path):
    opened = inspector.open_trace(trace.save(tmp_path / "trace.safetensors"))
    header, _ = decode(explore_payload(opened)[1], np.uint8)
    assert header["next"] == []
    assert header["map"] is not None


def test_style_and_skeleton_are_in_the_wheel_beside_the_script():
    for name in ("widget.js", "widget.css", "own_host.js", "saved_explore.js", "explore.html"):
        assert (canvases.JS / name).is_file()

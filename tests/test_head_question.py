"""What the server makes of a browser's question for one head: a question with all its fields, or one sentence."""

from __future__ import annotations

import itertools
import json
import math

import pytest
from fuzz import TEXTS, one_sentence, tried, tries
from head_questions import NAME, asked, sent
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import InspectorError
from inspector.ui.state import SCALES, SHOWS, SINKS, UNITS
from inspector.views.head_question import FIELDS, VERSION, HeadQuestion, read_question

GOOD = sent("1.2 weights sqrt with tokens")
LOOKS = list(itertools.product(SHOWS, SCALES, SINKS, UNITS))


@pytest.mark.parametrize(("show", "scale", "sink", "unit"), LOOKS)
def test_every_choice_of_the_screen_is_a_question(show, scale, sink, unit):
    found = asked(f"29.8 {show} {scale} {sink} {unit}")
    assert found == HeadQuestion(NAME, 29, 8, show, scale, sink, unit, 0)
    assert found.asked == {"layer": 29, "head": 8, "show": show, "scale": scale, "sink": sink, "unit": unit}


def test_a_question_has_these_fields_and_no_others():
    assert read_question(GOOD) == HeadQuestion(NAME, 1, 2, "weights", "sqrt", "with", "tokens", 0)
    assert set(FIELDS) == set(GOOD)
    for name in FIELDS:
        with pytest.raises(InspectorError, match="form nothing" if name == "version" else f'unknown: "{name}"') as said:
            read_question({field: value for field, value in GOOD.items() if field != name})
        one_sentence(said.value)
    with pytest.raises(InspectorError, match='missing or unknown: "asked"'):
        read_question({**GOOD, "asked": "1.2 weights sqrt with tokens"})


NO_NUMBERS = [-1, 1.0, 1.5, True, "1", "", None, [1], {}, math.nan, math.inf, 10**400, "9" * 5000, b"1", "\u0661"]
NO_CHOICES = ["", "Weights", "weights ", "__class__", "keys", "weights\n", "\0weights", 0, None, True, ["weights"],
              {"weights": 1}, b"weights", "\ud800", "x" * 10**6]  # fmt: skip
WRONG = {
    "version": [0, VERSION + 1, float(VERSION), str(VERSION), True, None, [], {}, 10**400],
    "id": [
        "",
        NAME.upper(),
        NAME + "0",
        NAME[:-1],
        NAME + "\n",
        "g" * 16,
        "\ud800" * 16,
        "\u0660" * 16,
        16,
        None,
        [NAME],
    ],
    "layer": [*NO_NUMBERS, 10_000],
    "head": [*NO_NUMBERS, 10_000],
    "turn": [*NO_NUMBERS, 10**9],
    **dict.fromkeys(("show", "scale", "sink", "unit"), NO_CHOICES),
}  # fmt: skip


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in WRONG.items() for value in values],
                         ids=lambda value: repr(value)[:24])  # fmt: skip
def test_a_field_that_is_not_as_it_must_be_is_refused_in_one_sentence(field, value):
    with pytest.raises(InspectorError) as said:
        read_question({**GOOD, field: value})
    sentence = one_sentence(said.value)
    assert sentence.endswith("reload the page.")
    assert (f"form {VERSION}" if field == "version" else f"A question's {field} must be") in sentence
    sentence.replace("…", "").encode("ascii")


@pytest.mark.parametrize("said", [None, True, 1, 1.5, "1.2 weights sqrt with tokens", b"x", [], [GOOD], {1, 2}],
                         ids=repr)  # fmt: skip
def test_what_is_no_object_is_refused_in_one_sentence(said):
    with pytest.raises(InspectorError, match="must be an object") as refused:
        read_question(said)
    one_sentence(refused.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*FIELDS, "x"]), inner),
    max_leaves=6,
)
NEARLY = st.fixed_dictionaries({}, optional={name: st.just(value) | JSON for name, value in GOOD.items()})


@given(JSON | NEARLY | NEARLY.map(lambda some: {**GOOD, **some}))
@tries(100)
def test_whatever_is_sent_is_a_question_or_one_sentence(said):
    try:
        found = read_question(said)
    except InspectorError as refused:
        tried("what a browser asks", "one sentence")
        one_sentence(refused)
        return
    tried("what a browser asks", "a question")
    assert json.loads(json.dumps({**found.asked, "id": found.id, "turn": found.turn, "version": VERSION})) == said

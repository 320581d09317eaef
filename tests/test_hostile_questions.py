"""A browser that sends other things than the app's own scripts do gets one sentence, and an answer next time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from browser_app import running_app
from head_questions import sent
from protocol_client import Client, Raw, component

import inspector
from inspector.ui.server.settings import MODELS_VARIABLE
from inspector.views.payload import decode

PROMPT = "w1 w2 w3 w4 w5 w6 w7 w8 w9"
GOOD = sent("1.2 weights sqrt with tokens")
CHANGES: list[dict[str, Any]] = [
    {"version": 2}, {"layer": -1}, {"layer": 10**40}, {"layer": float("nan")}, {"head": "2"}, {"head": 1.5},
    {"turn": True}, {"show": "__class__"}, {"scale": ["sqrt"]}, {"unit": "x" * 10**6}, {"more": {}},
    {"sink": "*bold* $x$ [a](b)"}, {"id": "<img src=x onerror=alert(1)>"}, {"id": "\ud800" * 16},
]  # fmt: skip
OLD = {"id": GOOD["id"], "asked": "1.2 weights sqrt with tokens"}  # how an earlier release asked
HOSTILE = [*({**GOOD, **change} for change in CHANGES), OLD, OLD["asked"], [GOOD], 5, {}]
NO_JSON = ["", "[", "null", "[]", "[1]", '[{"event": []}]', '[{"event": "question"}]', "[" * 2000, "9" * 5000]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save("grouped", tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server") / "output"


@pytest.fixture(scope="module")
def address(folder: Path, output: Path) -> Iterator[str]:
    environment = {**os.environ, MODELS_VARIABLE: json.dumps([str(folder)])}
    with running_app(environment=environment, says=output) as found:
        yield found


def arrived(address: str) -> tuple[Client, Any, dict[str, Any]]:
    """A visitor who sees the prompt: the connection, the component that asks, and the screen's message."""
    client = Client(address)
    reader = component(client.run(), "tab_reader")
    messages = client.run(said={"request": {"prompt": PROMPT}}, by=reader, event="said")
    screen = component(messages, "explore").delta.new_element.bidi_component
    return client, component(messages, "talk"), decode(screen.bytes, np.uint8)[0]


def errors(messages: list[Any]) -> list[str]:
    """The sentences in boxes of errors, without Markdown's backslashes."""
    alerts = [each.delta.new_element.alert for each in messages if each.delta.new_element.WhichOneof("type") == "alert"]
    return [alert.body.replace("\\", "") for alert in alerts]


def test_other_questions_are_refused_in_one_sentence_and_the_next_good_one_is_answered(address, folder, output):
    client, talk, header = arrived(address)
    try:
        for said in HOSTILE:
            found = errors(client.run(said=said, by=talk, event="question"))
            assert len(found) == 1, said
            assert found[0].endswith("reload the page."), found
            assert ". " not in found[0]
            assert len(found[0]) < 400
        for text in NO_JSON:
            client.run(said=Raw(text), by=talk, event="question")
        answered = client.run(said={**GOOD, "id": header["id"], "turn": 7}, by=talk, event="question")
        assert errors(answered) == []
        answer, numbers = decode(component(answered, "talk").delta.new_element.bidi_component.bytes, np.float32)
        assert (answer["id"], answer["turn"]) == (header["id"], 7)
        assert answer["asked"] == {name: GOOD[name] for name in answer["asked"]}
        trace = inspector.load(folder).trace(PROMPT)
        assert np.array_equal(numbers, trace.weights(1, 2).numpy()[np.tril_indices(trace.n)])
    finally:
        client.close()
    assert "Traceback" not in output.read_text(encoding="utf-8")

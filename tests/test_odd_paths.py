"""A model's name that is no path which this machine can have or look at is one sentence, wherever it is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from inspector import InspectorError, cli
from inspector.loading.resolve import find_model
from inspector.loading.source import refuse_missing
from inspector.ui.server.traces import model_key
from inspector.ui.state import Request

NAMES = {
    "~nosuchuser/model": "cannot be looked up on this machine",
    "x" * 10**6: "has 1,000,000 characters, and at most 4,096 can be: shorten it",
    "/" + "c" * 300: r"cannot be looked up on this machine \(File name too long\)",
}


@pytest.mark.parametrize(("name", "sentence"), NAMES.items(), ids=lambda text: repr(text[:20]))
def test_a_name_that_cannot_be_looked_up_is_one_sentence(name, sentence, capsys):
    for ask in (find_model, refuse_missing):
        with pytest.raises(InspectorError, match=sentence) as caught:
            ask(name)
        assert len(str(caught.value)) < 400
    assert model_key(Request(name, "w1"))[-1] == ()  # loading says it
    assert cli.main(["verify", name, "--prompt", "w1"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_place_that_may_not_be_looked_at_is_one_sentence(monkeypatch):
    def closed(path: Path, **_: object) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", closed)
    with pytest.raises(
        InspectorError, match=r"“/proc/1/root” cannot be looked up on this machine \(Permission denied\)"
    ):
        find_model("/proc/1/root")

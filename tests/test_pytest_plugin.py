"""The pytest plugin: a fixture that judges, tiny models by a marker, six lines on failing, and nothing heavy before."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import inspector
from inspector import pytest_plugin
from inspector.errors import InspectorError

pytest_plugins = ("pytester",)
INSTALLED = bool(entry_points(group="pytest11", name="attention_inspector"))
WITH = ("-p", "no:cacheprovider", *(() if INSTALLED else ("-p", "inspector.pytest_plugin")))

TESTS = """
import pytest
import torch

@pytest.mark.attention_models("llama", "gemma3_text")
def test_right(judge, attention_model):
    judge(attention_model, attention_model.model).assert_right()

@pytest.mark.attention_models("llama")
def test_wrong(judge, attention_model):
    layers = attention_model.reimplementation

    def mine(x, layer):
        right = layers[layer].stages(x)
        query, key = layers[layer].rotate(right.query_pre, right.key_pre, torch.arange(1, len(x) + 1))
        return {**vars(right), "query": query, "key": key}

    judge(attention_model, mine).assert_right()
"""


def ran(tmp_path: Path, text: str, *arguments: str) -> tuple[int, str]:
    (tmp_path / "test_mine.py").write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    command = [sys.executable, "-m", "pytest", *WITH, "-q", *arguments, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    return done.returncode, done.stdout + done.stderr


def test_a_right_attention_passes_and_a_wrong_one_fails_in_six_lines(tmp_path):
    status, out = ran(tmp_path, TESTS)
    assert (status, "2 passed" in out, "1 failed" in out) == (1, True, True), out
    failure = out.partition("test_wrong[llama]")[2].partition("=====")[0].strip("_ \n").splitlines()
    names = [line.partition(":")[0] for line in failure if line.strip()]
    assert names == ["attention", "step", "layer", "worst", "cause", "change"], out
    said = dict(line.split(": ", 1) for line in failure)
    assert (said["step"].strip(), said["layer"].strip()) == ("rotate", "0"), out
    assert "position" in said["cause"], out
    assert "RoPE: its base" in said["change"]


def test_nothing_heavy_is_imported_before_a_test_asks(tmp_path):
    text = (
        "import sys\ndef test_it():\n    assert not {'torch', 'transformers', 'numpy', 'pandas'} & set(sys.modules)\n"
    )
    assert ran(tmp_path, text)[0] == 0
    asks = text.replace("test_it()", "test_it(judge)").replace("    assert", "    import numpy\n    assert")
    assert ran(tmp_path, asks)[0] == 1  # a negative control


def test_the_marker_is_needed_and_known(tmp_path):
    status, out = ran(tmp_path, "def test_it(attention_model):\n    pass\n")
    assert status != 0
    assert 'test_it uses attention_model: mark it with @pytest.mark.attention_models("llama").' in out
    status, out = ran(tmp_path, "", "--markers")
    assert "attention_models(*types): run once for each of these model types" in out


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("lama", "There is no model type 'lama' in the installed transformers: did you mean llama"),
        ("zzzzzz", "There is no model type 'zzzzzz' in the installed transformers: give one such as llama"),
        (7, "There is no model type 7"),
    ],
)
def test_an_unknown_type_is_refused(name, sentence, tmp_path):
    with pytest.raises(InspectorError, match=sentence):
        pytest_plugin.tiny_model(name, tmp_path / "model")


def test_every_step_says_where_to_look():
    from typing import get_args

    from inspector.judging.findings import Step

    assert set(pytest_plugin.CHANGE) == set(get_args(Step))


def test_the_entry_point_names_the_plugin():
    import tomllib

    text = (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    points = tomllib.loads(text)["project"]["entry-points"]["pytest11"]
    assert points == {"attention_inspector": "inspector.pytest_plugin"}
    assert inspector.__name__ == "inspector"

"""docs/judge.md: its Python, its C and its shell commands run, and give what the page says."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from inspector import cli, pytest_plugin
from inspector.coverage.tiny import types
from reimpl.attention import CausalSelfAttention

PAGE = (Path(__file__).parent.parent / "docs" / "judge.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def promised(text: str) -> list[str]:
    """What the page says behind each line that prints."""
    return [line.partition("#")[2].strip() for line in text.splitlines() if line.startswith("print(")]


@pytest.mark.packaged
def test_the_torch_and_the_numpy_example_give_what_the_page_says(capsys):
    names: dict = {}
    torch_block, numpy_block = blocks("python")[:2]
    exec(compile(torch_block, "docs/judge.md", "exec"), names)  # noqa: S102  (our own page)
    verdict, cause = capsys.readouterr().out.splitlines()
    assert [verdict, cause.partition(" (")[0]] == promised(torch_block)
    exec(compile(numpy_block, "docs/judge.md", "exec"), names)  # noqa: S102
    cause, *table = capsys.readouterr().out.splitlines()
    assert cause.partition(":")[0] == promised(numpy_block)[0]
    told = dict(re.findall(r"(whole|token by token|in chunks) (True|False)", promised(numpy_block)[1]))
    found = {way: re.search(rf"{way}\s+True\s+(True|False)", "\n".join(table))[1] for way in told}
    assert found == told
    kernel_block = blocks("python")[3]
    exec(compile(kernel_block, "docs/judge.md", "exec"), names)  # noqa: S102
    verdict, cause = capsys.readouterr().out.splitlines()
    assert [verdict, cause.partition(" (")[0]] == promised(kernel_block)


@pytest.mark.packaged
def test_the_c_program_is_right_and_with_another_base_it_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "attention.c").write_text(blocks("c")[0])
    statuses = []
    for line in blocks("sh")[0].splitlines():
        words = shlex.split(line)
        if words[0] == "attention-inspector":
            statuses.append(cli.main(words[1:]))
        else:
            subprocess.run(words, check=True)
    assert statuses == [0, 0]
    assert "Your attention is right" in capsys.readouterr().out
    subprocess.run(["./attention", "reference", "mine", "30", "10000"], check=True)
    assert (
        cli.main(["judge", "smollm2-135m-instruct", "--prompt", "Houston, we have a problem", "--dumps", "mine"]) == 1
    )
    assert re.search(r"Cause: .*base 10000 where the model has 100000", capsys.readouterr().out)


def test_the_test_runs_and_a_failure_looks_as_the_page_shows(tmp_path):
    model = pytest_plugin.tiny_model("llama", tmp_path / "llama")
    names: dict = {}
    marker, test = re.fullmatch(
        r"import pytest\n\n@pytest.mark.(.*?)\n(def .*)", blocks("python")[2], re.DOTALL
    ).groups()
    exec(compile(test, "docs/judge.md", "exec"), names)  # noqa: S102  (test_pytest_plugin.py runs pytest itself)
    names["test_my_attention"](pytest_plugin.judged, model)
    assert marker.startswith("attention_models(")
    assert set(re.findall(r'"(\w+)"', marker)) <= set(types())

    def mine(x, layer):
        other = CausalSelfAttention.like(model.reimplementation[layer])
        other.spec = replace(other.spec, rope=replace(other.spec.rope, theta=500.0))
        return vars(other.stages(x))

    lines = pytest_plugin.in_six_lines(pytest_plugin.judged(model, mine).report).splitlines()
    shown = blocks("text")[0].splitlines()
    assert lines[0].startswith("attention: different (")
    assert lines[1:3] == shown[1:3]
    assert lines[3].startswith(shown[3].partition(":")[0])  # single numbers differ from machine to machine
    assert lines[4].startswith(shown[4].removesuffix(" ..."))
    assert lines[5] == shown[5]

"""docs/json.md describes every field of every JSON output, with its type, and nothing else."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny

import inspector
from inspector import cli
from inspector.coverage.examination import examine

PAGE = (Path(__file__).parent.parent / "docs" / "json.md").read_text(encoding="utf-8")
NAMES = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
Types = dict[str, set[str]]


def documented(title: str) -> Types:
    """The fields of one section's table, and the types that it allows each."""
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| ([a-z, ]+) \|", section, flags=re.M)
    assert len(rows) == section.count("\n| `"), "a line of the table cannot be read"
    return {path: set(re.split(r", | or ", types)) for path, types in rows}


def found(value: Any, fields: Types, path: str = "") -> Types:
    """Every field of a JSON value by its path, and its type; `.*` where the page says so."""
    types: Types = {path: {"null" if value is None else NAMES[type(value)]}} if path else {}
    parts: Iterable[tuple[str, Any]] = ()
    if isinstance(value, dict):
        anything = f"{path}.*" in fields
        parts = ((f"{path}.{'*' if anything else name}".lstrip("."), part) for name, part in value.items())
    elif isinstance(value, list):
        parts = ((f"{path}[]", part) for part in value)
    for place, part in parts:
        for name, kinds in found(part, fields, place).items():
            types[name] = types.get(name, set()) | kinds
    return types


def differences(fields: Types, outputs: Iterable[Any]) -> list[str]:
    """What the page says and no output has, and what an output has and the page does not say."""
    seen: Types = {}
    for output in outputs:
        for path, kinds in found(output, fields).items():
            seen[path] = seen.get(path, set()) | kinds
    return [
        *(f"{path} is never written" for path in sorted(fields.keys() - seen.keys())),
        *(f"{path} is not described" for path in sorted(seen.keys() - fields.keys())),
        *(
            f"{path} is {kind}"
            for path in sorted(seen.keys() & fields.keys())
            for kind in sorted(seen[path] - fields[path])
            if not (kind == "integer" and "number" in fields[path])
        ),
    ]


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """What a command writes with --json, into a file and on standard output alike."""

    def written(file: Path, *arguments: str) -> Any:
        capsys.readouterr()
        cli.main([*arguments, "--json", "-"])
        shown = json.loads(capsys.readouterr().out)
        cli.main([*arguments, "--json", str(file)])
        assert json.loads(file.read_text(encoding="utf-8")).keys() == shown.keys()
        assert next(iter(shown.items())) == ("schema", 1)
        return shown

    return written


def test_verify(written, tmp_path):
    folder = tiny.save("grouped", tmp_path / "model")
    output = written(tmp_path / "report.json", "verify", str(folder), "--prompt", "w3 w14 w15 w3")
    model = inspector.load(folder)
    wrong = inspector.verify(model, [3, 14, 15, 3], attention=lambda hidden, layer: {"value": hidden[None]})
    odd = replace(wrong, remarks=("It was not run.",), likely_causes=("a missing norm",))
    reports = [json.loads(report.to_json()) for report in (wrong, odd)]
    assert wrong.first_difference is not None
    assert {*reports[0], "schema"} == {*output}
    assert differences(documented("verify --json, report.to_json()"), [output, *reports, {"schema": 1}]) == []


def test_coverage(written, tmp_path, monkeypatch):
    rows = [examine("llama"), replace(examine("mamba"), missed=("no mask",), differences={"query": float("inf")})]
    monkeypatch.setattr("inspector.coverage.sweep.sweep_types", lambda names, jobs, on_done: rows)
    output = written(tmp_path / "rows.json", "coverage", "llama", "mamba")
    assert [row["model_type"] for row in output["rows"]] == ["llama", "mamba"]
    assert differences(documented("coverage --json"), [output]) == []


def test_models(written, tmp_path, monkeypatch):
    monkeypatch.setenv("ATTENTION_INSPECTOR_CACHE", str(tmp_path))
    folder = tmp_path / "attention-inspector" / "models" / "half"
    folder.mkdir(parents=True)
    (folder / "converted.json").write_text("{")
    monkeypatch.setattr("inspector.loading.download.check_hub", lambda name: f"{name} is on the hub.")
    asked = written(tmp_path / "models.json", "models", "--check-hub", "owner/name")
    (half,) = (model for model in asked["models"] if model["name"] == "half")
    assert (half["kind"], half["folder"], asked["hub"]) == ("converted", str(folder), "owner/name is on the hub.")
    plain = written(tmp_path / "models.json", "models")
    assert differences(documented("models --json"), [asked, plain]) == []


def test_what_the_page_leaves_out_or_makes_up_would_be_seen():
    fields: Types = {"a": {"array"}, "a[]": {"integer"}, "b.*": {"number"}, "b": {"object"}, "gone": {"string"}}
    assert differences(fields, [{"a": [1, "x"], "b": {"one": 1, "two": 2.5}, "new": None}]) == [
        "gone is never written",
        "new is not described",
        "a[] is string",
    ]


def test_every_command_that_writes_json_has_its_section():
    for command in cli.COMMANDS:
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        name = command.__name__.rpartition(".")[2]
        assert ("--json FILE" in parser.format_help()) == (f"\n## {name} --json" in PAGE), name
    assert len(re.findall(r"^## ", PAGE, flags=re.M)) == 3

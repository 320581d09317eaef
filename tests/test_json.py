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
from why_families import tiny_model

import inspector
from inspector import cli, lab
from inspector.coverage.examination import examine
from inspector.judging.reference_folder import write_reference

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
    other = tiny.save("multi-query", tmp_path / "other")
    wrong = inspector.verify(model, [3, 14, 15, 3], checkpoint=other, spliced=False)
    odd = replace(wrong, remarks=("It was not run.",))
    reports = [json.loads(report.to_json()) for report in (wrong, odd)]
    assert wrong.first_difference is not None
    assert {*reports[0], "schema"} == {*output}
    assert differences(documented("verify --json, report.to_json()"), [output, *reports, {"schema": 1}]) == []


def test_experiment(written, tmp_path):
    folder = str(tiny.save("grouped", tmp_path / "model"))
    asked = ("experiment", folder, "--prompt", "w3 w14 w15 w3")
    output = written(tmp_path / "one.json", *asked, "--edit", "zero:1.0", "--edit", "cut:2", "--against", "w3")
    model = inspector.load(folder)
    many = lab.experiment(model, ["w1 w2", "w3"], lab.zero(1, 0))
    ids = lab.experiment(model, [1, 2, 3], lab.scale(0.9999, 1, 0))
    reports = [json.loads(report.to_json()) for report in (many, ids)]
    assert {*reports[0], "schema"} == {*output}
    fields = documented("experiment --json, lab.experiment(...).to_json()")
    assert output["ok"] is True
    assert differences(fields, [output, *reports]) == []


def test_sweep(written, tmp_path):
    folder = str(tiny.save("grouped", tmp_path / "model"))
    asked = ("experiment", folder, "--prompt", "w3 w14 w15 w3", "--sweep")
    heads = written(tmp_path / "heads.json", *asked, "heads", "--source", "w3 w14 w16 w3")
    edges = written(tmp_path / "edges.json", *asked, "edges", "--against", "w3")
    assert (heads["edited"], edges["edited"]) == ("patch", "cut")
    assert differences(documented("experiment --sweep --json, lab.sweep(...).to_json()"), [heads, edges]) == []
    model = inspector.load(folder)
    several = [
        lab.sweep(model, [([3, 14, 15], [3, 14, 16]), ([1, 2, 3], [4, 2, 3])], kind="patch"),
        lab.sweep(model, ["w3 w14 w15"], kind="cut", over="edges", query=None),
    ]
    reports = [json.loads(report.to_json()) for report in several]
    assert differences(documented("lab.sweep(...).to_json() of several prompts"), reports) == []


def test_why(written, tmp_path):
    folder = str(tiny.save("grouped", tmp_path / "model"))
    asked = ("why", folder, "--prompt", "w3 w14 w15 w3", "--against", "w3")
    output = written(tmp_path / "why.json", *asked, "--cut")
    capped = json.loads(lab.explain(tiny_model("gemma2", tmp_path).trace([1, 2, 3]), 7, "mean").to_json())
    plain = json.loads(lab.explain(inspector.load(folder).trace([1, 2, 3])).to_json())
    alike = {**plain, "notes": ["A sentence."], "importance": {**output["importance"], "prompt": None}}
    alike["importance"]["correlations"] = {"attention": None}
    fields = documented("why --json, lab.explain(...).to_json()")
    assert differences(fields, [output, capped, alike]) == []


def test_comparison(tmp_path):
    model = tiny.load("grouped", tmp_path)
    report = lab.compare(model.trace([1, 2, 3]), model.trace([1, 3]), vectors=True)
    assert differences(documented("lab.compare(...).to_json()"), [json.loads(report.to_json())]) == []


def test_heads(written, tmp_path, monkeypatch):
    folder = str(tiny.save("grouped", tmp_path / "model"))
    output = written(tmp_path / "heads.json", "heads", folder, "--csv", str(tmp_path / "heads.csv"))
    assert (tmp_path / "heads.csv").read_text().count("\n") == 13  # a line for each of 12 heads, and their names
    assert output["ok"] is True
    labelled = json.loads(json.dumps(output))
    labelled["heads"][0]["labels"] = ["Induction"]  # random heads get none
    assert differences(documented("heads --json, heads.find(...).to_json()"), [output, labelled]) == []


def test_atlas(written, tmp_path, capsys):
    folder = str(tiny.save("grouped", tmp_path / "model"))
    (tmp_path / "texts.txt").write_text("w1 w2 w3 w1 w2\nw4 w5 w6\n\n")
    asked = [
        "atlas",
        folder,
        "--texts",
        str(tmp_path / "texts.txt"),
        "--out",
        str(tmp_path / "atlas"),
        "--tokens",
        "16",
    ]
    output = written(tmp_path / "atlas.json", *asked)
    assert output["verification"]["ok"] is True
    some = {**output, "followed_tokens": 5, "verification": {**output["verification"], "shifted_abs": None}}
    assert differences(documented("atlas --json, manifest.json"), [output, some]) == []
    assert cli.main(asked) == 0
    assert "2 of 3 texts used; 1 empty" in capsys.readouterr().out
    for options, sentence in (
        (["--workers", "2", "--dask", "tcp://127.0.0.1:1"], "not both"),
        (["--workers", "0"], "--workers 0 is no number of processes"),
        (["--dask", "tcp://127.0.0.1:1"], "attention-inspector[cluster]"),
    ):
        assert cli.main([*asked, *options]) == 2
        assert sentence in capsys.readouterr().err


def test_an_experiments_exit_says_whether_its_controls_held(tmp_path, capsys, monkeypatch):
    folder = str(tiny.save("grouped", tmp_path / "model"))
    asked = ["experiment", folder, "--prompt", "w3 w14"]
    assert cli.main([*asked, "--edit", "zero:1.0"]) == 0
    assert "control: 0 of" in capsys.readouterr().out
    monkeypatch.setattr("inspector.lab.report.ExperimentReport.ok", False)
    assert cli.main([*asked, "--edit", "zero:1.0"]) == 1
    assert cli.main([*asked, "--edit", "zap"]) == 2
    assert "is no edit" in capsys.readouterr().err
    assert cli.main([*asked]) == 2
    assert cli.main([*asked, "--edit", "zero", "--sweep", "heads"]) == 2
    assert "and not both" in capsys.readouterr().err


def test_judge(written, tmp_path):
    folder = tiny.save("grouped", tmp_path / "model")
    model = inspector.load(folder)
    ids = [3, 14, 15, 3, 5, 9]
    dumps = write_reference(model, ids, tmp_path / "right")
    output = written(tmp_path / "report.json", "judge", str(folder), "--dumps", str(dumps))

    class Restarts:
        def reset(self):
            pass

        def __call__(self, x, layer):
            return model.reimplementation[layer].stages(x).output

    def unrotated(x, layer):
        stages = model.reimplementation[layer].stages(x)
        return {**vars(stages), "query": stages.query_pre, "odd": x}

    asked = [
        inspector.judge(model, Restarts(), ids),
        inspector.judge(model, unrotated, "w3 w4 w5 w3"),
        inspector.judge(model, {0: lambda x: model.reimplementation[0](x)}, ids, gradients=True),
        inspector.judge(inspector.load(folder, dtype="bfloat16"), dumps, ids),
    ]
    reports = [json.loads(report.to_json()) for report in asked]
    assert [report["verdict"] for report in reports[:2]] == ["different"] * 2
    assert output["verdict"] == "right"
    odd = {**reports[0], "remarks": ["It was not run."]}
    assert differences(documented("judge --json"), [output, *reports, odd]) == []


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


def test_info(written, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert differences(documented("info --json"), [written(tmp_path / "info.json", "info")]) == []


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
    assert len(re.findall(r"^## ", PAGE, flags=re.M)) == 12

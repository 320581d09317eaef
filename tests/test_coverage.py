"""Coverage: the table knows every decoder type, a tiny model of each class verifies, what goes wrong becomes a row."""

import json
import os
import signal
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from tiny import skip_where_this_release_does_otherwise
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

import inspector
from inspector.cli import main
from inspector.coverage import examination, table, tiny
from inspector.coverage import sweep as sweeping
from inspector.coverage.children import in_children
from inspector.coverage.document import render_document
from inspector.coverage.rows import Row
from inspector.coverage.sweep import summary, sweep_types
from inspector.errors import InspectorError, NotRun
from reimpl.families import FAMILIES

TYPES = tiny.types()

GOOD = Row("llama", "LlamaForCausalLM", rope=True, captured=True, layers=4, reimplemented=True,
           differences={"query": 0.0, "output": 1e-7}, differing=3, planted=20, caught=20)  # fmt: skip


# --- the table ---------------------------------------------------------------------------------------


def test_every_causal_type_of_the_library_is_listed_and_known():
    assert set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) <= set(TYPES)
    assert not [name for name, entry in TYPES.items() if not entry.known]
    assert len(TYPES) > len(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)  # the text models of larger models


def test_the_table_says_each_thing_once():
    named = [name for names in table.CLASSES.values() for name in names.split()]
    named += [*table.OTHERWISE_WITH_ROPE, *table.OTHERWISE_WITHOUT_ROPE]
    assert len(named) == len(set(named))
    assert set(named) >= set(table.BACKBONES) | set(table.ALIASES) | set(table.OVERRIDES) | set(table.NEEDS)
    assert all(of in TYPES and not TYPES[of].alias_of for name, of in table.ALIASES.items() if name in TYPES)


def test_a_type_that_the_table_does_not_know_is_listed_as_unknown(monkeypatch):
    monkeypatch.setitem(tiny.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, "brand_new", "LlamaForCausalLM")
    entry = tiny.types()["brand_new"]
    assert not entry.known
    assert entry.rope is None
    assert "New since the survey" in summary([replace(GOOD, model_type="brand_new", known=False)])


def test_tiny_configs_have_windows_shorter_than_the_prompt():
    long = {}
    for name in set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - set(table.ALIASES) - set(table.NEEDS):
        settings = tiny.config(TYPES[name]).to_dict()
        windows = [settings.get(field) for field in ("sliding_window", "attention_chunk_size", "local_attention")]
        if any(isinstance(window, int) and window >= examination.TOKENS for window in windows):
            long[name] = windows
    assert not long


def test_classes_have_a_representative_each():
    classes = tiny.equivalence_classes()
    assert classes["ROPE_HALF"][0] == "llama"
    assert len(classes) > 60
    assert all(TYPES[name].options == options for options, names in classes.items() for name in names)


# --- a tiny model ------------------------------------------------------------------------------------


def test_weights_are_seeded_and_none_is_left_at_one_or_zero():
    first, again = (dict(tiny.build(TYPES["gpt_oss"], seed=3).named_parameters()) for _ in range(2))
    assert all(weight.equal(again[name]) for name, weight in first.items())
    assert not any(((weight == 0) | (weight == 1)).any() for weight in first.values())
    other = dict(tiny.build(TYPES["gpt_oss"], seed=4).named_parameters())
    assert not any(weight.equal(other[name]) for name, weight in first.items())


def test_scaling_rules_of_the_class_are_kept_with_thresholds_that_a_prompt_passes():
    rule = tiny.config(TYPES["gpt_oss"]).rope_parameters
    assert rule["rope_type"] == "yarn"
    assert rule["original_max_position_embeddings"] < examination.TOKENS


def one_of_each_class() -> list[str]:
    """For each class of options with RoPE the first of its types whose family is reimplemented, if any is."""
    chosen = []
    for options, names in tiny.equivalence_classes().items():
        ours = [n for n in names if not (TYPES[n].alias_of or TYPES[n].needs) and {n, f"{n}_text"} & set(FAMILIES)]
        if "ROPE_" in options:
            chosen += ours[:1]
    return chosen


@pytest.mark.parametrize("name", one_of_each_class())
def test_one_of_each_class(name, tmp_path):
    skip_where_this_release_does_otherwise(name)
    model = inspector.load(tiny.save(TYPES[name], tmp_path))
    report = inspector.verify(model, examination.varied_ids())
    assert report.ok, str(report)
    assert report.planted == report.caught > 0


# --- the sweep ---------------------------------------------------------------------------------------


def test_a_sweep_says_of_each_type_what_was_found():
    seen: list[Row] = []
    rows = sweep_types(["got_ocr2", "llama", "mamba", "qwen2"], on_done=seen.append)
    assert [row.model_type for row in rows] == ["got_ocr2", "llama", "mamba", "qwen2"]
    assert sorted(row.model_type for row in seen) == ["got_ocr2", "llama", "mamba", "qwen2"]
    alias, llama, mamba, qwen2 = rows
    for row in (llama, qwen2):
        assert row.captured
        assert row.rope
        assert row.reimplemented, row.reason
        assert row.layers == table.LAYERS
        assert row.planted == row.caught > 10
        assert row.missed == ()
        assert set(row.differences) >= {"query", "weights", "output"}
        assert not row.failed
    assert (alias.alias_of, alias.class_name) == ("qwen2", "GotOcr2ForConditionalGeneration")
    assert alias.differences == qwen2.differences
    assert not mamba.captured
    assert not mamba.rope
    assert "no attention" in mamba.reason
    assert not any("/" in row.reason for row in rows)  # no temporary folder is named


def dies_sleeps_or_raises(name: str) -> Row:
    """Runs in the child."""
    if name == "llama":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "qwen2":
        time.sleep(60)
    if name == "gemma":
        raise RuntimeError("no such thing")
    if name == "gemma2":
        return replace(GOOD, model_type=name, differing=len(bytearray(64 * 2**30)))
    return replace(GOOD, model_type=name)


def test_a_child_that_dies_hangs_raises_or_eats_memory_becomes_a_row():
    assert list(in_children(["mistral"], dies_sleeps_or_raises)) == [replace(GOOD, model_type="mistral")]
    names = ["qwen2", "llama", "gemma", "gemma2"]
    rows = {row.model_type: row for row in in_children(names, dies_sleeps_or_raises, jobs=2, seconds=5)}
    assert set(rows) == set(names)
    assert "SIGKILL" in rows["llama"].reason
    assert rows["qwen2"].reason == "It did not finish within 5 s."
    assert "RuntimeError (no such thing)" in rows["gemma"].reason
    assert "MemoryError" in rows["gemma2"].reason
    assert all(row.broken and row.rope for row in rows.values())


def test_a_type_whose_own_code_fails_counts_as_broken(monkeypatch):
    def fails(*_, **__):
        raise NotRun("It could not run a prompt of 40 tokens (too many).")

    monkeypatch.setattr(examination, "load", lambda _: SimpleNamespace(trace=fails))
    row = examination.examine("llama")
    assert (row.broken, row.captured, row.reason) == (True, False, "It could not run a prompt of 40 tokens (too many).")


def test_an_unknown_type_is_refused_with_near_matches():
    with pytest.raises(InspectorError, match=r"'qwen_2' is no decoder type .*qwen2"):
        sweep_types(["qwen_2"])


# --- the document and the command --------------------------------------------------------------------


def test_the_document_escapes_and_counts():
    odd = Row("odd", "OddForCausalLM", known=False, reason="It said a|b <script>\nand no more.")
    missed = replace(GOOD, model_type="holey", reimplemented=False, caught=19, missed=("no mask",))
    alias = replace(GOOD, model_type="twin", alias_of="llama")
    text = render_document([GOOD, odd, missed, alias])
    assert "4 decoder types: 3 captured; 3 with RoPE, of which 2 are reimplemented" in text
    assert "| `llama` | yes | 4 layers | yes | 1e-07 | 20 of 20 |  |" in text
    assert "| `odd` | no | no | no |  |  | New since the survey. It said a\\|b &lt;script> and no more. |" in text
    assert "19 of 20 | Missed: no mask. |" in text
    assert "Its text model is `llama`'s." in text
    assert {
        line.replace("\\|", "").count("|") for line in text.split("## ")[0].splitlines() if line.startswith("|")
    } == {8}


def test_the_command_writes_what_it_found(tmp_path, monkeypatch, capsys):
    found = [GOOD, Row("mamba", "MambaForCausalLM", reason="It has no attention.")]

    def pretended(names, jobs, on_done):
        for row in found:
            if on_done:
                on_done(row)
        return found

    monkeypatch.setattr(sweeping, "sweep_types", pretended)
    written, listed = tmp_path / "architectures.md", tmp_path / "rows.json"
    assert main(["coverage", "llama", "mamba", "--write", str(written), "--json", str(listed)]) == 0
    shown = capsys.readouterr().out
    assert "20 of 20 mistakes caught" in shown
    assert "2 decoder types: 1 captured" in shown
    assert "| `mamba` |" in written.read_text()
    read = json.loads(listed.read_text())
    rows = read["rows"]
    assert read["schema"] == 1
    assert [row["model_type"] for row in rows] == ["llama", "mamba"]
    assert rows[0]["differences"] == {"query": 0.0, "output": 1e-7}

    found[0] = replace(GOOD, reimplemented=False, differences={"query": float("inf")})
    assert main(["coverage", "llama", "--json", "-"]) == 1
    only_json = json.loads(capsys.readouterr().out)["rows"]
    assert only_json[0]["failed"]
    assert only_json[0]["differences"] == {"query": None}

    found[0] = Row("llama", "LlamaForCausalLM", rope=True, reason="Its process died (SIGKILL).", broken=True)
    assert main(["coverage", "llama"]) == 2


def test_the_command_takes_types_with_rope_alone(monkeypatch, capsys):
    asked: list[str] = []
    monkeypatch.setattr(sweeping, "sweep_types", lambda names, jobs, on_done: asked.extend(names) or [])
    assert main(["coverage", "--rope"]) == 0
    assert "llama" in asked
    assert not {"mamba", "bert", "gpt2"} & set(asked)
    assert len(asked) > 150


def test_the_command_refuses_an_unknown_type_in_one_sentence(capsys):
    assert main(["coverage", "lama"]) == 2
    error = capsys.readouterr().err
    assert "'lama' is no decoder type" in error
    assert "llama" in error
    assert main(["coverage", "lama", "--rope"]) == 2

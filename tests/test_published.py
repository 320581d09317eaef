"""Configs of well-known checkpoints, as they were found in public repositories, load and verify as they stand."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from tiny import skip_where_this_release_does_otherwise
from transformers import CONFIG_MAPPING

import inspector
from inspector.coverage import examination, published_tiny, tiny
from inspector.coverage.document import published_summary, render_document, render_places
from inspector.coverage.published import PUBLISHED, SEEN
from inspector.coverage.rows import blank_row

# The best-known decoder families, by checkpoints that stand for them: all seen published.
BEST_KNOWN = [
    "Llama-2-7b", "Meta-Llama-3-70B", "Meta-Llama-3.1-8B", "Llama-3.2-1B-Instruct", "Llama-4-Scout", "Mistral-7B-v0.1",
    "Mistral-7B-Instruct-v0.3", "Mixtral-8x7B-v0.1", "Qwen2-7B", "Qwen2.5-7B", "Qwen3-8B", "Qwen3-30B-A3B",
    "Qwen3.5-27B", "gemma-2b", "gemma-2-2b", "gemma-3-1b-it", "gemma-4-26B-A4B", "phi-2", "Phi-3.5-mini-instruct",
    "phi-4", "Phi-4-mini-instruct", "Phi-3.5-MoE-instruct", "gpt-neox-20b", "gpt-j-6b", "falcon-7b", "falcon-40b",
    "stablelm-2-zephyr-1_6b", "OLMo-2-1124-7B", "starcoder2-7b", "granite-3.3-8b-instruct", "aya-23-8B",
    "DeepSeek-V2-Lite", "DeepSeek-V3", "DeepSeek-V3.2", "GLM-4.5", "MiniCPM3-4B", "MiniMax-M2.5", "gpt-oss-20b",
]  # fmt: skip
# What these files have and no tidy test would: a field that changes the window, generation's settings, a trainer's.
TELLING = ["MiMo-V2-Flash", "Llama-3.2-11B-Vision", "llama-7b-hf, an early conversion", "MiniMax-M3"]
REMEMBERED = ["SmolLM3-3B", "internlm3-8b-instruct", "GLM-4-9B-0414", "Qwen3.5-4B"]


@pytest.mark.parametrize("name", [*BEST_KNOWN, *TELLING, *REMEMBERED])
def test_a_config_loads_and_verifies(name, tmp_path):
    skip_where_this_release_does_otherwise(PUBLISHED[name]["model_type"])
    model = inspector.load(published_tiny.save(name, tmp_path))
    report = inspector.verify(model, examination.varied_ids(), spliced=False, controls=False)
    assert report.ok, report.summary()


def test_the_best_known_and_forty_types_were_seen_published():
    assert set(BEST_KNOWN) | set(TELLING) <= set(SEEN)
    assert not set(REMEMBERED) & set(SEEN)
    first = {name: next(iter(published_tiny.published_of(name)), "") for name in tiny.types()}
    assert sum(name in SEEN for name in first.values()) >= 40
    for name, chosen in first.items():  # coverage reads the one that was seen, where there is one
        assert (chosen in SEEN) == bool(set(published_tiny.published_of(name)) & set(SEEN)), name


def test_every_config_belongs_to_a_type():
    assert {each for name in tiny.types() for each in published_tiny.published_of(name)} == {
        name for name, config in PUBLISHED.items() if config["model_type"] in CONFIG_MAPPING
    }


def test_where_it_was_seen_is_a_repository_and_a_path():
    for name, where in SEEN.items():
        assert re.fullmatch(r"[\w.-]+/[\w.-]+: [\w./-]+\.(json|py)( \([\w ,]+\))?", where), name


def test_shrinking_changes_nothing_but_sizes():
    sizes = {*published_tiny.SMALL, *published_tiny.HEADS, *published_tiny.KV_HEADS, *published_tiny.LAYERS}
    for name, config in PUBLISHED.items():
        small = published_tiny.shrunk(config)
        changed = {field for field, value in config.items() if small[field] != value} - sizes
        lists = {field for field in changed if isinstance(config[field], (list, dict))}
        assert {field for field in changed - lists if not field.endswith("_token_id")} == set(), name


def test_coverage_reads_that_config_too():
    row = examination.examine("stablelm")
    assert (row.published, row.reimplemented) == ("stablelm-2-zephyr-1_6b", True)


@pytest.mark.parametrize(
    ("model_type", "fields", "said"),
    [
        ("qwen3", {"is_causal": False}, "is_causal=False"),  # its class reads it, and looks both ways
        ("mistral", {"rope_parameters": {"rope_type": "spiral", "rope_theta": 1e4}}, "spiral"),
        ("phi", {"num_attention_heads": 5}, "5"),
        ("gpt_neox", {"rotary_pct": 7.0}, "must match the size"),
        ("gemma3_text", {"layer_types": ["full_attention"]}, "layer"),
    ],
)
def test_a_config_that_does_not_hold_fails_the_type(model_type, fields, said, monkeypatch, tmp_path):
    first = published_tiny.published_of(model_type)[0]
    row = replace(blank_row(tiny.types()[model_type]), reimplemented=True)
    small = published_tiny.shrunk(PUBLISHED[first]) | fields
    monkeypatch.setattr(published_tiny, "shrunk", lambda _: small)
    found = examination._as_published(row, tmp_path)
    assert not found.reimplemented
    assert f"Read by the config of {first}" in found.reason
    assert said in found.reason


def test_examining_a_type_tells_what_its_config_does_not_hold(monkeypatch):
    first = published_tiny.published_of("llama")[0]
    monkeypatch.setitem(PUBLISHED, first, {**PUBLISHED[first], "is_causal": False})
    row = examination.examine("llama")
    assert (row.captured, row.reimplemented) == (True, False)
    assert f"Read by the config of {first}" in row.reason


def test_the_document_says_which_was_seen_and_where():
    rows = [replace(blank_row(tiny.types()[name]), reimplemented=True) for name in ("llama", "smollm3", "arcee")]
    rows = [replace(rows[0], published="Meta-Llama-3.1-8B"), replace(rows[1], published="SmolLM3-3B"), rows[2]]
    assert published_summary(rows) == (
        "1 verified types were also read from a checkpoint's config that was seen published, 1 from one written down "
        "from memory. From defaults only: `arcee`."
    )
    text = render_document(rows)
    assert "As Meta-Llama-3.1-8B (seen published)." in text
    assert "As SmolLM3-3B (from memory)." in text
    places = "\n".join(render_places())
    assert f"| falcon-40b | `falcon` | {SEEN['falcon-40b']} |" in places
    assert text.endswith(places)

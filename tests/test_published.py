"""Configs of well-known checkpoints, as written down in published.py, sizes shrunk, load and verify as they stand."""

from __future__ import annotations

from dataclasses import replace

import pytest

import inspector
from inspector.coverage import examination, published_tiny, tiny
from inspector.coverage.document import published_summary
from inspector.coverage.published import PUBLISHED
from inspector.coverage.rows import blank_row

# The best-known decoder families, by the checkpoints that stand for them.
BEST_KNOWN = [
    "Llama-2-7b-hf", "Llama-3.2-1B-Instruct, by Unsloth", "Llama-4-Scout", "Mistral-7B-v0.1", "Mixtral-8x7B-v0.1",
    "Qwen2.5-7B", "Qwen3-8B", "Qwen3-30B-A3B", "Qwen3.5-4B", "gemma-2b", "gemma-2-2b", "gemma-3-1b-it", "phi-2",
    "phi-4", "Phi-3.5-MoE", "pythia-70m", "OLMo-2-1124-7B", "falcon-7b", "falcon-11b", "stablelm-2-1_6b",
    "starcoder2-3b", "granite-3.1-2b", "c4ai-command-r-v01", "DeepSeek-V2-Lite", "DeepSeek-V3", "GLM-4-9B-0414",
    "SmolLM3-3B", "MiniCPM3-4B", "MiniMax-M2", "internlm3-8b-instruct", "gpt-oss-20b", "LFM2-350M",
]  # fmt: skip


@pytest.mark.parametrize("name", BEST_KNOWN)
def test_a_config_as_written_down_loads_and_verifies(name, tmp_path):
    model = inspector.load(published_tiny.save(name, tmp_path))
    report = inspector.verify(model, examination.varied_ids(), spliced=False, controls=False)
    assert report.ok, report.summary()


def test_forty_types_have_a_config_written_down():
    with_one = [name for name in tiny.types() if published_tiny.published_of(name)]
    assert len(with_one) >= 40
    read = {each for name in with_one for each in published_tiny.published_of(name)}
    assert read == set(PUBLISHED)


def test_coverage_reads_that_config_too():
    row = examination.examine("llama")
    assert (row.published, row.reimplemented) == ("Llama-2-7b-hf", True)


def test_a_config_that_does_not_hold_fails_the_type(monkeypatch):
    monkeypatch.setitem(PUBLISHED, "Llama-2-7b-hf", {**PUBLISHED["Llama-2-7b-hf"], "is_causal": False})
    row = examination.examine("llama")
    assert not row.reimplemented
    assert "Read by the config of Llama-2-7b-hf" in row.reason
    assert "is_causal=False" in row.reason


def test_the_rest_is_listed_as_from_defaults_only():
    rows = [blank_row(tiny.types()[name]) for name in ("llama", "arcee")]
    rows = [replace(rows[0], reimplemented=True, published="x"), replace(rows[1], reimplemented=True)]
    assert published_summary(rows) == (
        "1 verified types were also read from a well-known checkpoint's config, as written down here. "
        "From defaults only: `arcee`."
    )

"""What a GGUF file says of attention beside its weights: read, or harmless, or named, or refused; never lost."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from test_gguf import write_gguf

import inspector
from inspector.loading.gguf_metadata import complete_config
from inspector.loading.gguf_words import known_to_library

HEAD = 8  # of write_gguf's model: 32 numbers in 4 heads
PLAIN = 50000.0 ** (-torch.arange(0, HEAD, 2, dtype=torch.float64) / HEAD)  # its frequencies without scaling


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTENTION_INSPECTOR_CACHE", str(tmp_path / "cache"))


def frequencies(model: inspector.Model) -> torch.Tensor:
    return model.model.model.rotary_emb.inv_freq.double()


def llama3_factors(factor: float, original: int) -> torch.Tensor:
    """Llama 3's factors written out, as its paper's code has them."""
    found = []
    for frequency in PLAIN.tolist():
        length = 2 * math.pi / frequency
        smooth = (original / length - 1) / 3
        found.append(
            1 if length < original / 4 else factor if length > original else 1 / ((1 - smooth) / factor + smooth)
        )
    return torch.tensor(found, dtype=torch.float64)


ODD = torch.tensor([1.0, 1.5, 2.25, 7.0], dtype=torch.float64)
SCALED = {
    "linear": ({"rope.scaling.type": "linear", "rope.scaling.factor": 8.0}, None, 8.0),
    "linear, by its older key": ({"rope.scale_linear": 4.0}, None, 4.0),
    "a factor without a type": ({"rope.scaling.factor": 8.0}, None, 8.0),
    "linear and factors": ({"rope.scaling.type": "linear", "rope.scaling.factor": 2.0}, ODD, 2 * ODD),
    "factors of 1": ({}, ODD / ODD, 1.0),
    "llama 3.1's factors": ({}, llama3_factors(8.0, 8192), llama3_factors(8.0, 8192)),
    "llama 3.2's factors": ({}, llama3_factors(32.0, 8192), llama3_factors(32.0, 8192)),
    "another length's":
        ({"rope.scaling.original_context_length": 64}, llama3_factors(8.0, 64), llama3_factors(8.0, 64)),
    "factors of no formula": ({}, ODD, ODD),
}  # fmt: skip


@pytest.mark.parametrize("case", SCALED)
def test_scaled_frequencies_reach_the_model_and_are_verified(case: str, tmp_path: Path) -> None:
    keys, factors, divided = SCALED[case]
    tensors = None if factors is None else {"rope_freqs.weight": factors.numpy()}
    model = inspector.load(str(write_gguf(tmp_path / "scaled.gguf", keys=keys, tensors=tensors)))
    torch.testing.assert_close(frequencies(model), PLAIN / divided, rtol=3e-6, atol=0)
    report = inspector.verify(model, list(range(40)), controls=case == "llama 3.2's factors")
    assert (report.ok, report.verdict) == (True, "equal")
    assert model.remarks == ()


def test_yarn_reaches_the_model_with_its_own_betas(tmp_path: Path) -> None:
    keys = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 32,
            "rope.scaling.yarn_beta_fast": 16.0, "rope.scaling.attn_factor": 0.5}  # fmt: skip
    model = inspector.load(str(write_gguf(tmp_path / "yarn.gguf", keys=keys)))
    read = model.model.config.rope_parameters
    assert (read["rope_type"], read["factor"], read["beta_fast"]) == ("yarn", 4.0, 16.0)
    assert read["original_max_position_embeddings"] == 32
    assert model.model.model.rotary_emb.attention_scaling == pytest.approx(0.5 * (0.1 * math.log(4) + 1))
    assert inspector.verify(model, list(range(40)), controls=False).ok


def test_factors_for_short_and_long_prompts_both_reach_the_model(tmp_path: Path) -> None:
    factors = {"rope_factors_short.weight": np.full(4, 1.25), "rope_factors_long.weight": np.array([1.0, 2, 3, 4])}
    keys = {"rope.scaling.original_context_length": 32}
    model = inspector.load(str(write_gguf(tmp_path / "long.gguf", keys=keys, tensors=factors)))
    read = model.model.config.rope_parameters
    assert (read["short_factor"], read["long_factor"]) == ([1.25] * 4, [1.0, 2.0, 3.0, 4.0])
    assert read["attention_factor"] == pytest.approx(math.sqrt(1 + math.log(4) / math.log(32)))
    for length in (20, 60):
        assert inspector.verify(model, list(range(length)), controls=False).ok


REFUSED = {
    "both ways": ({"attention.causal": False}, {}, "attention.causal = False"),
    "clamped": ({"attention.clamp_kqv": 8.0}, {}, "attention.clamp_kqv = 8.0"),
    "another scale": ({"attention.scale": 0.5}, {}, "attention.scale = 0.5"),
    "soft-capped": ({"attn_logit_softcapping": 50.0}, {}, "attn_logit_softcapping = 50.0"),
    "windowed": ({"attention.sliding_window": 16}, {}, "attention.sliding_window = 16"),
    "attention scaled": ({"rope.scaling.factor": 8.0, "rope.scaling.attn_factor": 0.5}, {}, "attn_factor = 0.5"),
    "yarn without a factor": ({"rope.scaling.type": "yarn"}, {}, "rope.scaling.type = yarn"),
    "an unknown scaling": ({"rope.scaling.type": "spiral"}, {}, "rope.scaling.type = spiral"),
    "biases": ({}, {"blk.0.attn_q.bias": np.ones(32)}, "blk.0.attn_q.bias"),
    "factors of each block": ({}, {"blk.0.rope_freqs.weight": np.full(4, 2.0)}, "blk.0.rope_freqs.weight"),
    "factors for long prompts": (
        {},
        {"rope_factors_long.weight": np.full(4, 2.0)},
        "rope_factors_long.weight alone",
    ),
    "sinks": ({}, {"blk.0.attn_sinks.weight": np.ones(4)}, "blk.0.attn_sinks.weight"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_librarys_class_cannot_do_is_refused_by_name(case: str, tmp_path: Path) -> None:
    keys, tensors, name = REFUSED[case]
    with pytest.raises(inspector.InspectorError) as refused:
        inspector.load(str(write_gguf(tmp_path / "refused.gguf", keys=keys, tensors=tensors)))
    assert name in str(refused.value)
    assert "safetensors folder or its hub id" in str(refused.value)


@pytest.mark.parametrize("factors", [np.full(2, 2.0), np.zeros(4), np.full(4, np.nan), -ODD.numpy()])
def test_factors_that_divide_no_frequency_are_refused(factors: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(inspector.InspectorError, match=r"rope_freqs\.weight holds [24] numbers from .*: convert"):
        inspector.load(str(write_gguf(tmp_path / "odd.gguf", tensors={"rope_freqs.weight": factors})))


GEMMA = {"embedding_length": 5376, "attention.head_count": 32, "attention.key_length": 128}


@pytest.mark.parametrize(
    ("kind", "layers", "scalar"), [("gemma2", 46, 168), ("gemma2", 42, 128), ("gemma3", 62, 168), ("gemma3", 34, 128)]
)
def test_gemmas_scale_is_llama_cpps_of_which_no_file_says_anything(kind: str, layers: int, scalar: int) -> None:
    made = transformers.Gemma2Config if kind == "gemma2" else transformers.Gemma3TextConfig
    config = made(head_dim=128, hidden_size=5376, num_attention_heads=32, num_hidden_layers=layers)
    keys = {f"{kind}.{key}": value for key, value in {**GEMMA, "block_count": layers}.items()}
    assert complete_config(config, {"general.architecture": kind, **keys}, {}, []) == ""
    assert config.query_pre_attn_scalar == scalar


def test_a_key_of_yarn_without_yarn_is_named(tmp_path: Path) -> None:
    keys = {"rope.scaling.type": "linear", "rope.scaling.factor": 2.0, "rope.scaling.yarn_beta_fast": 16.0}
    (remark,) = inspector.load(str(write_gguf(tmp_path / "odd.gguf", keys=keys))).remarks
    assert remark == "Nothing here reads these keys of the file: rope.scaling.yarn_beta_fast = 16.0."


def test_what_the_class_does_anyway_is_read(tmp_path: Path) -> None:
    keys = {"attention.causal": True, "attention.scale": HEAD**-0.5, "attention.key_length": HEAD,
            "attention.value_length": HEAD, "rope.scaling.type": "none"}  # fmt: skip
    assert inspector.load(str(write_gguf(tmp_path / "usual.gguf", keys=keys))).remarks == ()


def test_a_key_that_nobody_reads_is_named_in_the_report(tmp_path: Path) -> None:
    keys = {"attention.magnet": 3.0, "rope.wobble": True}
    model = inspector.load(str(write_gguf(tmp_path / "odd.gguf", keys=keys)))
    said = "Nothing here reads these keys of the file: attention.magnet = 3.0, rope.wobble = True."
    assert model.remarks == (said,)
    assert said in inspector.verify(model, [1, 2, 3], controls=False).remarks


AROUND = {
    "keys": (
        {"logit_scale": 2.0, "residual_scale": 0.5, "embedding_scale": 1.0},
        {},
        "residual_scale = 0.5",
    ),
    "a cap": ({"final_logit_softcapping": 30.0}, {}, "final_logit_softcapping = 30.0"),
    "a norm": ({}, {"blk.0.post_attention_norm.weight": np.ones(32)}, "tensors of the file: blk.0.post_attention_norm"),
    "an output bias": ({}, {"output.bias": np.ones(259)}, "has no place for these tensors of the file: output.bias."),
}


@pytest.mark.parametrize("case", AROUND)
def test_what_changes_the_model_around_attention_is_named(case: str, tmp_path: Path) -> None:
    keys, tensors, said = AROUND[case]
    (remark,) = inspector.load(str(write_gguf(tmp_path / "odd.gguf", keys=keys, tensors=tensors))).remarks
    assert said in remark
    assert "embedding_scale" not in remark


def test_what_the_class_has_a_field_for_is_brought_there() -> None:
    config = transformers.Gemma2Config(final_logit_softcapping=12.0)
    keys = {"general.architecture": "gemma2", "gemma2.block_count": 2, "gemma2.final_logit_softcapping": 30.0}
    assert complete_config(config, keys, {}, []) == ""
    assert config.final_logit_softcapping == 30.0


# A way of cutting text -> whether it is named.
CUT = {"gpt-2": False, "starcoder": True, "deepseek-llm": True, "my-own": True, "llama-bpe": None, "qwen2": None}


@pytest.mark.parametrize("pre", CUT)
def test_a_way_of_cutting_text_that_the_library_does_not_know_is_named(pre: str, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "cut.gguf", pre=pre, merge="1 2", joined="12")
    named = pre not in known_to_library() if CUT[pre] is None else CUT[pre]
    remarks = inspector.load(str(path)).remarks
    assert [f"tokenizer.ggml.pre = {pre}," in remark for remark in remarks] == [True] * named


def test_digits_cut_one_by_one_are_no_remark_where_no_token_has_two(tmp_path: Path) -> None:
    assert inspector.load(str(write_gguf(tmp_path / "cut.gguf", pre="smollm"))).remarks == ()


def test_a_split_file_is_read_whole_by_any_of_its_parts(tmp_path: Path) -> None:
    whole = inspector.load(str(write_gguf(tmp_path / "whole.gguf"))).model.state_dict()
    write_gguf(tmp_path / "split.gguf", parts=3)
    parts = sorted(tmp_path.glob("split-*.gguf"))
    assert len(parts) >= 3
    for part in (parts[0], parts[1], parts[-1]):
        read = inspector.load(str(part)).model.state_dict()
        assert all(torch.equal(whole[name], read[name]) for name in whole)
    parts[1].unlink()
    with pytest.raises(inspector.InspectorError, match=f"{parts[1].name} is not beside it: put all parts"):
        inspector.load(str(parts[0]))


@pytest.mark.parametrize(
    ("part", "name"),
    [(1, "renamed.gguf"), (1, "renamed-00001-of-00002.gguf"), (2, "second.gguf"), (3, "model-3-of-3.gguf")],
)
def test_a_part_under_another_name_is_said(part: int, name: str, tmp_path: Path) -> None:
    write_gguf(tmp_path / "split.gguf", parts=3)
    count = len(parts := sorted(tmp_path.glob("split-*.gguf")))
    (tmp_path / "elsewhere").mkdir()
    for each in (name, name.replace("-00001-", "-00002-")):
        (tmp_path / "elsewhere" / each).write_bytes(parts[part - 1].read_bytes())
    words = f"{name} holds part {part} of the {count} that a model was split into.* name them NAME-00001-of-0000{count}"
    with pytest.raises(inspector.InspectorError, match=words):
        inspector.load(str(tmp_path / "elsewhere" / name))


@pytest.mark.parametrize("name", ["mistral", "mistralai_Mistral-7B-Instruct-v0.3", "my-mistral merge", "gemma2"])
def test_a_files_name_changes_nothing(name: str, tmp_path: Path) -> None:
    model = inspector.load(str(write_gguf(tmp_path / "m.gguf", name=name)))
    assert (model.model.config.model_type, model.remarks) == ("llama", ())
    plain = inspector.load(str(write_gguf(tmp_path / "plain.gguf")))
    assert torch.equal(model.trace([1, 2, 3]).last_logits, plain.trace([1, 2, 3]).last_logits)
    assert inspector.verify(model, [*range(1, 20)], controls=False).verdict == "equal"


def test_a_whole_file_without_tokenizer_is_not_called_cut(tmp_path: Path) -> None:
    with pytest.raises(inspector.InspectorError, match="holds no tokenizer") as refused:
        inspector.load(str(write_gguf(tmp_path / "bare.gguf", leave_out="tokenizer")))
    assert "cut short" not in str(refused.value)

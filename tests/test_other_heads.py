"""Models with another head than a language model's, or with none: captured, verified, no scores taken for logits."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

import inspector
from inspector.cli import main
from inspector.coverage import tiny as coverage_tiny
from inspector.loading.auto_class import decoder_class
from inspector.verification import splice, spliced_run

IDS = tiny.ids(12)
LABELS = 128  # as many as there are tokens: only the head tells scores of classes from logits

# Class of the library, its type, and what differs from tiny.SIZES.
CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "LlamaForSequenceClassification": ("llama", {"num_labels": 1}),
    "Qwen2ForSequenceClassification": ("qwen2", {"num_labels": LABELS}),
    "GPTJForSequenceClassification": ("gptj", {"rotary_dim": 8}),
    "LlamaForTokenClassification": ("llama", {"num_labels": LABELS}),
    "GPTNeoXForTokenClassification": ("gpt_neox", {"num_labels": LABELS}),
    "LlamaForQuestionAnswering": ("llama", {}),
    "MistralForQuestionAnswering": ("mistral", {"sliding_window": 7}),
    "Gemma2Model": ("gemma2", {"head_dim": 16, "sliding_window": 7}),
    "GPTNeoXModel": ("gpt_neox", {}),
}


def made(name: str) -> Any:
    kind, differs = CLASSES.get(name, ("biogpt", {}))
    tiny.skip_where_this_release_does_otherwise(kind)
    torch.manual_seed(0)
    model = getattr(transformers, name)(AutoConfig.for_model(kind, **{**tiny.SIZES, **differs}))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=0.5 if parameter.ndim == 1 else 0.0, std=0.3)
    return model.eval()


def saved(name: str, folder: Path) -> Path:
    made(name).save_pretrained(folder)
    tiny.word_tokenizer(folder)
    return folder


def checked(model: inspector.Model) -> str:
    """What holds for every model without a language-model head; where the weights it was verified with are from."""
    trace = model.trace(IDS)
    assert trace.last_logits is None
    for ask in (
        trace.next_tokens,
        trace.next_tokens_after_each,
        lambda: trace.logits,
        lambda: model.trace(IDS, generate=2),
    ):
        with pytest.raises(inspector.InspectorError, match="has no language-model head that predicts the next token: "):
            ask()
    report = inspector.verify(model, IDS, controls=False)
    assert (report.verdict, report.spliced) == ("equal", None), str(report)
    assert all(check.differing == 0 for check in report.checks)
    assert "the model has no language-model head that predicts the next token, to compare by" in str(report)
    return report.weights_from


@pytest.mark.parametrize("name", CLASSES)
def test_a_folder(name: str, tmp_path: Path) -> None:
    model = inspector.load(saved(name, tmp_path))
    assert type(model.model).__name__ == name
    assert checked(model) == "files"


@pytest.mark.parametrize("name", CLASSES)
def test_an_object(name: str, tmp_path: Path) -> None:
    tokenizer = tiny.word_tokenizer(tmp_path) or transformers.AutoTokenizer.from_pretrained(tmp_path)
    checked(inspector.load(made(name), tokenizer))


@pytest.mark.parametrize("name", ["OpenAIPrivacyFilterModel", "OpenAIPrivacyFilterForTokenClassification"])
def test_a_folder_of_a_type_that_has_no_language_model_at_all(name: str, tmp_path: Path) -> None:
    entry = coverage_tiny.types()["openai_privacy_filter"]
    made = getattr(importlib.import_module(coverage_tiny.model_class(entry).__module__), name)
    coverage_tiny.random_model(made, coverage_tiny.config(entry), name, most=10**6).save_pretrained(tmp_path)
    tiny.word_tokenizer(tmp_path)
    model = inspector.load(tmp_path)
    assert type(model.model).__name__ == name
    trace, report = model.trace(IDS), inspector.verify(model, IDS, controls=False)
    assert (trace.last_logits, report.ok, report.weights_from) == (None, True, "files")
    assert trace.weights(0, 0)[0, 1] > 0  # it looks to both sides


@pytest.mark.parametrize("named", ["LlamaForRewardModel", "LlamaForProcessRewardModel", "LlamaForTextRanking"])
def test_a_head_that_the_library_does_not_have_is_left_out(named: str, tmp_path: Path) -> None:
    path = tiny.save("grouped", tmp_path) / "model.safetensors"
    tensors = load_file(path)
    del tensors["lm_head.weight"]
    save_file({**tensors, "v_head.weight": torch.ones(1, 64)}, path, metadata={"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": [named]}))
    model = inspector.load(tmp_path)
    assert type(model.model).__name__ == "LlamaModel"
    assert checked(model) == "files"


@pytest.mark.parametrize("name", ["LlamaForSequenceClassification", "LlamaForTokenClassification", "GPTNeoXModel"])
def test_an_edit_after_the_last_queries_is_seen_without_a_head(name: str, tmp_path: Path) -> None:
    model = inspector.load(saved(name, tmp_path))
    trace = model.trace(IDS)
    before = trace.output(2)
    assert before.shape == (12, 64)
    again = model.trace(IDS)
    with torch.no_grad():
        output = next(
            p
            for key, p in reversed([*model.model.named_parameters()])
            if key.endswith(("o_proj.weight", "dense.weight"))
        )
        output[:, :16] = 0
    for ask in (again.output, lambda layer: again.head_output(layer, 0)):
        with pytest.raises(
            inspector.InspectorError, match="no longer the model that made this trace: run again, its results"
        ):
            ask(2)


def test_a_head_that_takes_the_argument_for_fewer_logits_and_fails_with_it(tmp_path: Path) -> None:
    trace = inspector.load(saved("BioGptForSequenceClassification", tmp_path)).trace(IDS)
    assert (trace.last_logits, len(trace.layers)) == (None, 3)


def test_what_predicts_the_next_token_still_does(tmp_path: Path) -> None:
    sizes = {"vocab_size": 128, "n_embd": 64, "n_head": 4, "n_layer": 2}
    tokenizer = tiny.word_tokenizer(tmp_path) or transformers.AutoTokenizer.from_pretrained(tmp_path)
    for kind in (transformers.GPT2DoubleHeadsModel, transformers.GPT2LMHeadModel):
        model = inspector.load(kind(transformers.GPT2Config(**sizes)).eval(), tokenizer)
        assert model.trace(IDS).last_logits.shape == (1, 128)
        assert len(model.trace(IDS, generate=3).tokens) == 15
    masked = transformers.BertForMaskedLM(
        transformers.BertConfig(
            vocab_size=128, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96
        )
    )
    trace = inspector.load(masked.eval(), tokenizer).trace(IDS)
    assert trace.last_logits is None  # they fill in a token that is there
    with pytest.raises(inspector.InspectorError, match="BertForMaskedLM has no language-model head that predicts the"):
        trace.next_tokens()


NAMES = {
    ("llama", "LlamaForCausalLM"): "LlamaForCausalLM",
    ("llama", "LlamaForCausalLMEagle3"): "LlamaForCausalLM",
    ("llama", None): "LlamaForCausalLM",
    ("mpt", "MPTForCausalLM"): "MptForCausalLM",
    ("gpt2", "GPT2LMHeadModel"): "GPT2LMHeadModel",
    ("openai-gpt", "OpenAIGPTDoubleHeadsModel"): "OpenAIGPTLMHeadModel",
    ("gpt2", "GPT2DoubleHeadsModel"): "GPT2LMHeadModel",
    ("bert", "BertForMaskedLM"): "BertLMHeadModel",
    ("llama", "LlamaModel"): "LlamaModel",
    ("qwen2", "Qwen2ForRewardModel"): "Qwen2Model",
    ("qwen2", "Qwen2ForTokenClassification"): "Qwen2ForTokenClassification",
    ("gemma2", "Gemma2ForSequenceClassification"): "Gemma2ForSequenceClassification",
    ("openai_privacy_filter", "OpenAIPrivacyFilterModel"): "OpenAIPrivacyFilterModel",
    ("openai_privacy_filter", "OpenAIPrivacyFilterForTokenClassification"): "OpenAIPrivacyFilterForTokenClassification",
    ("lilt", "LiltForSequenceClassification"): "LiltForSequenceClassification",
    ("splinter", "SplinterForQuestionAnswering"): "SplinterForQuestionAnswering",
}


@pytest.mark.parametrize(("kind", "named"), NAMES)
def test_the_class_is_chosen_by_what_the_config_names(kind: str, named: str | None) -> None:
    config = AutoConfig.for_model(kind, architectures=named and [named])
    assert decoder_class(config).__name__ == NAMES[kind, named]


def test_commands_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(saved("LlamaForSequenceClassification", tmp_path / "model"))
    assert main(["verify", folder, "--prompt", "a b c"]) == 0
    assert "the model has no language-model head that predicts the next token, to compare by" in capsys.readouterr().out
    assert main(["capture", folder, "--prompt", "a b c", "--out", str(tmp_path / "t.safetensors")]) == 0
    trace = inspector.open_trace(tmp_path / "t.safetensors")
    with pytest.raises(inspector.InspectorError, match="has no language-model head that predicts the next token: "):
        trace.next_tokens()
    assert trace.last_logits is None


def test_a_splice_asked_for_by_itself_is_refused(tmp_path: Path) -> None:
    model = inspector.load(saved("LlamaForTokenClassification", tmp_path))
    with pytest.raises(splice.Unspliceable, match="no language-model head"):
        spliced_run.compare_spliced(model, tuple(IDS), model.reimplementation)

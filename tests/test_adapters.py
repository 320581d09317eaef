"""PEFT adapters: a folder with its base, and live models. Captured, and verified with base + scale·B·A."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import transformers
from adapters import IDS, adapted, change, peft, saved
from safetensors.torch import load_file
from torch import nn

import inspector
import reimpl
from inspector.loading import adapter
from inspector.loading.folder_checks import refuse_without_weights

SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "as most are": ("grouped", {}),
    "rank-stabilised": ("grouped", {"use_rslora": True}),
    "other ranks and alphas for some": (
        "biases", {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 32, "layers.1.self_attn.k_proj": 3}},
    ),
    "whole matrices trained with it": ("grouped", {"target_modules": ["q_proj"], "modules_to_save": ["o_proj"]}),
    "one layer": ("grouped", {"layers_to_transform": [1]}),
    "one matrix for query, key and value": ("phi3", {"target_modules": ["qkv_proj", "up_proj"]}),
    "biases too": ("biases", {"bias": "all"}),
}  # fmt: skip


@pytest.mark.parametrize("case", SETTINGS)
def test_a_folder_is_its_base_with_the_adapter_added(case: str, tmp_path: Path) -> None:
    kind, settings = SETTINGS[case]
    folder, live = saved(tmp_path, kind, **settings)
    model = inspector.load(folder)
    assert torch.allclose(model.trace(IDS).last_logits, live(torch.tensor([IDS])).logits[0, -1], atol=2e-4)
    report = inspector.verify(model, IDS, controls=case == "as most are")
    assert (report.verdict, report.weights_from) == ("equal", "files"), str(report)
    assert all(check.differing == 0 for check in report.checks)
    assert f"scale·B·A of the adapter in {folder}" in str(report)
    assert f"added to its base {tmp_path / 'base'}" in report.note


def test_the_matrix_is_base_plus_scale_times_b_times_a(tmp_path: Path) -> None:
    folder, _ = saved(tmp_path)
    base, low = load_file(tmp_path / "base" / "model.safetensors"), load_file(folder / "adapter_model.safetensors")
    name = "model.layers.1.self_attn.v_proj"
    a, b = (low[f"base_model.model.{name}.lora_{side}.weight"] for side in "AB")
    ours = reimpl.load_layers(tmp_path / "base", adapter=folder)[1].projections.v_proj.weight
    assert torch.allclose(ours, base[f"{name}.weight"] + 8 / 4 * b @ a, atol=1e-6)


def test_nothing_leaves_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = saved(tmp_path, modules_to_save=["embed_tokens", "lm_head"])

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("somebody asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.chdir(tmp_path)
    change(folder, base_model_name_or_path="base")  # which could be a hub id, were there no folder of that name
    model = inspector.load(folder)
    assert inspector.verify(model, IDS, controls=False, spliced=False).ok


def test_a_wrong_scale_is_seen(tmp_path: Path) -> None:
    folder, _ = saved(tmp_path)
    model = inspector.load(folder)
    change(folder, lora_alpha=9)
    assert inspector.verify(model, IDS, controls=False, spliced=False).verdict == "different"


@pytest.mark.parametrize("odd", [{"use_dora": True}, {"init_lora_weights": "pissa"}])
def test_other_adapters_are_verified_with_what_the_model_holds(odd: dict[str, Any], tmp_path: Path) -> None:
    folder, live = saved(tmp_path, **odd)
    model = inspector.load(folder)
    assert torch.allclose(model.trace(IDS).last_logits, live(torch.tensor([IDS])).logits[0, -1], atol=2e-4)
    report = inspector.verify(model, IDS, controls=False)
    assert (report.verdict, report.weights_from) == ("equal", "memory")
    assert f"Weights from memory, not from files: the adapter has {next(iter(odd))}" in str(report)


def merged(model: Any) -> Any:
    model.merge_adapter()
    return model


def two(model: Any) -> Any:
    model.add_adapter("two", peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    model.base_model.set_adapter(["default", "two"])
    return model


def other_kind(config: Any) -> Callable[[Any], Any]:
    def make(model: Any) -> Any:
        found = peft.get_peft_model(model.unload(), config)
        for parameter in found.parameters():
            if parameter.requires_grad:
                parameter.data += 0.1 * torch.randn_like(parameter)
        return found

    return make


LIVE: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a PeftModel": (lambda model: model, "12 as base + scale·B·A (LoRA)"),
    "its base, changed in place": (lambda model: model.get_base_model(), "12 as base + scale·B·A (LoRA)"),
    "compiled": (lambda model: torch.compile(model, backend="eager"), "12 as base + scale·B·A (LoRA)"),
    "DataParallel": (nn.DataParallel, "12 as base + scale·B·A (LoRA)"),
    "two adapters": (two, "12 as base + scale·B·A (LoRA)"),
    "one layer of three": (
        other_kind(peft.LoraConfig(target_modules=["q_proj"], layers_to_transform=[1], init_lora_weights=False)),
        "1 as base + scale·B·A (LoRA)",
    ),
    "merged in place": (merged, "Weights from memory, not from files."),
    "IA3": (
        other_kind(peft.IA3Config(target_modules=["k_proj", "v_proj"], feedforward_modules=[])),
        "6 as what its ia3 layer does to unit vectors",
    ),
    "LoHa": (other_kind(peft.LoHaConfig(target_modules=["q_proj"], r=4)), "3 as what its loha layer"),
}


@pytest.mark.parametrize("case", LIVE)
def test_a_live_model_is_verified_with_the_weights_it_holds(case: str, tmp_path: Path) -> None:
    plain = tiny.load("grouped", tmp_path)
    before = plain.trace(IDS).last_logits
    make, words = LIVE[case]
    live = make(adapted(plain.model))
    model = inspector.load(live, plain.tokenizer)
    found = model.trace(IDS)
    inside = getattr(live, "_orig_mod", live).eval()
    assert torch.allclose(found.last_logits, inside(torch.tensor([IDS])).logits[0, -1:], atol=1e-5)
    assert not torch.allclose(found.last_logits, before, atol=0.01)
    report = inspector.verify(model, IDS, controls=case == "a PeftModel")
    assert (report.verdict, report.weights_from) == ("equal", "memory"), str(report)
    assert words in str(report)
    assert model.head_parameters(1, 0).W_q.shape == (16, 64)


def test_what_is_switched_off_does_not_count(tmp_path: Path) -> None:
    plain = tiny.load("grouped", tmp_path)
    live = adapted(plain.model)
    with live.disable_adapter():
        report = inspector.verify(inspector.load(live, plain.tokenizer), IDS, controls=False)
    assert report.verdict == "equal"
    assert all(check.differing == 0 for check in report.checks)


def test_what_adds_tokens_of_its_own_is_refused(tmp_path: Path) -> None:
    plain = tiny.load("grouped", tmp_path / "base")
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    live = peft.get_peft_model(plain.model, config)
    live.save_pretrained(tmp_path / "adapter")
    for given in ((live, plain.tokenizer), (tmp_path / "adapter",)):
        with pytest.raises(inspector.InspectorError, match="adapted by PROMPT_TUNING, which works beside"):
            inspector.load(*given)


def test_the_base_is_found_beside_and_its_tokens_fit(tmp_path: Path) -> None:
    plain = tiny.load("grouped", tmp_path / "base")
    plain.model.resize_token_embeddings(130, mean_resizing=False)
    live = adapted(plain.model, modules_to_save=["embed_tokens", "lm_head"])
    live.save_pretrained(tmp_path / "adapter", save_embedding_layers=True)
    shutil.copytree(tmp_path / "base", tmp_path / "other")
    change(tmp_path / "adapter", base_model_name_or_path="../other")
    model = inspector.load(tmp_path / "adapter")
    assert model.vocabulary == 130
    assert inspector.verify(model, IDS, controls=False).weights_from == "files"


@pytest.mark.parametrize("task", adapter.OTHER_HEADS)
def test_a_head_that_the_base_lacks_is_said_to_be_left_out(task: str, tmp_path: Path) -> None:
    plain = tiny.load("grouped", tmp_path / "base")
    model = getattr(transformers, f"Llama{adapter.OTHER_HEADS[task]}")(plain.model.config)
    model.model = plain.model.model
    model.save_pretrained(shutil.copytree(tmp_path / "base", tmp_path / "with head"))
    adapted(model, task_type=task).save_pretrained(tmp_path / "adapter")
    words = f"trained with a head of its own ({task}), which is left out"
    assert words in str(inspector.verify(inspector.load(tmp_path / "adapter"), IDS, controls=False))
    change(tmp_path / "adapter", base_model_name_or_path=str(tmp_path / "with head"))
    with_head = inspector.load(tmp_path / "adapter")
    assert (with_head.remarks, hasattr(with_head.model, "score")) == ((), True)
    assert with_head.trace(IDS).last_logits is None
    assert inspector.verify(with_head, IDS, controls=False).weights_from == "files"


def lacking(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "no base": (lambda f: change(f, base_model_name_or_path=None), "names no base model: write a hub id or a folder"),
    "a base that is not here": (
        lambda f: change(f, base_model_name_or_path="/nowhere/base"),
        r"'/nowhere/base' that the adapter_config.json of .* names .* cannot be taken: There is no file or folder",
    ),
    "an adapter as base": (lambda f: change(f, base_model_name_or_path=str(f.parent / "copy")), "is an adapter itself"),
    "another rank": (lambda f: change(f, r=7), "could not put the adapter .* into its base"),
    "fewer modules": (lambda f: change(f, target_modules=["q_proj"]), "does not fit its base: .* and 15 more"),
    "pickled": (lacking, "only as a pickled file"),
    "no settings": (lambda f: (f / "adapter_config.json").write_text("{"), "is not readable JSON"),  # type: ignore[dict-item,return-value]
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_taken_is_one_sentence(case: str, tmp_path: Path) -> None:
    folder, _ = saved(tmp_path)
    shutil.copytree(folder, tmp_path / "copy")
    spoil, words = BROKEN[case]
    spoil(folder)
    with pytest.raises(inspector.InspectorError, match=words):
        inspector.load(folder)


def test_without_peft_the_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = saved(tmp_path)
    monkeypatch.setattr(adapter, "is_installed", lambda module: False)
    with pytest.raises(inspector.InspectorError, match="run `pip install peft`"):
        inspector.load(folder)
    with pytest.raises(inspector.InspectorError, match=r"no config\.json in .* there is one in base, adapter inside"):
        inspector.load(tmp_path)
    with pytest.raises(inspector.InspectorError, match="is a PEFT adapter and no whole model"):
        refuse_without_weights("owner/name", ["adapter_config.json", "adapter_model.safetensors"], "the hub")

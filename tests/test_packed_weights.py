"""Weights held or stored packed (quantised): captured, and verified with the matrices that the model multiplies by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

import inspector
from inspector.loading import packed_weights

IDS = tiny.ids(12)
MEMORY = "Weights from memory, not from files"


def verified(model: Any, words: str, **options: Any) -> inspector.VerificationReport:
    report = inspector.verify(model, IDS, **{"controls": False, **options})
    assert (report.verdict, report.weights_from) == ("equal", "memory"), str(report)
    assert MEMORY in str(report)
    assert words in str(report), str(report)
    return report


def packed(settings: dict[str, Any], folder: Path) -> Path:
    """A folder whose config.json says that its weights are packed."""
    path = tiny.save("grouped", folder) / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return folder


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_torchao(tmp_path: Path) -> None:
    pytest.importorskip("torchao", reason="packing needs the package torchao")
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    plain = tiny.load("biases", tmp_path / "plain")
    before = plain.trace(IDS).last_logits
    quantize_(plain.model, Int8WeightOnlyConfig())
    model = inspector.load(plain.model, plain.tokenizer)
    assert not torch.equal(model.trace(IDS).last_logits, before)
    report = verified(model, "12 as Int8Tensor, unpacked", controls=True)
    assert report.planted == report.caught > 20
    matrix = model.model.model.layers[1].self_attn.q_proj.weight.dequantize()
    assert torch.equal(model.head_parameters(1, 3).W_q, matrix[48:])
    trace = model.trace(IDS)
    plain.model.model.layers[0].self_attn.q_proj.weight.scale.mul_(2)
    with pytest.raises(inspector.InspectorError, match="no longer the model that made this trace"):
        trace.output(0)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_torchao_in_files_and_with_rounded_inputs(tmp_path: Path) -> None:
    pytest.importorskip("torchao", reason="packing needs the package torchao")
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig, quantize_
    from transformers import AutoModelForCausalLM, TorchAoConfig

    plain = tiny.load("grouped", tmp_path / "plain")
    settings = TorchAoConfig(Int8WeightOnlyConfig())
    held = AutoModelForCausalLM.from_pretrained(tmp_path / "plain", quantization_config=settings, dtype=torch.float32)
    held.save_pretrained(tmp_path / "packed")
    plain.tokenizer.save_pretrained(tmp_path / "packed")
    verified(inspector.load(tmp_path / "packed"), "12 as Int8Tensor, unpacked")
    quantize_(plain.model, Int8DynamicActivationInt8WeightConfig())
    model = inspector.load(plain.model, plain.tokenizer)
    verified(model, "This model's Linear rounds what it multiplies")


def test_quanto(tmp_path: Path) -> None:
    pytest.importorskip("optimum.quanto", reason="packing needs the package optimum-quanto")
    from optimum.quanto import freeze, qint8, quantize

    plain = tiny.load("grouped", tmp_path)
    quantize(plain.model, weights=qint8)
    model = inspector.load(plain.model, plain.tokenizer)
    verified(model, "12 as WeightQBytesTensor, unpacked", spliced=False)  # not frozen: packed at each pass
    freeze(plain.model)
    verified(model, "12 as WeightQBytesTensor, unpacked")


@pytest.mark.filterwarnings("ignore")
def test_bitsandbytes_rounds_what_it_multiplies(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="packing needs the package bitsandbytes, a wheel of 43 MB")
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    plain = tiny.load("grouped", tmp_path)
    held = AutoModelForCausalLM.from_pretrained(
        tmp_path, quantization_config=BitsAndBytesConfig(load_in_8bit=True), dtype=torch.float32
    )
    model = inspector.load(held, plain.tokenizer)
    report = verified(model, "12 as Int8Params, unpacked")
    assert "This model's Linear8bitLt rounds what it multiplies" in str(report)
    assert "Verified is a copy with these matrices written out" in str(report)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_lora_on_packed_matrices(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="adapters need the package peft")
    pytest.importorskip("torchao", reason="packing needs the package torchao")
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    plain = tiny.load("grouped", tmp_path)
    quantize_(plain.model, Int8WeightOnlyConfig())
    live = peft.get_peft_model(plain.model, peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    report = verified(inspector.load(live, plain.tokenizer), "3 as base + scale·B·A (LoRA) on Int8Tensor, unpacked")
    assert "9 as Int8Tensor, unpacked" in str(report)


def test_float8_files_are_unpacked_by_the_library(tmp_path: Path) -> None:
    settings = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [32, 32]}
    packed({"quantization_config": settings}, tmp_path)
    whole, tensors = load_file(tmp_path / "model.safetensors"), {}
    for name, matrix in whole.items():
        tensors[name] = matrix
        if name.endswith("_proj.weight"):
            rows, columns = (size // 32 for size in matrix.shape)
            blocks = matrix.view(rows, 32, columns, 32)
            scale = blocks.abs().amax((1, 3), keepdim=True) / 448  # the largest number of float8
            tensors[name] = (blocks / scale).view_as(matrix).to(torch.float8_e4m3fn)
            tensors[f"{name}_scale_inv"] = scale.view(rows, columns)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model = inspector.load(tmp_path)
    held = model.model.model.layers[0].self_attn.q_proj.weight
    assert 0 < (held - whole["model.layers.0.self_attn.q_proj.weight"]).abs().max() < 0.05
    verified(model, "the files hold them packed (fp8), and the library has unpacked them")


def test_a_model_given_as_an_object_says_so(tmp_path: Path) -> None:
    plain = tiny.load("grouped", tmp_path)
    verified(inspector.load(plain.model, plain.tokenizer), f"{MEMORY}.")
    assert inspector.verify(plain, IDS, controls=False).weights_from == "files"
    with_files = inspector.verify(inspector.load(plain.model, plain.tokenizer), IDS, checkpoint=tmp_path)
    assert (with_files.weights_from, MEMORY in str(with_files)) == ("files", False)


MISSING = {
    "gptq": ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "optimum gptqmodel"),
    "awq": ({"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"}, "gptqmodel"),
    "compressed-tensors": ({"quant_method": "compressed-tensors", "format": "int-quantized"}, "compressed-tensors"),
    "torchao": ({"quant_method": "torchao", "quant_type": "int8_weight_only"}, "torchao"),
    "quanto": ({"quant_method": "quanto", "weights": "int8"}, "optimum-quanto"),
    "bitsandbytes_4bit": ({"load_in_4bit": True}, "bitsandbytes"),  # as older files have it
    "bitsandbytes": ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes"),
    "hqq": ({"quant_method": "hqq", "quant_config": {}}, "hqq"),
    "auto-round": ({"quant_method": "auto-round", "bits": 4}, "auto-round"),
}


@pytest.mark.parametrize("method", MISSING)
def test_what_is_not_installed_is_named(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, packages = MISSING[method]
    monkeypatch.setattr(packed_weights, "is_installed", lambda module: False)
    folder = packed({"quantization_config": settings}, tmp_path)
    with pytest.raises(inspector.InspectorError) as caught:
        inspector.load(folder)
    assert str(caught.value) == (
        f"'{folder}' holds weights packed by {method}, and what reads these is not installed: run "
        f"`pip install {packages}`, or give the model that they were packed from."
    )


UNREADABLE = {
    "MLX": ({"quantization": {"bits": 4, "group_size": 64}}, "packed into 4 bits by MLX, .* mlx_lm.convert --dequant"),
    "MLX, named twice": (
        {"quantization_config": {"bits": 8, "group_size": 32}}, "packed into 8 bits by MLX, and transformers has no",
    ),
    "exl2": ({"quantization_config": {"quant_method": "exl2"}}, "packed by exl2, and transformers has no reader"),
    "modelopt": ({"quantization_config": {"quant_method": "modelopt"}}, "packed by modelopt, and transformers has no"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_the_library_cannot_read_is_said(case: str, tmp_path: Path) -> None:
    settings, words = UNREADABLE[case]
    with pytest.raises(inspector.InspectorError, match=words):
        inspector.load(packed(settings, tmp_path))

"""Tiny models with a LoRA for the tests, live and as folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

peft = pytest.importorskip("peft", reason="adapters need the package peft")

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
IDS = tiny.ids(12)


def adapted(base: Any, **settings: Any) -> Any:
    """A model with a LoRA whose every number counts."""
    config = peft.LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": ATTENTION, **settings})
    model = peft.get_peft_model(base, config)
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def saved(tmp_path: Path, kind: str = "grouped", **settings: Any) -> tuple[Path, Any]:
    """An adapter's folder, whose base lies in another; and the live model."""
    plain = tiny.load(kind, tmp_path / "base")
    live = adapted(plain.model, **settings)
    live.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter", live


def change(folder: Path, **fields: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

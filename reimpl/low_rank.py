"""A LoRA adapter on disk: for each matrix that it adapts, base + scale·B·A (Hu et al. 2021, arXiv:2106.09685).

scale is alpha / r, or alpha / sqrt(r) where the adapter was trained so ("rank-stabilised", Kalajdzievski 2023,
arXiv:2312.03732). Whatever else an adapter's settings ask for is refused by name.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from reimpl.errors import CheckpointError, UnsupportedError

SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

# Settings that are read below, or say nothing about the matrices once the weights are there.
READ = {"peft_type", "lora_alpha", "alpha_pattern", "use_rslora", "fan_in_fan_out", "init_lora_weights"}
HARMLESS = {
    "r", "rank_pattern", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern",  # by the tensors
    "modules_to_save", "bias", "trainable_token_indices", "ensure_weight_tying",
    "task_type", "base_model_name_or_path", "revision", "inference_mode", "lora_dropout", "auto_mapping",
    "parent_library", "peft_version", "runtime_config", "megatron_core", "qalora_group_size",
}  # fmt: skip
PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal")  # others change the base when an adapter is made


class AdaptedTensors(Mapping[str, Tensor]):
    """Hold a checkpoint's tensors with an adapter added, each computed when asked for.

    Args:
        base: the checkpoint's tensors by name.
        folder: holds the adapter's settings and weights.
        dtype: what the base's matrices are rounded to before the adapter is added, as in a model of that dtype.
    """

    def __init__(self, base: Mapping[str, Tensor], folder: Path, *, dtype: torch.dtype) -> None:
        self.base, self.dtype = base, dtype
        self.settings = read_settings(folder)
        if why := beyond_low_rank(self.settings):
            raise UnsupportedError(f"The adapter in {folder} has {why}, which is not modelled.")
        self.found = {_plain(name): tensor for name, tensor in _tensors(folder / WEIGHTS).items()}
        known = {name.rpartition(".lora_")[0] for name in self.found if ".lora_" in name}
        lacking = sorted(name for name in known if f"{name}.weight" not in base)
        if lacking:
            raise CheckpointError(f"The adapter in {folder} adapts {lacking[0]}, and its base has no such matrix.")

    def __getitem__(self, name: str) -> Tensor:
        matrix = self.found.get(name)
        if matrix is None:
            matrix = self.base[name]
        module, _, kind = name.rpartition(".")
        a, b = (self.found.get(f"{module}.lora_{side}.weight") for side in "AB")  # [r, m], [d, r]
        if kind != "weight" or a is None or b is None:
            return matrix
        wide = torch.promote_types(self.dtype, torch.float32)
        low_rank = (b.to(wide) @ a.to(wide)) * self.scale(module, a.shape[0])
        return matrix.to(self.dtype).to(wide) + (low_rank.T if self.settings.get("fan_in_fan_out") else low_rank)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self.base, *(name for name in self.found if ".lora_" not in name)]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def scale(self, module: str, rank: int) -> float:
        """Return what B·A is multiplied by.

        Args:
            module: the name of the module that has the matrix.
            rank: r, the rows of A.

        Returns:
            alpha / r, or alpha / sqrt(r); alpha may be another for some modules.
        """
        patterns: Mapping[str, float] = self.settings.get("alpha_pattern") or {}
        fits = [alpha for name, alpha in patterns.items() if re.match(rf"(.*\.)?({name})$", module)]
        alpha = fits[0] if fits else self.settings.get("lora_alpha", 8)
        return float(alpha) / (math.sqrt(rank) if self.settings.get("use_rslora") else rank)


def read_settings(folder: Path) -> dict[str, Any]:
    """Read an adapter's settings.

    Args:
        folder: the adapter's.

    Returns:
        adapter_config.json as a dict.

    Raises:
        CheckpointError: there is none, or it is not readable JSON.
    """
    path = folder / SETTINGS
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable JSON ({error}); fetch the file again.") from None
    if not isinstance(settings, dict):
        raise CheckpointError(f"{path} holds no JSON object; fetch the file again.")
    return settings


def beyond_low_rank(settings: Mapping[str, Any]) -> str:
    """Say what an adapter's settings ask for beyond base + scale·B·A.

    Args:
        settings: adapter_config.json as a dict.

    Returns:
        The settings in words, such as "use_dora true"; empty where there is nothing.
    """
    if settings.get("peft_type") != "LORA":
        return f"peft_type {settings.get('peft_type')}"
    if settings.get("init_lora_weights") not in PLAIN_STARTS:
        return f"init_lora_weights {settings['init_lora_weights']}"
    others = [name for name, value in settings.items() if name not in READ | HARMLESS and value]
    return ", ".join(f"{name} {json.dumps(settings[name])}" for name in sorted(others))


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is damaged or cut short ({error}); fetch the file again.") from None


def _plain(name: str) -> str:
    """Return a tensor's name without what PEFT's wrappers put into it."""
    return re.sub(r"\.(base_layer|modules_to_save)(?=\.)", "", name.removeprefix("base_model.model."))

"""A checkpoint on disk (config.json + safetensors, one file or shards) goes in; one CausalSelfAttention per layer,
with its learned parameters, comes out. Loading is strict: every tensor by name, every shape, or a sentence why not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from reimpl.attention import CausalSelfAttention
from reimpl.families import Family, family_of
from reimpl.spec import AttentionSpec, CheckpointError


def load_layers(
    folder: str | Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> list[CausalSelfAttention]:
    """Every attention layer of the checkpoint in `folder`, in order, ready for inference.

    Raises CheckpointError (files unreadable, a tensor missing or of another shape) or UnsupportedError.
    """
    folder = Path(folder)
    return build_layers(read_config(folder), TensorFiles(folder), dtype=dtype, device=device)


def build_layers(
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> list[CausalSelfAttention]:
    """The same from a config and any mapping of tensor names to tensors (a state dict in memory, say)."""
    family = family_of(config)
    specs = family.specs(config)
    prefix = find_prefix(family, tensors)
    return [_layer(family, spec, prefix, i, tensors, dtype, device) for i, spec in enumerate(specs)]


def read_config(folder: Path) -> dict[str, Any]:
    """config.json as a dict."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{folder} has no config.json; name a folder that holds a checkpoint.") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable JSON ({error}); fetch the file again.") from None
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} holds no JSON object; fetch the file again.")
    return config


class TensorFiles(Mapping[str, Tensor]):
    """The tensors of a folder's safetensors files by name, read when asked for (memory-mapped)."""

    def __init__(self, folder: Path) -> None:
        paths = sorted(folder.glob("*.safetensors"))
        index = folder / "model.safetensors.index.json"
        if index.is_file():
            paths = self._indexed(index)
        if not paths:
            raise CheckpointError(f"{folder} holds no .safetensors file; convert the weights to safetensors first.")
        self.files: dict[str, Any] = {}
        for path in paths:
            try:
                opened = safe_open(path, framework="pt")
            except (OSError, SafetensorError) as error:
                raise CheckpointError(f"{path} is damaged or cut short ({error}); fetch the file again.") from None
            self.files.update(dict.fromkeys(opened.keys(), opened))

    @staticmethod
    def _indexed(index: Path) -> list[Path]:
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{index} is not a readable index ({error}); fetch the file again.") from None
        missing = sorted(name for name in names if not (index.parent / name).is_file())
        if missing:
            raise CheckpointError(f"{index.parent} lacks {missing[0]}, which its index names; fetch that shard.")
        return [index.parent / name for name in sorted(names)]

    def __getitem__(self, name: str) -> Tensor:
        tensor: Tensor = self.files[name].get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)


def find_prefix(family: Family, tensors: Mapping[str, Tensor]) -> str:
    """What stands before the first layer's attention in this checkpoint's names: "model." for most."""
    first = family.attention.format(i=0)
    prefixes = {name[: name.index(first)] for name in tensors if first in name}
    if len(prefixes) != 1:
        found = "none" if not prefixes else " and ".join(sorted(f'"{prefix}"' for prefix in prefixes))
        raise CheckpointError(f"The tensors of {first}* were looked for under one prefix, found: {found}.")
    return prefixes.pop()


def _layer(
    family: Family,
    spec: AttentionSpec,
    prefix: str,
    i: int,
    tensors: Mapping[str, Tensor],
    dtype: torch.dtype,
    device: torch.device | str,
) -> CausalSelfAttention:
    with torch.device("meta"):  # shapes without memory; the checkpoint's tensors are put in below
        layer = CausalSelfAttention(spec)
    place = prefix + family.attention.format(i=i)
    state: dict[str, Tensor] = {}
    for ours, parameter in layer.state_dict().items():
        module, kind = ours.rsplit(".", 1)
        name = f"{place}{family.tensors[module]}.{kind}"
        if name not in tensors:
            raise CheckpointError(f"The checkpoint has no tensor {name}, which its config.json calls for.")
        tensor = tensors[name]
        if tensor.shape != parameter.shape:
            raise CheckpointError(
                f"Tensor {name} has shape {list(tensor.shape)}; config.json calls for {list(parameter.shape)}."
            )
        state[ours] = tensor.to(device=device, dtype=dtype)
    theirs = {name for name in tensors if name.startswith(place)}
    used = {f"{place}{family.tensors[ours.rsplit('.', 1)[0]]}.{ours.rsplit('.', 1)[1]}" for ours in state}
    if unread := sorted(name for name in theirs - used if not name.endswith("rotary_emb.inv_freq")):
        raise CheckpointError(f"The checkpoint has tensors that were not read: {', '.join(unread[:3])}.")
    layer.load_state_dict(state, assign=True)
    return layer.requires_grad_(False).eval()

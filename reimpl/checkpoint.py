"""A checkpoint on disk (config.json + safetensors, one file or shards) goes in, its attention layers come out.

Loading is strict: every tensor by name, every shape, or a sentence why not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from reimpl.attention import CausalSelfAttention
from reimpl.families import family_of
from reimpl.families.family import Family, Place
from reimpl.harmless_fields import UNKNOWN_CLASS, ClassReading
from reimpl.low_rank import AdaptedTensors
from reimpl.spec import AttentionSpec, CheckpointError
from reimpl.weights_on_disk import weight_files


def load_layers(
    folder: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    known: Collection[str] | None = None,
    config: Mapping[str, Any] | None = None,
    by_class: ClassReading = UNKNOWN_CLASS,
    adapter: Path | None = None,
) -> list[CausalSelfAttention]:
    """Load every attention layer of a checkpoint, in order, ready for inference.

    Args:
        folder: holds config.json and the safetensors files.
        dtype: of the parameters.
        device: where they are put.
        known: the names of the tensors that a model of this config has, where that is known from elsewhere: others may
            stand in its attention modules unread. None: every tensor there must be read.
        config: what to read instead of the folder's config.json.
        by_class: how the library's class reads the config, where that is known.
        adapter: a folder with a LoRA adapter that is added to the weights, if any.

    Returns:
        The layers.

    Raises:
        CheckpointError: files cannot be read, or a tensor is missing or of another shape.
        UnsupportedError: the config asks for something that is not modelled.
    """
    folder = Path(folder)
    config = read_config(folder) if config is None else config
    tensors: Mapping[str, Tensor] = TensorFiles(folder)
    return build_layers(
        config,
        tensors if adapter is None else AdaptedTensors(tensors, adapter, dtype=dtype),
        dtype=dtype,
        device=device,
        known=known,
        by_class=by_class,
    )


def build_layers(
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    known: Collection[str] | None = None,
    only: str | None = None,
    by_class: ClassReading = UNKNOWN_CLASS,
) -> list[CausalSelfAttention]:
    """Build the layers from a config and any mapping of tensor names to tensors, such as a state dict in memory.

    Args:
        config: config.json as a dict.
        tensors: the model's, by name.
        dtype: of the parameters.
        device: where they are put.
        known: the names of the tensors that a model of this config has, where that is known from elsewhere: others may
            stand in its attention modules unread. None: every tensor there must be read.
        only: the `place` of the one layer to build; None: all.
        by_class: how the library's class reads the config, where that is known.

    Returns:
        The layers, in order.

    Raises:
        CheckpointError: a tensor is missing or of another shape.
        UnsupportedError: the config asks for something that is not modelled.
    """
    family, config = family_of(config)
    specs = family.specs(config, by_class)
    where = find_prefix(next(iter(specs)), tensors)
    wanted = {place: spec for place, spec in specs.items() if only in (None, place[-1])}
    return [_layer(family, spec, where, place, tensors, dtype, device, known) for place, spec in wanted.items()]


def attention_specs(config: Mapping[str, Any], by_class: ClassReading = UNKNOWN_CLASS) -> dict[Place, AttentionSpec]:
    """Read what every attention layer of a config is, without its weights.

    Args:
        config: config.json as a dict.
        by_class: how the library's class reads it, where that is known.

    Returns:
        The spec of each layer by its place.

    Raises:
        CheckpointError: a field is missing or has an impossible value.
        UnsupportedError: the config asks for something that is not modelled.
    """
    family, config = family_of(config)
    return family.specs(config, by_class)


def read_config(folder: Path) -> dict[str, Any]:
    """Read config.json.

    Args:
        folder: the checkpoint's.

    Returns:
        The config as a dict.

    Raises:
        CheckpointError: there is none, or it is not readable JSON.
    """
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
    """Hold the tensors of a folder's safetensors files by name, read when asked for (memory-mapped).

    Args:
        folder: the checkpoint's.
    """

    def __init__(self, folder: Path) -> None:
        self.files: dict[str, Any] = {}
        for path in weight_files(folder):
            try:
                opened: Any = safe_open(path, framework="pt")
            except (OSError, SafetensorError) as error:
                raise CheckpointError(f"{path} is damaged or cut short ({error}); fetch the file again.") from None
            names: list[str] = opened.keys()
            self.files.update(dict.fromkeys(names, opened))

    def __getitem__(self, name: str) -> Tensor:
        tensor: Tensor = self.files[name].get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)


class Where(NamedTuple):
    """Hold how a checkpoint's names begin ("model." for most), and which of a place's names it uses."""

    prefix: str
    alternative: int


def find_prefix(place: Place, tensors: Mapping[str, Tensor]) -> Where:
    """Find the first attention layer in the checkpoint's names.

    Where several parts of a model have such a place (an image encoder beside the language model), the language
    model's is the one without a word for the others in it.

    Args:
        place: of the first attention layer.
        tensors: the checkpoint's, by name.

    Returns:
        What stands before the place, and which of its names the checkpoint uses.

    Raises:
        CheckpointError: the place is found under no prefix, or under several.
    """
    prefixes: set[Where] = set()
    for number, name in enumerate(place):
        wanted = re.compile(rf"(?:^|(?<=\.)){re.escape(name)}\.")
        prefixes |= {Where(tensor[: at.start()], number) for tensor in tensors if (at := wanted.search(tensor))}
    if len(prefixes) > 1:
        prefixes = {where for where in prefixes if not any(word in where.prefix for word in OTHER_PARTS)}
    if len(prefixes) != 1:
        found = "none" if not prefixes else " and ".join(sorted(f'"{where.prefix}"' for where in prefixes))
        raise CheckpointError(
            f"The tensors of {' or '.join(place)}.* were looked for under one prefix, found: {found}."
        )
    return prefixes.pop()


# Parts of multimodal models that also have layers, and stages that only training uses.
OTHER_PARTS = ("vision", "visual", "audio", "image", "encoder", "talker", "depth", "mtp", "draft", "code2wav")


def _layer(
    family: Family,
    spec: AttentionSpec,
    where: Where,
    place: Place,
    tensors: Mapping[str, Tensor],
    dtype: torch.dtype,
    device: torch.device | str,
    known: Collection[str] | None,
) -> CausalSelfAttention:
    with torch.device("meta"):  # shapes without memory; the checkpoint's tensors are put in below
        layer = CausalSelfAttention(spec, place[-1])
    within = f"{where.prefix}{place[where.alternative]}."
    state: dict[str, Tensor] = {}
    used: set[str] = set()
    for ours, parameter in layer.state_dict().items():
        found = [[within + name for name in names] for names in family.tensor_names(ours, heads=parameter.shape[0])]
        names = next((names for names in found if names[0] in tensors), found[0])
        if missing := [name for name in names if name not in tensors]:
            raise CheckpointError(f"The checkpoint has no tensor {missing[0]}, which its config.json calls for.")
        parts = [tensors[name] for name in names]
        tensor = parts[0] if len(parts) == 1 else torch.stack(parts)
        stacked = family.stacked(ours) if names is found[0] else None
        heights = stacked.heights(spec) if stacked is not None else [len(parameter)]
        due = [sum(heights), *parameter.shape[1:]]
        if list(tensor.shape) != due:
            raise CheckpointError(f"Tensor {names[0]} has shape {list(tensor.shape)}; config.json calls for {due}.")
        if stacked is not None:
            tensor = tensor.split(heights)[stacked.part]
        state[ours] = tensor.to(device=device, dtype=dtype)
        used.update(names)
    theirs = {name.removeprefix(within) for name in tensors if name.startswith(within) and name not in used}
    ignored = (*family.ignored, *SHARED_LEFTOVERS * (spec.shares is not None), "rotary_emb.inv_freq")
    unread = sorted(name for name in theirs if not name.startswith(ignored))
    if known is not None and unread:
        unread = [name for name in unread if any(_has(known, f"{each}.{name}") for each in place)]
    if unread:
        raise CheckpointError(f"The checkpoint has tensors that were not read: {within}{', '.join(unread[:3])}.")
    layer.load_state_dict(state, assign=True)
    return layer.requires_grad_(False).eval()


def _has(known: Collection[str], name: str) -> bool:
    """Say whether there is a tensor of this name under any prefix."""
    return any(each == name or each.endswith(f".{name}") for each in known)


# A layer that uses another's keys and values may still carry matrices of its own, which nothing reads.
SHARED_LEFTOVERS = ("k_proj.", "v_proj.", "k_norm.", "v_norm.")

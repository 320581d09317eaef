"""Refuse weights that are not those which config.json describes, or that are no numbers.

What no shape and no number gives away is not noticed here: another rope_theta, or one changed bit that leaves a number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from inspector.errors import InspectorError
from inspector.loading.folder_checks import weight_files
from inspector.text import few

PACKED = 32  # numbers that one packed integer can hold at most: one bit each


def refuse_far_larger(folder: Path, name: str, config: Any, model_class: type) -> None:
    """Refuse a config.json that describes a far larger model than the weight files hold; only headers are read.

    The library would make room for such a model before it compares, which can take all of a machine's memory.

    Args:
        folder: holds the weight files.
        name: what the user called the model.
        config: the library's PretrainedConfig of this folder.
        model_class: the library's class that is about to load it.

    Raises:
        InspectorError: where it describes more layers than there are tensors, or more than twice the numbers.
    """
    tensors, stored = 0, 0
    for path in weight_files(folder, name):
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118  (not a dict)
                part = file.get_slice(key)
                tensors += 1
                stored += math.prod(part.get_shape()) * (
                    1 if part.get_dtype() in ("F64", "F32", "F16", "BF16") else PACKED
                )
    layers = getattr(config.get_text_config(), "num_hidden_layers", 0)
    if isinstance(layers, int) and layers > tensors:
        raise _larger(name, f"{layers:,} layers", f"{tensors:,} tensors")
    with torch.device("meta"):
        described = sum(parameter.numel() for parameter in model_class(config).parameters())
    if described > 2 * stored:  # tied weights are stored once and may be described twice
        raise _larger(name, f"{described:,} numbers", f"{stored:,} at most")


def _larger(name: str, described: str, stored: str) -> InspectorError:
    return InspectorError(
        f"The config.json of '{name}' describes a model of {described} and its weights hold {stored}: restore the "
        "config.json that belongs to these weights."
    )


def refuse_unread_weights(name: str, loading_info: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that lacks weights of the model, which the library would draw at random instead.

    Args:
        name: what the user called the model.
        loading_info: what `from_pretrained(..., output_loading_info=True)` returns; tied weights are not in it.

    Raises:
        InspectorError: naming the weights that are missing or of another shape.
    """
    other_shape = [f"{key} {list(got)} for {list(due)}" for key, got, due in loading_info["mismatched_keys"]]
    missing = sorted(loading_info["missing_keys"]) + sorted(other_shape)
    if missing:
        unread = ", ".join(sorted(loading_info["unexpected_keys"])[:3])
        raise InspectorError(
            f"The checkpoint of '{name}' lacks {len(missing)} of the model's weights ({few(missing)}), which "
            f"would be random numbers{f' (it holds others, such as {unread})' if unread else ''}: load a "
            "complete checkpoint, or one whose config.json fits its weights."
        )


def refuse_left_out(name: str, loading_info: Mapping[str, Any], model: torch.nn.Module) -> None:
    """Refuse a checkpoint with whole layers that the model, as its config.json says, does not have.

    Other weights that nobody reads (another task's head, an image encoder) are no reason to refuse.

    Args:
        name: what the user called the model.
        loading_info: what `from_pretrained(..., output_loading_info=True)` returns.
        model: the loaded model.

    Raises:
        InspectorError: naming the weights that were left out.
    """
    kinds = {_numbered(key) for key in model.state_dict()}
    left = sorted(key for key in loading_info["unexpected_keys"] if _numbered(key) in kinds)
    if left:
        raise InspectorError(
            f"The checkpoint of '{name}' holds {len(left)} weights for layers that its config.json does not have "
            f"({few(left)}), and would run without them: restore the config.json that belongs to these weights."
        )


def _numbered(key: str) -> str:
    """Return a weight's name with every number as 0, which layers have in common."""
    return re.sub(r"\d+", "0", key)


def refuse_broken_numbers(name: str, model: torch.nn.Module) -> None:
    """Refuse a model with a weight that is infinite or not a number; every weight is read once (0.1 s for 540 MB).

    Args:
        name: what the user called the model.
        model: the loaded model.

    Raises:
        InspectorError: naming the first such tensor and how many of its numbers are broken.
    """
    for key, parameter in _numbers(model):
        if not parameter.is_meta and not all_finite(parameter):  # on "meta" are those left on the disk
            values = parameter.float()
            what = "not a number (NaN)" if bool(values.isnan().any()) else "infinite"
            count = int((~values.isfinite()).sum())
            dtype = str(parameter.dtype).removeprefix("torch.")
            raise InspectorError(
                f"The weights of '{name}' are damaged or too large for {dtype}: {count:,} of the {values.numel():,} "
                f"numbers of {key} are {what}; download the file again, or choose a wider dtype."
            )


def _numbers(model: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Give the parameters' numbers by name, those of packed ones part by part."""
    for key, parameter in model.named_parameters():
        parts = plain_parts(parameter.detach())
        for number, part in enumerate(parts):
            yield key if len(parts) == 1 else f"{key} (part {number} of what it is packed in)", part


def plain_parts(tensor: Tensor) -> list[Tensor]:
    """Return the plain tensors that a packed one is made of.

    Args:
        tensor: any.

    Returns:
        Itself where it is plain.
    """
    if not hasattr(tensor, "__tensor_flatten__"):
        return [tensor]
    inside = [getattr(tensor, name) for name in tensor.__tensor_flatten__()[0]]
    return [part for each in inside if isinstance(each, Tensor) for part in plain_parts(each)]


def all_finite(tensor: Tensor) -> bool:
    """Return whether no element is infinite or NaN, without a copy of the tensor's size."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return True
    low, high = torch.aminmax(tensor if tensor.itemsize > 1 else tensor.float())
    return bool(torch.isfinite(low) & torch.isfinite(high))

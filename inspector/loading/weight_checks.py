"""Are these the weights that config.json describes, and are they numbers? What is about to be loaded, what the library
says it read, or a loaded model goes in; nothing comes out where all is well, and an InspectorError where it is not.

What no shape and no number gives away is not noticed here: another rope_theta, or one changed bit that leaves a number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
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
    """Raises InspectorError where config.json describes a far larger model than the files hold: the library would make
    room for it before it compares, which can take all of a machine's memory. Reads headers only."""
    tensors, held = 0, 0
    for path in weight_files(folder, name):
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118  (not a dict)
                part = file.get_slice(key)
                tensors += 1
                held += math.prod(part.get_shape()) * (
                    1 if part.get_dtype() in ("F64", "F32", "F16", "BF16") else PACKED
                )
    layers = getattr(config.get_text_config(), "num_hidden_layers", 0)
    if isinstance(layers, int) and layers > tensors:
        raise _larger(name, f"{layers:,} layers", f"{tensors:,} tensors")
    with torch.device("meta"):
        described = sum(parameter.numel() for parameter in model_class(config).parameters())
    if described > 2 * held:  # tied weights are held once and may be described twice
        raise _larger(name, f"{described:,} numbers", f"{held:,} at most")


def _larger(name: str, described: str, held: str) -> InspectorError:
    return InspectorError(
        f"The config.json of '{name}' describes a model of {described} and its weights hold {held}: restore the "
        "config.json that belongs to these weights."
    )


def refuse_unread_weights(name: str, loading_info: Mapping[str, Any]) -> None:
    """Raises InspectorError where the library would have drawn weights at random instead of reading them.

    `loading_info` is what `from_pretrained(..., output_loading_info=True)` gives; tied weights are not in it.
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
    """Raises InspectorError where the checkpoint holds whole layers that the model, as its config.json says, has not.

    Other weights that nobody reads (another task's head, a tower of images) are no reason to refuse.
    """
    kinds = {_numbered(key) for key in model.state_dict()}
    left = sorted(key for key in loading_info["unexpected_keys"] if _numbered(key) in kinds)
    if left:
        raise InspectorError(
            f"The checkpoint of '{name}' holds {len(left)} weights for layers that its config.json does not have "
            f"({few(left)}), and would run without them: restore the config.json that belongs to these weights."
        )


def _numbered(key: str) -> str:
    return re.sub(r"\d+", "0", key)


def refuse_broken_numbers(name: str, model: torch.nn.Module) -> None:
    """Raises InspectorError where a weight is infinite or not a number. Reads every weight once (0.1 s for 540 MB)."""
    for key, parameter in model.named_parameters():
        if not parameter.is_meta and not all_finite(parameter.detach()):  # on "meta" are those left on the disk
            values = parameter.detach().float()
            what = "not a number (NaN)" if bool(values.isnan().any()) else "infinite"
            count = int((~values.isfinite()).sum())
            dtype = str(parameter.dtype).removeprefix("torch.")
            raise InspectorError(
                f"The weights of '{name}' are damaged or too large for {dtype}: {count:,} of the {values.numel():,} "
                f"numbers of {key} are {what}; fetch the file again, or choose a wider dtype."
            )


def all_finite(tensor: Tensor) -> bool:
    """Whether no element is infinite or NaN; quick, and without a copy of the tensor's size."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return True
    low, high = torch.aminmax(tensor if tensor.itemsize > 1 else tensor.float())
    return bool(torch.isfinite(low) & torch.isfinite(high))

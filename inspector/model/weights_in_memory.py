"""The weights that a model holds: a second source beside files, where it does not hold them as plain matrices.

Names are those that the plain model's tensors have, so that the same layers can be built of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from inspector.model.matrices import adapted_bias, adapted_matrix, holds_tensors, is_packed, unpacked_matrix
from inspector.model.peft_modules import acting_adapters, acting_module, adapts_bias, innermost, is_low_rank


class TensorsInMemory(Mapping[str, Tensor]):
    """Hold a model's tensors by the plain model's names; what is packed or adapted is written out when asked for."""

    def __init__(self, makers: Mapping[str, Callable[[], Tensor]]) -> None:
        """Take for each name what makes its tensor."""
        self._makers = makers

    def __getitem__(self, name: str) -> Tensor:
        return self._makers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


@dataclass(frozen=True)
class WeightsInMemory:
    """Hold a model's weights as they are in memory.

    Attributes:
        tensors: by the plain model's names.
        packed_or_adapted: the modules that hold no plain matrix, by the plain model's names, with what they hold in
            words.
    """

    tensors: Mapping[str, Tensor]
    packed_or_adapted: Mapping[str, str]


def find_weights(model: nn.Module, dtype: torch.dtype) -> WeightsInMemory:
    """Find the weights that a model holds now.

    Args:
        model: the library's model, with or without adapters, packed or not.
        dtype: what it computes in.

    Returns:
        The weights; none is written out before it is asked for.
    """
    makers: dict[str, Callable[[], Tensor]] = {}
    forms: dict[str, str] = {}
    _collect(model, "", dtype, makers, forms)
    return WeightsInMemory(TensorsInMemory(makers), forms)


def _collect(
    module: nn.Module, name: str, dtype: torch.dtype, makers: dict[str, Callable[[], Tensor]], forms: dict[str, str]
) -> None:
    """Note what makes the tensors of a module and of all within it."""
    if form := _form(module):
        forms[name] = form
    module, _ = acting_module(module)
    within = f"{name}." if name else ""
    if hasattr(module, "base_layer"):
        makers[f"{within}weight"] = partial(adapted_matrix, module, dtype)
        if getattr(innermost(module), "bias", None) is not None or adapts_bias(module):
            makers[f"{within}bias"] = partial(adapted_bias, module, dtype)
    elif is_packed(module):
        makers[f"{within}weight"] = partial(unpacked_matrix, module, dtype)
        if isinstance(bias := getattr(module, "bias", None), Tensor):
            makers[f"{within}bias"] = bias.detach
    else:
        for key, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if key not in module._non_persistent_buffers_set:
                makers[within + key] = tensor.detach
        for child, part in module.named_children():
            _collect(part, within + child, dtype, makers, forms)


def _form(module: Any) -> str:
    """Say what a module holds instead of a plain matrix; empty where it holds one."""
    acting, form = acting_module(module)
    if hasattr(acting, "base_layer"):
        inner = _form(acting.base_layer)
        if not acting_adapters(acting):
            return inner
        kind = "LoRA" if hasattr(acting, "lora_A") else type(acting).__module__.split(".")[-2]
        what = f"base + scale·B·A ({kind})" if is_low_rank(acting) else f"what its {kind} layer does to unit vectors"
        return f"{what} on {inner}" if inner else what
    if not is_packed(acting):
        return form
    weight = getattr(acting, "qweight", None)
    weight = weight if weight is not None and holds_tensors(weight) else getattr(acting, "weight", None)
    kind = type(weight if isinstance(weight, Tensor) and type(weight) is not nn.Parameter else acting).__name__
    return f"{kind}, unpacked"

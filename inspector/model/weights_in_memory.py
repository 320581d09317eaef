"""The weights that a model holds: a second source beside files, where it does not hold them as plain matrices.

Names are those that the plain model's tensors have, so that the same layers can be built of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from inspector.model.matrices import (
    adapted_bias,
    adapted_matrix,
    added_to_products,
    computed_parameters,
    holds_tensors,
    is_own_product,
    is_packed,
    is_somebodys,
    matrix_of_products,
    unpacked_matrix,
)
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


def find_weights(model: nn.Module, dtype: torch.dtype, *, within: Collection[str] | None = None) -> WeightsInMemory:
    """Find the weights that a model holds now.

    Args:
        model: the library's model, with or without adapters, packed or not.
        dtype: what it computes in.
        within: the names of the modules whose weights are wanted, with all that is in them; None: of the whole model.

    Returns:
        The weights; none is written out before it is asked for.
    """
    makers: dict[str, Callable[[], Tensor]] = {}
    forms: dict[str, str] = {}
    _collect(model, "", dtype, makers, forms, None if within is None else _with_ancestors(within))
    return WeightsInMemory(TensorsInMemory(makers), forms)


def _with_ancestors(names: Collection[str]) -> dict[str, bool]:
    """Return which modules lead to those of these names (False) and which are meant (True)."""
    parts = [name.split(".") for name in names]
    leading = {".".join(each[:length]): False for each in parts for length in range(len(each))}
    return {**leading, **dict.fromkeys(names, True)}


def _collect(
    module: nn.Module,
    name: str,
    dtype: torch.dtype,
    makers: dict[str, Callable[[], Tensor]],
    forms: dict[str, str],
    wanted: Mapping[str, bool] | None,
    *,
    within_librarys: bool = False,
) -> None:
    """Note what makes the tensors of a module and of all within it that is wanted; None: everything.

    Somebody's own module counts as a product where it stands in one of the library's alone.
    """
    module = getattr(module, "_orig_mod", module)  # torch.compile's wrapper has its module's tensors
    added = added_to_products(module, dtype) if within_librarys and is_own_product(module) else None
    if wanted is not None and wanted.get(name):
        wanted = None
    if form := _form(module) if added is None else f"what its {type(module).__name__} does to unit vectors":
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
    elif added is not None:
        makers[f"{within}weight"] = partial(matrix_of_products, module, dtype)
        if bool(added.any()):
            makers[f"{within}bias"] = added.clone
    else:
        computed = computed_parameters(module)
        parts = (
            {"parametrizations", *(f"{key}_{end}" for key in computed for end in ("orig", "mask"))} if computed else ()
        )
        for key in computed:
            makers[within + key] = partial(_live, module, key)
        for key, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if key not in module._non_persistent_buffers_set and key not in parts and within + key not in makers:
                makers[within + key] = tensor.detach
        for child, part in module._modules.items():  # not named_children: one module may serve several layers
            if part is not None and child not in parts and (wanted is None or within + child in wanted):
                _collect(
                    part, within + child, dtype, makers, forms, wanted, within_librarys=not is_somebodys(type(module))
                )


def _live(module: nn.Module, name: str) -> Tensor:
    found: Tensor = getattr(module, name)
    return found.detach().clone() if found.is_inference() else found.detach()  # pruning computes it as the model runs


def _form(module: Any) -> str:
    """Say what a module holds instead of a plain matrix; empty where it holds one."""
    if computed_parameters(module):
        return "matrices that are computed from others (pruning or a parametrization)"
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

"""Read what PEFT has put into a model's modules: which adapters act, on which module, and of which kind."""

from __future__ import annotations

from typing import Any

from torch import nn


def acting_module(module: nn.Module) -> tuple[nn.Module, str]:
    """Return the module that runs where an adapter keeps a trained copy beside the original.

    Args:
        module: any.

    Returns:
        The copy that acts now, with words for it; the module itself and no words where there is none.
    """
    for copies in ("modules_to_save", "ln_tuning_layers"):
        original = getattr(module, "original_module" if copies == "modules_to_save" else "base_layer", None)
        if copies in module._modules and original is not None:
            trained = module._modules[copies]
            active = [name for name in acting_adapters(module) if name in trained]  # type: ignore[operator]
            found = trained[active[-1]] if active else original  # type: ignore[index]
            return found, "a module trained with the adapter" if active else ""
    return module, ""


def acting_adapters(module: Any) -> list[str]:
    """Return the names of the adapters that act in a module now, of which none is part of its base already.

    Args:
        module: PEFT's.
    """
    if module.disable_adapters or getattr(module, "merged_adapters", None):
        return []
    return list(module.active_adapters)


def is_low_rank(module: Any) -> bool:
    """Return whether all that acts in an adapted module is base + scale·B·A, without a variant such as DoRA.

    Args:
        module: PEFT's.
    """
    odd = {**getattr(module, "lora_variant", {}), **{k: v for k, v in getattr(module, "use_dora", {}).items() if v}}
    matrices = isinstance(getattr(module, "lora_A", None), nn.ModuleDict) and not hasattr(module, "parameter_name")
    return matrices and not odd.keys() & {*acting_adapters(module)}


def low_rank_adapters(module: Any) -> list[str]:
    """Return the names of the adapters that act in a low-rank module.

    Args:
        module: PEFT's.
    """
    return [name for name in acting_adapters(module) if name in module.lora_A]


def adapts_bias(module: Any) -> bool:
    """Return whether an adapter brings a bias of its own.

    Args:
        module: PEFT's.
    """
    return is_low_rank(module) and any(module.lora_B[name].bias is not None for name in low_rank_adapters(module))


def innermost(module: Any) -> nn.Module:
    """Return the model's own module inside all adapters.

    Args:
        module: any.
    """
    while hasattr(module, "base_layer"):
        module = acting_module(module.base_layer)[0]
    found: nn.Module = module
    return found

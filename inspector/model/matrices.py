"""Write out the matrix that a module multiplies by, where it holds no plain one.

adapted by PEFT    base + scale·B·A of each active adapter; for other kinds of adapter what the layer does to each
unit vector, which are its matrix's columns
packed             unpacked by the tensor's own `dequantize`, by the library's reader of bitsandbytes, or likewise
by unit vectors
somebody's own     a module in a projection's place that is not the library's: by unit vectors too
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from inspector.capture.eval_mode import evaluating
from inspector.errors import InspectorError
from inspector.model.peft_modules import acting_adapters, acting_module, innermost, is_low_rank, low_rank_adapters
from inspector.text import first_sentence

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
LIBRARIES = (
    "torch", "transformers", "transformers_modules", "peft", "accelerate", "functools", "bitsandbytes", "torchao",
    "optimum",
)  # fmt: skip
BITSANDBYTES = ("Int8Params", "Params4bit")


def adapted_matrix(module: Any, dtype: torch.dtype) -> Tensor:
    """Write out the matrix of a module that PEFT adapts.

    Args:
        module: PEFT's, with the module that it adapts as `base_layer`.
        dtype: what the model computes in.

    Returns:
        The matrix, as its base stores it.

    Raises:
        InspectorError: it is none that can be written out.
    """
    if not is_low_rank(module):
        return _columns(module, dtype) if acting_adapters(module) else own_matrix(module.base_layer, dtype)
    matrix = own_matrix(module.base_layer, dtype)
    for name in low_rank_adapters(module):
        a, b = module.lora_A[name].weight.detach(), module.lora_B[name].weight.detach()  # [r, m], [d, r]
        wide = torch.promote_types(torch.float32, torch.promote_types(a.dtype, matrix.dtype))
        low_rank = (b.to(wide) @ a.to(wide)) * module.scaling[name]
        matrix = matrix.to(wide) + (low_rank.T if module.fan_in_fan_out else low_rank)
    return matrix


def adapted_bias(module: Any, dtype: torch.dtype) -> Tensor:
    """Write out the bias of a module that PEFT adapts.

    Args:
        module: PEFT's, with the module that it adapts as `base_layer`.
        dtype: what the model computes in.

    Returns:
        The bias.
    """
    if acting_adapters(module) and not is_low_rank(module):
        return _through(module, torch.zeros(1, _inputs(module), dtype=dtype, device=_device(module)))[0]
    bias = getattr(acting_module(module.base_layer)[0], "bias", None)
    acting = [
        (module.lora_B[name].bias, module.scaling[name])
        for name in (low_rank_adapters(module) if acting_adapters(module) else [])
    ]
    parts = [scale * own.detach() for own, scale in [(bias, 1.0), *acting] if own is not None]
    return torch.stack(parts).sum(0)


def needs_writing_out(module: nn.Module) -> bool:
    """Return whether a module multiplies by a matrix that has to be written out: packed or adapted.

    Args:
        module: any.
    """
    acting, _ = acting_module(module)
    return hasattr(acting, "base_layer") or is_packed(acting) or is_own_product(acting)


def own_matrix(module: nn.Module, dtype: torch.dtype) -> Tensor:
    """Write out the matrix of any module with one: plain, packed or adapted.

    Args:
        module: the module.
        dtype: what the model computes in.

    Returns:
        The matrix, as a plain module stores it.
    """
    module, _ = acting_module(module)
    if hasattr(module, "base_layer"):
        return adapted_matrix(module, dtype)
    if is_packed(module):
        return unpacked_matrix(module, dtype)
    weight: Tensor = module.get_parameter("weight")
    return weight.detach()


def is_own_product(module: nn.Module) -> bool:
    """Return whether somebody's own module stands where the library has a product: a LoRA by hand, a changed Linear.

    Args:
        module: any.
    """
    if isinstance(module, nn.Linear):
        return is_somebodys(type(module).forward) or is_somebodys(vars(module).get("forward"))
    if not is_somebodys(type(module)) or "weight" in module._parameters or hasattr(module, "peft_config"):
        return False
    # One with blocks or a config of its own is a model's part, not a product.
    parts = [part for part in module.modules() if part is not module]
    return any(isinstance(part, nn.Linear) for part in parts) and not any(
        isinstance(part, nn.ModuleList | nn.LayerNorm) or hasattr(part, "config") for part in [module, *parts]
    )


def is_somebodys(code: Any) -> bool:
    """Return whether a class or function is neither torch's nor a library's, nor code that came with a checkpoint.

    Args:
        code: the class or function.
    """
    return str(getattr(code, "__module__", None) or "torch").partition(".")[0] not in LIBRARIES


def computed_parameters(module: nn.Module) -> list[str]:
    """Name the weights and biases that a module computes from others: torch's pruning and parametrizations.

    Args:
        module: any.
    """
    known = {*module._parameters, *module._buffers}
    masked = [name for name in ("weight", "bias") if f"{name}_orig" in known and f"{name}_mask" in known]
    made: Any = getattr(module, "parametrizations", None)
    return masked if made is None else [*masked, *made.keys()]


def matrix_of_products(module: nn.Module, dtype: torch.dtype) -> Tensor:
    """Write out the matrix of somebody's own module.

    Args:
        module: takes vectors and returns their products.
        dtype: what the model computes in.

    Returns:
        The matrix [d_out, d_in].
    """
    return _columns(module, dtype)


def added_to_products(module: nn.Module, dtype: torch.dtype) -> Tensor | None:
    """Return what somebody's own module makes of a zero vector: its bias.

    Args:
        module: any.
        dtype: what the model computes in.

    Returns:
        The bias [d_out], zeros where it has none; None: it does not turn vectors into vectors.
    """
    try:
        found = _through(module, torch.zeros(1, _inputs(module), dtype=dtype, device=_device(module)))
    except InspectorError:
        return None
    return found[0] if isinstance(found, Tensor) and found.ndim == 2 else None


def is_packed(module: nn.Module) -> bool:
    """Return whether a module multiplies by a matrix that is not stored as one of plain numbers.

    Args:
        module: any module; what it holds inside its own modules does not count.
    """
    if getattr(module, "qweight", None) is not None:
        return True
    weight = getattr(module, "weight", None)
    if isinstance(weight, Tensor):
        return weight.dtype not in FLOATS or type(weight).__name__ in BITSANDBYTES or holds_tensors(weight)
    return isinstance(getattr(module, "in_features", None), int)


def holds_tensors(tensor: Tensor) -> bool:
    """Return whether a tensor holds others, as packed ones do, instead of numbers.

    Args:
        tensor: any.
    """
    return hasattr(tensor, "__tensor_flatten__")


def unpacked_matrix(module: nn.Module, dtype: torch.dtype) -> Tensor:
    """Write out a packed matrix.

    Args:
        module: the module that multiplies by it.
        dtype: what the model computes in.

    Returns:
        The matrix [d_out, d_in].

    Raises:
        InspectorError: nothing here can unpack it, and its module cannot be run here.
    """
    weight: Any = getattr(module, "qweight", None)
    weight = getattr(module, "weight", None) if weight is None or not holds_tensors(weight) else weight
    if type(weight).__name__ in BITSANDBYTES:
        from transformers.integrations.bitsandbytes import dequantize_bnb_weight

        found: Tensor = dequantize_bnb_weight(weight, getattr(module, "state", None)).detach()
        return found
    if isinstance(weight, Tensor) and holds_tensors(weight) and type(weight).dequantize is not Tensor.dequantize:
        return weight.dequantize().detach()
    return _columns(module, dtype)


def off_its_matrix(module: nn.Module, matrix: Tensor, bias: Tensor | None) -> float:
    """Measure how far a module's products are from those with its matrix: kernels may round what they multiply.

    Args:
        module: any that multiplies.
        matrix: its matrix, written out.
        bias: its bias, if it has one.

    Returns:
        The largest difference over the largest product, of the same few random vectors each time.
    """
    random = torch.Generator().manual_seed(0)
    x = torch.randn(16, matrix.shape[1], generator=random).to(matrix)
    due = nn.functional.linear(x, matrix, bias)
    return float((_through(module, x) - due).abs().max() / due.abs().max().clamp_min(1e-30))


def _columns(module: nn.Module, dtype: torch.dtype) -> Tensor:
    """Find a module's matrix by what it does to each unit vector."""
    unit = torch.eye(_inputs(module), dtype=dtype, device=_device(module))
    columns = _through(module, unit) - _through(module, torch.zeros_like(unit[:1]))
    base = innermost(module)
    return columns if type(base).__name__ == "Conv1D" else columns.T.contiguous()


def _through(module: nn.Module, x: Tensor) -> Tensor:
    """Run vectors through a module as the model would."""
    try:
        with torch.no_grad(), evaluating(module):
            found: Tensor = module(x)
            return found
    except (RuntimeError, TypeError, ValueError, ImportError, AttributeError) as error:
        raise InspectorError(
            f"The weights of a {type(module).__name__} could not be written out as a matrix "
            f"({first_sentence(error)}): give the model in float32, bfloat16 or float16, or verify where its own "
            "kernels run."
        ) from error


def _inputs(module: nn.Module) -> int:
    """Return how wide the vectors are that a module takes."""
    base: Any = innermost(module)
    first: Any = next((part for part in base.modules() if isinstance(part, nn.Linear)), base)
    width = getattr(base, "in_features", None) or getattr(base, "nx", None) or getattr(first, "in_features", None)
    if not isinstance(width, int):
        raise InspectorError(
            f"A {type(base).__name__} that an adapter changes is no product with a matrix, so it cannot be written out "
            "as one: merge the adapter into its model (merge_and_unload) before."
        )
    return width


def _device(module: nn.Module) -> torch.device:
    return next((tensor.device for tensor in [*module.parameters(), *module.buffers()]), torch.device("cpu"))

"""Weights that files hold packed (quantised): by which method, and what to say where nothing here can read them."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inspector.errors import InspectorError

# For each quant_method of the library: the modules that its reader imports, and the packages that bring them.
READERS: dict[str, tuple[tuple[str, ...], str]] = {
    "gptq": (("optimum", "gptqmodel"), "optimum gptqmodel"),
    "awq": (("gptqmodel",), "gptqmodel"),
    "compressed-tensors": (("compressed_tensors",), "compressed-tensors"),
    "torchao": (("torchao",), "torchao"),
    "quanto": (("optimum.quanto",), "optimum-quanto"),
    "bitsandbytes": (("bitsandbytes",), "bitsandbytes"),
    "bitsandbytes_4bit": (("bitsandbytes",), "bitsandbytes"),
    "bitsandbytes_8bit": (("bitsandbytes",), "bitsandbytes"),
    "hqq": (("hqq",), "hqq"),
    "aqlm": (("aqlm",), "aqlm"),
    "auto-round": (("auto_round",), "auto-round"),
    "eetq": (("kernels",), "kernels"),
    "quark": (("quark",), "amd-quark"),
    "vptq": (("vptq",), "vptq"),
    "spqr": (("spqr_quant",), "spqr_quant"),
}


def refuse_packed(settings: Mapping[str, Any], name: str) -> None:
    """Refuse packed weights that nothing here can read.

    Args:
        settings: config.json as a dict.
        name: what the user called the model.

    Raises:
        InspectorError: MLX packed them, the library does not know their method, or the packages of its reader are not
            installed.
    """
    _refuse_mlx(settings, name)
    method = packed_by(settings)
    if not method:
        return
    from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING

    if method not in AUTO_QUANTIZER_MAPPING and method not in READERS:
        raise InspectorError(
            f"'{name}' holds weights packed by {method}, and transformers has no reader for these: give the model that "
            "they were packed from."
        )
    modules, packages = READERS.get(method, ((), ""))
    if not all(map(is_installed, modules)):
        raise InspectorError(
            f"'{name}' holds weights packed by {method}, and what reads these is not installed: run "
            f"`pip install {packages}`, or give the model that they were packed from."
        )


def packed_by(settings: Mapping[str, Any]) -> str:
    """Say by which method a model's files hold their weights packed.

    Args:
        settings: config.json as a dict.

    Returns:
        The quant_method, such as "gptq"; empty where the weights are plain numbers.
    """
    parts = (settings, settings.get("text_config"))
    packed = next((part["quantization_config"] for part in parts if part and part.get("quantization_config")), None)
    if not isinstance(packed, Mapping):
        return ""
    loads = next((f"bitsandbytes_{bits}bit" for bits in (4, 8) if packed.get(f"load_in_{bits}bit")), "")
    return str(packed.get("quant_method") or loads or "a method that it does not name")


def packed_in(folder: Path) -> str:
    """Say by which method a folder's files hold their weights packed; empty for plain numbers.

    Args:
        folder: the model's.
    """
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # said by whoever reads the config
        return ""
    return packed_by(settings) if isinstance(settings, dict) else ""


def _refuse_mlx(settings: Mapping[str, Any], name: str) -> None:
    """Refuse weights that MLX has packed: its settings give bits and a group's size, and no method of the library's."""
    for key in ("quantization", "quantization_config"):
        packed = settings.get(key)
        if isinstance(packed, dict) and {"bits", "group_size"} <= packed.keys() and "quant_method" not in packed:
            raise InspectorError(
                f"'{name}' holds weights packed into {packed['bits']} bits by MLX, and transformers has no reader for "
                "these: give the model that it was converted from, or unpack it with mlx_lm.convert --dequantize."
            )


def is_installed(module: str) -> bool:
    """Return whether a module could be imported; it is not.

    Args:
        module: its name.
    """
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # its parent is not there
        return False

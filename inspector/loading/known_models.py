"""List the models on this machine: what is packaged, converted and cached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inspector.files import cache_dir
from inspector.loading import gguf_conversion
from inspector.loading.hub_cache import cached_models
from inspector.loading.packaged import packaged_file
from inspector.loading.source import PACKAGED


def models_known() -> list[dict[str, Any]]:
    """List what is packaged, converted and cached, without asking a hub.

    Returns:
        For each model its name, kind ("packaged", "converted" or "hub"), folder, bytes on the disk, and state, which
        starts with "damaged" where a converted model is not whole, and with "unused" where another version of this
        program wrote it.
    """
    known: list[dict[str, Any]] = []

    def add(name: str, kind: str, folder: Path, size: int, state: str) -> None:
        known.append({"name": name, "kind": kind, "folder": str(folder), "bytes": size, "state": state})

    packaged = packaged_file()
    if packaged is not None:
        add(PACKAGED, "packaged", packaged.parent, packaged.stat().st_size, "installed")
    for manifest in sorted((cache_dir() / "models").glob(f"[!.]*/{gguf_conversion.MANIFEST}")):
        folder = manifest.parent
        size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        add(folder.name, "converted", folder, size, _state(gguf_conversion.damage(folder)))
    for name, folder, size, commit in cached_models():
        add(name, "hub", folder, size, f"revision {commit}")
    return known


def _state(damage: str | None) -> str:
    """Say what a converted folder is good for."""
    if damage is None:
        return "ready"
    if damage.startswith(gguf_conversion.OTHER_FORMAT):
        return f"unused: {damage}; delete the folder to free its space"
    return f"damaged: {damage}"

"""Files that are whole or not there at all, and this program's folder in the user's cache."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from inspector.errors import InspectorError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; renamed to it when the block ends well, removed when it does not."""
    if not path.parent.is_dir():
        raise InspectorError(f"{path.parent} is not a folder that exists; make it first or choose another place.")
    part: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        part = Path(name)
        yield part
        mask = os.umask(0)  # as any other new file: a temporary one may be read by its owner alone
        os.umask(mask)
        part.chmod(0o666 & ~mask)
        flush(part)  # else a power cut could keep the new name and lose what it names
        part.replace(path)
    except (OSError, SafetensorError) as error:  # safetensors says a full disk in its own kind of error
        why = getattr(error, "strerror", None) or str(error)
        raise InspectorError(
            f"{path} could not be written ({why}): what was there before is as it was; make room there, or choose "
            "another place."
        ) from None
    finally:
        if part is not None:
            with contextlib.suppress(OSError):
                part.unlink()


def flush(path: Path) -> None:
    """fsync of a file or a folder, so that what is renamed afterwards is whole even after a power cut."""
    if os.name == "nt" and path.is_dir():
        return  # folders cannot be opened there
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def duplicate_keys(path: Path) -> list[str]:
    """Name what stands twice in a safetensors file's header, which the library's `safe_open` does not refuse.

    Args:
        path: a safetensors file that `safe_open` has opened.

    Returns:
        The names, of tensors or within one's entry, in the file's order; empty in a sound file.
    """
    found: list[str] = []

    def each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                found.append(name)
            seen.add(name)
        return dict(pairs)

    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        json.loads(file.read(length), object_pairs_hook=each)
    return found


def cache_dir() -> Path:
    """This program's folder in the user's cache; the variable ATTENTION_INSPECTOR_CACHE moves it."""
    if chosen := os.environ.get("ATTENTION_INSPECTOR_CACHE"):
        base = Path(chosen).expanduser()
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "attention-inspector"

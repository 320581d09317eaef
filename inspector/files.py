"""Write files and folders whole or not at all, find what stands twice in a file's header, name the user's cache."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from inspector.errors import InspectorError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, renamed to it when the block ends well and removed when it does not.

    Args:
        path: the file to write; its folder must exist.

    Yields:
        The temporary path, in the same folder.

    Raises:
        InspectorError: where it cannot be written; what stood at `path` before is as it was.
    """
    if path.is_dir() or not path.name:
        raise InspectorError(f"{path} is a folder: give the name of a file to write.")
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


@contextmanager
def folder_written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, renamed to it when the block ends well and removed when it does not.

    Args:
        path: the folder to write; it must not exist or be empty, and the folder that it is in must exist.

    Yields:
        The temporary folder.

    Raises:
        InspectorError: where it cannot be written; nothing is left behind.
    """
    refuse_used_folder(path)
    part: Path | None = None
    try:
        part = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
        yield part
        for file in part.iterdir():
            flush(file)
        mask = os.umask(0)  # as any other new folder: a temporary one may be entered by its owner alone
        os.umask(mask)
        part.chmod(0o777 & ~mask)
        if path.is_dir():
            path.rmdir()
        part.rename(path)
    except (OSError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InspectorError(
            f"{path} could not be written ({why}), and nothing of it is kept: make room there, or choose another place."
        ) from None
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def refuse_used_folder(path: Path) -> None:
    """Raise InspectorError where no new folder can be made: it has something in it, or stands in none that exists."""
    if path.exists() and not path.is_dir():
        raise InspectorError(f"{path} is a file: give the name of a new folder.")
    if path.is_dir() and any(path.iterdir()):
        raise InspectorError(f"{path} has files in it: give the name of a new folder, or of an empty one.")
    if not path.parent.is_dir() or not path.name:
        raise InspectorError(f"{path.parent} is not a folder that exists; make it first or choose another place.")


def flush(path: Path) -> None:
    """Flush a file or a folder to the disk, so that what is renamed afterwards is whole even after a power cut."""
    if os.name == "nt" and path.is_dir():
        return  # folders cannot be opened there
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def duplicate_keys(path: Path) -> list[str]:
    """Return the names that stand twice in a safetensors file's header, sorted.

    safetensors itself takes the last of two entries and says nothing, so that a file could show one reader other
    numbers than another. Everything else about a header is `safe_open`'s to refuse: call this after it has accepted.

    Args:
        path: a safetensors file.

    Returns:
        Names of tensors, of their fields or of metadata; empty where each stands once.

    Raises:
        ValueError: where the file has no header that can be read as JSON.
        OSError: where the file cannot be read.
    """
    twice: set[str] = set()

    def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            counts = Counter(name for name, _ in pairs)
            twice.update(name for name, count in counts.items() if count > 1)
        return found

    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < length <= path.stat().st_size - 8:
            raise ValueError(f"{path.name} has no whole header")
        text = file.read(length)
    try:
        json.loads(text.decode("utf-8"), object_pairs_hook=each_once)
    except RecursionError as error:
        raise ValueError(f"the header of {path.name} is nested too deeply") from error
    return sorted(twice)


def cache_dir() -> Path:
    """Return this program's folder in the user's cache.

    Returns:
        The folder, made or not; the variable ATTENTION_INSPECTOR_CACHE moves it.
    """
    if chosen := os.environ.get("ATTENTION_INSPECTOR_CACHE"):
        base = Path(chosen).expanduser()
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "attention-inspector"

"""Say where a trace's numbers come from, in words that may leave this machine."""

from __future__ import annotations

from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Any

from inspector import __version__

if TYPE_CHECKING:
    from inspector.trace.trace import Trace


def model_name(trace: Trace) -> str:
    """Return the model's name: of a folder or a file its own name, not where it lies."""
    name = trace.model_name or "a model"
    if name.startswith(("/", "~", ".")) or PureWindowsPath(name).drive:
        return PureWindowsPath(name).name or name  # knows both kinds of slash
    return name


def source(trace: Trace) -> dict[str, Any]:
    """Return the trace's source, without the sentence that names a folder of this machine."""
    return {name: said for name, said in trace.source.items() if name != "note" or trace.source.get("kind") != "folder"}


def line(trace: Trace) -> str:
    """Say with which versions, dtype and device the numbers were made."""
    said = trace.source
    parts = [f"Attention Inspector {__version__}"]
    parts += [f"{name} {said[name]}" for name in ("transformers", "torch") if said.get(name)]
    parts += [str(said[name]) for name in ("dtype", "device") if said.get(name)]
    if said.get("revision"):
        parts.append(f"revision {str(said['revision'])[:12]}")
    if trace.edits:
        parts.append(trace.edits_in_words().rstrip("."))
    return " · ".join(parts)

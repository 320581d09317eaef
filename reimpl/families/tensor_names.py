"""Names of modules and tensors: how a family's row says them, and the checkpoint's names that come of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Renamed:
    """Name what the library renames while loading: as the checkpoint's files say it, and as its modules are called."""

    checkpoint: str
    library: str


@dataclass(frozen=True)
class PerHead:
    """Name what a checkpoint holds as one tensor for each head: "norms" for norms.0.weight, norms.1.weight, ..."""

    name: str


def alternatives(name: str | Renamed) -> tuple[str, ...]:
    """List the names that a mapping of tensors may use: a file the checkpoint's, a model in memory the library's.

    Args:
        name: as a row says it.

    Returns:
        One name, or the checkpoint's and the library's.
    """
    return (name,) if isinstance(name, str) else (name.checkpoint, name.library)


def names_in_checkpoint(name: str | Renamed | PerHead, kind: str, heads: int) -> list[tuple[str, ...]]:
    """List the tensors that may hold one of our parameters.

    Args:
        name: of the module, as a row says it; of the parameter itself where `kind` is empty.
        kind: "weight" or "bias".
        heads: how many heads a parameter with a tensor for each has.

    Returns:
        Alternatives; each is the tensors that, stacked, are the parameter.
    """
    end = f".{kind}" if kind else ""
    if isinstance(name, PerHead):
        return [tuple(f"{name.name}.{head}{end}" for head in range(heads))]
    return [(each + end,) for each in alternatives(name)]

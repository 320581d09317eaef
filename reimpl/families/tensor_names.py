"""Names of modules and tensors: how a family's row says them, and the checkpoint's names that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reimpl.spec import AttentionSpec


@dataclass(frozen=True)
class Renamed:
    """Name what the library renames while loading: as the checkpoint's files say it, and as its modules are called."""

    checkpoint: str
    library: str


@dataclass(frozen=True)
class PerHead:
    """Name what a checkpoint holds as one tensor for each head: "norms" for norms.0.weight, norms.1.weight, ..."""

    name: str


@dataclass(frozen=True)
class Stacked:
    """Name what a checkpoint holds as a part of one matrix, W_q, W_k and W_v (0, 1, 2) one below the other.

    The library splits it while loading, and multiplies by each part alone.
    """

    checkpoint: str
    part: int
    library: str

    def heights(self, spec: AttentionSpec) -> Sequence[int]:
        """Count the rows of the three parts.

        Args:
            spec: the layer's.

        Returns:
            The rows of W_q, W_k and W_v.
        """
        return spec.heads * spec.d_head, spec.kv_heads * spec.d_head, spec.kv_heads * spec.d_value


def alternatives(name: str | Renamed | Stacked) -> tuple[str, ...]:
    """List the names that a mapping of tensors may use: a file the checkpoint's, a model in memory the library's.

    Args:
        name: as a row says it.

    Returns:
        One name, or the checkpoint's and the library's.
    """
    return (name,) if isinstance(name, str) else (name.checkpoint, name.library)


def names_in_checkpoint(name: str | Renamed | Stacked | PerHead, kind: str, heads: int) -> list[tuple[str, ...]]:
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

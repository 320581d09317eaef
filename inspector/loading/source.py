"""Where a model's numbers come from: the packaged default, a hub, a folder, a GGUF file or memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PACKAGED = "smollm2-135m-instruct"  # the default, which needs no hub: sentences name it as the way out

Kind = Literal["packaged", "hub", "folder", "gguf", "memory"]


@dataclass(frozen=True)
class Source:
    """Say where a model's numbers come from.

    Attributes:
        kind: how it was found.
        name: what the user called it.
        folder: holds config.json and the safetensors files; None for a model given as an object in memory.
        revision: a hub model's commit hash, else None.
        note: one sentence on where the numbers come from.
    """

    kind: Kind
    name: str
    folder: Path | None
    revision: str | None
    note: str

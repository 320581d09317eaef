"""What finding, fetching and converting a model have in common: where its numbers come from, and how far one is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PACKAGED = "smollm2-135m-instruct"  # the default, which needs no hub: sentences name it as the way out


@dataclass(frozen=True)
class Source:
    """Where a model's numbers come from."""

    kind: str  # "packaged" | "hub" | "folder" | "gguf" | "memory"
    name: str  # what the user gave
    folder: Path | None  # holds config.json and *.safetensors (None for "memory")
    revision: str | None  # the commit hash of a hub model
    note: str  # one sentence on where the numbers come from

"""Hold what config.json of well-known checkpoints says: facts, not the files themselves.

SEEN says in which public repository each was found, and its fields stand as they were there, but for the image and
audio parts, cut to a few, and how weights are quantised, left out. `remembered.py` has the others, written down from
memory. What the fields mean is compared with the library's reading; `published_tiny.py` makes small models of them.
"""

from __future__ import annotations

from typing import Any

from inspector.coverage.published import deepseek, gemma_phi, granite_olmo, llama, neox, qwen
from inspector.coverage.published.remembered import REMEMBERED

FOUND = {**llama.ROWS, **granite_olmo.ROWS, **qwen.ROWS, **gemma_phi.ROWS, **neox.ROWS, **deepseek.ROWS}

SEEN: dict[str, str] = {name: where for name, (where, _) in FOUND.items()}  # "owner/repository: path"

PUBLISHED: dict[str, dict[str, Any]] = {**{name: config for name, (_, config) in FOUND.items()}, **REMEMBERED}

"""What a release of transformers itself computes otherwise than a model's config says, or cannot load: plain data.

Each row was found by `make matrix` at the oldest supported release and read in that release's code; docs/versions.md
lists them. A row ends with the first release that does what the config says.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Deviation:
    """Hold what releases before one compute otherwise.

    Attributes:
        types: the model types, as the library names the language part.
        before: the first release that does what the config says.
        what: what the others do instead, with "it" for the release.
        under: the attention implementation under which they do so; "" for all.
        instead: what to do beside installing a newer release; "" for nothing.
    """

    types: frozenset[str]
    before: str
    what: str
    under: str = ""
    instead: str = ""


DEVIATIONS = (
    Deviation(
        types=frozenset({"gemma2", "vaultgemma"}),
        before="5.21",
        what="it leaves out the soft-cap of scores under sdpa",
        under="sdpa",
        instead='load the library\'s model with attn_implementation="eager" and hand it over',
    ),
    Deviation(
        types=frozenset({"cohere_compass_text"}),
        before="5.21",
        what="it turns pairs of dimensions at the speeds of other pairs (inv_freq in another order)",
    ),
)

# Not computed otherwise, but not at all: the library raises while it builds the model.
RAISES = (
    Deviation(
        types=frozenset({"minicpm3"}),
        before="5.21",
        what='it asks for rope_scaling\'s "factor", which the published longrope files have not',
    ),
)

# Of types that `verify` refuses at every release, or parts that are loaded by themselves: listed, refused nowhere.
ONLY_LISTED = (
    Deviation(
        types=frozenset({"rembert", "roformer"}),
        before="5.18",
        what="it lets a token look at those after it, though the config says is_decoder",
    ),
    Deviation(
        types=frozenset({"paddleocr_vl"}),
        before="5.22",
        what="its language part's class asks for the whole model's config, so this part cannot be loaded by itself",
    ),
)


def installed() -> str:
    """Return the version of the installed transformers."""
    return importlib.metadata.version("transformers")


def deviations_of(model_type: str) -> Iterator[Deviation]:
    """Find what the installed release computes otherwise for a model type, under some attention implementation.

    Args:
        model_type: as the library names the language part.

    Yields:
        The rows.
    """
    for row in DEVIATIONS:
        if model_type in row.types and _release(installed()) < _release(row.before):
            yield row


def cannot_load(folder: Path) -> str:
    """Say why the installed release cannot load a model, where that is known of it.

    Args:
        folder: the model's, whose loading failed.

    Returns:
        The sentence; an empty text where nothing is known.
    """
    try:
        model_type = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        return ""
    for row in RAISES:
        if model_type in row.types and _release(installed()) < _release(row.before):
            return (
                f"transformers {installed()} cannot load this {model_type}: {row.what}. Install transformers "
                f"{row.before} or newer."
            )
    return ""


def _release(version: str) -> tuple[int, ...]:
    """Read a version's first two numbers, 5.21 of "5.21.0.dev0"."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])

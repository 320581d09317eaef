"""Write down what an atlas is to be made of, so that any worker can compute any shard, and a stopped run go on."""

from __future__ import annotations

import hashlib
import importlib
import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inspector.atlas.shard import ShardOptions
from inspector.errors import InspectorError
from inspector.files import written_whole
from inspector.model.model import Model

PLAN, ROWS, PARTS, MANIFEST = "plan.json", "rows", "parts", "manifest.json"
CELLS = 30_000_000  # heads x token ids that are followed one by one: 0.5 GB while merging


@dataclass(frozen=True)
class Plan:
    """What an atlas follows from; two folders with equal plans come to equal results on one kind of processor.

    Attributes:
        model: what `inspector.load` is called with.
        source: where its numbers come from, versions and dtype included.
        model_files: SHA-256 of each of the model's files; empty of a model given as an object.
        tokens: of a row, at most.
        rows_per_shard: rows of a shard.
        batch: rows of a pass.
        threads: that torch uses; another number may take sums in another order.
        seed: of the hashes that choose rows.
        corpus: its name, counts, and the SHA-256 of its token ids.
        rows: how many there are.
        shards: how many.
        followed: token ids whose mass is summed one by one; None: all.
    """

    model: str
    source: dict[str, Any]
    model_files: dict[str, str]
    tokens: int
    rows_per_shard: int
    batch: int
    threads: int
    seed: int
    corpus: dict[str, Any]
    rows: int
    shards: int
    followed: tuple[int, ...] | None

    def options(self, vocabulary: int) -> ShardOptions:
        """Return what a shard's numbers follow from.

        Args:
            vocabulary: how many token ids the model knows.
        """
        followed = range(vocabulary) if self.followed is None else self.followed
        return ShardOptions(self.batch, self.seed, frozenset(followed))

    def save(self, folder: Path) -> None:
        """Write the plan into an atlas's folder.

        Args:
            folder: the atlas's.
        """
        with written_whole(folder / PLAN) as part:
            part.write_text(json.dumps({"schema": 1, **asdict(self)}, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Plan:
        """Read the plan of an atlas's folder.

        Args:
            folder: the atlas's.

        Returns:
            The plan.

        Raises:
            InspectorError: the folder has none.
        """
        try:
            data = json.loads((folder / PLAN).read_text(encoding="utf-8"))
            data.pop("schema")
            followed = data.pop("followed")
            return cls(**data, followed=None if followed is None else tuple(followed))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InspectorError(
                f"{folder} holds no atlas ({PLAN} is missing or damaged): give a folder that atlas.build has made."
            ) from error

    def differences(self, other: Plan) -> list[str]:
        """Name what differs between two plans.

        Args:
            other: another plan.

        Returns:
            Field names; empty where the plans are equal.
        """
        mine, theirs = (json.loads(json.dumps(asdict(one))) for one in (self, other))
        return [name for name in mine if mine[name] != theirs[name]]


def followed_ids(occurrences: np.ndarray, heads: int) -> tuple[int, ...] | None:
    """Choose the token ids that are followed one by one: the most frequent, where not all can be.

    Args:
        occurrences: of each token id in the corpus, [vocabulary].
        heads: of the model, in all layers.

    Returns:
        Token ids in rising order; None: all.
    """
    room = max(1, CELLS // heads)
    if int((occurrences > 0).sum()) <= room:
        return None
    order = np.lexsort((np.arange(len(occurrences)), -occurrences))[:room]
    return tuple(sorted(int(one) for one in order))


def file_hashes(model: Model) -> dict[str, str]:
    """Return the SHA-256 of the files that a model's numbers come from.

    Args:
        model: the model.

    Returns:
        By file name; empty of a model that was given as an object.
    """
    folder = model.source.folder
    if folder is None:
        return {}
    files = sorted(one for one in Path(folder).iterdir() if one.suffix in (".safetensors", ".json", ".gguf"))
    found = {}
    for file in files:
        with file.open("rb") as opened:
            found[file.name] = hashlib.file_digest(opened, "sha256").hexdigest()
    return found


def made_with() -> dict[str, str]:
    """Return the versions and the kind of processor that numbers depend on."""
    packages = {name: str(importlib.import_module(name).__version__) for name in ("inspector", "torch", "transformers")}
    return {**packages, "python": platform.python_version(), "machine": platform.machine()}

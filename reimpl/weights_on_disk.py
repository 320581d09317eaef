"""Say which safetensors files of a checkpoint's folder hold its weights, by the rule of the transformers library.

The file that config.json names as `transformers_weights`; else model.safetensors; else the shards that its index lists.
Whatever else lies there (older shards, averaged or adapter weights, the original's own files) is not the model.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from reimpl.errors import CheckpointError

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
INDEX_END = ".safetensors.index.json"


def weight_files(folder: Path) -> list[Path]:
    """Return the files that a folder's weights are read from.

    Args:
        folder: the checkpoint's.

    Returns:
        Paths, in the order of their names.

    Raises:
        CheckpointError: there is none of them, the index cannot be read or names files outside the folder, or a file
            that is named is missing.
    """
    chosen = chosen_file(folder, {path.name for path in folder.iterdir() if path.is_file()} if folder.is_dir() else ())
    if chosen is None:
        raise CheckpointError(
            f"{folder} holds no {WHOLE} and no {INDEX}: convert the weights with save_pretrained first."
        )
    names = shards(folder / chosen) if chosen.endswith(INDEX_END) else [chosen]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        by = "its index" if chosen.endswith(INDEX_END) else "its config.json"
        raise CheckpointError(f"{folder} lacks {missing[0]}, which {by} names; fetch that file.")
    return [folder / name for name in names]


def chosen_file(folder: Path, there: Collection[str]) -> str | None:
    """Return the name of the one file that leads to the weights: a whole file, or the index of its shards.

    Args:
        folder: holds config.json.
        there: the names of the files to choose from, in that folder or in the hub's repository that it comes from.

    Returns:
        The name; None where there is no such file.

    Raises:
        CheckpointError: config.json names a file outside the folder.
    """
    return _named_in_config(folder) or next((name for name in (WHOLE, INDEX) if name in there), None)


def shards(index: Path) -> list[str]:
    """Return the names of the files that an index lists.

    Args:
        index: the path of a model.safetensors.index.json.

    Returns:
        File names without folders, sorted, each once.

    Raises:
        CheckpointError: the index cannot be read, or names files outside its folder.
    """
    try:
        names = sorted({str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is not a readable index ({error}); fetch the file again.") from None
    outside = [name for name in names if _leads_out(name)]
    if outside:
        raise CheckpointError(f"{index} names a file outside its folder ({outside[0]}); choose another model.")
    return names


def _named_in_config(folder: Path) -> str | None:
    try:
        name = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("transformers_weights")
    except (OSError, ValueError, AttributeError):  # said by whoever reads the config
        return None
    if name is not None and (not isinstance(name, str) or _leads_out(name)):
        raise CheckpointError(f"{folder}/config.json names weights outside its folder ({name}); choose another model.")
    return name


def _leads_out(name: str) -> bool:
    return "/" in name or "\\" in name

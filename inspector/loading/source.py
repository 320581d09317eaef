"""Where a model's numbers come from: the packaged default, a hub, a folder, a GGUF file or memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from inspector.errors import InspectorError

PACKAGED = "smollm2-135m-instruct"  # the default, which needs no hub: sentences name it as the way out
GET_DEFAULT = "attention-inspector get-default"  # the command that fetches it
WAY_OUT = f"take '{PACKAGED}' (`{GET_DEFAULT}` fetches it)"

MOST_NAME = 4096  # characters of a name or a path, as Linux has them
FILES = (".gguf", ".json", ".safetensors")  # a name that ends so is a file's

Kind = Literal["packaged", "hub", "folder", "gguf", "memory", "adapter"]


@dataclass(frozen=True)
class Source:
    """Say where a model's numbers come from.

    Attributes:
        kind: how it was found.
        name: what the user called it.
        folder: holds config.json and the safetensors files; None for a model given as an object in memory.
        revision: a hub model's commit hash, else None.
        note: one sentence on where the numbers come from.
        remark: what a reader of a report should know of them; empty where there is nothing.
        adapter: holds the adapter that is added to the folder's weights, if one is.
    """

    kind: Kind
    name: str
    folder: Path | None
    revision: str | None
    note: str
    remark: str = ""
    adapter: Path | None = None

    @property
    def tokenizer_folder(self) -> Path | None:
        """The folder that the tokenizer is read from: an adapter's, where it brings one, else the model's."""
        if self.adapter is not None and any(self.adapter.glob("tokenizer*")):
            return self.adapter
        return self.folder


def written_as_path(name: str) -> bool:
    """Return whether a model's name can only mean a file or a folder here."""
    return (
        name.startswith((".", "~", "/", os.sep))
        or Path(name).is_absolute()
        or (name.endswith(FILES) and "://" not in name)
    )


def path_of(name: str) -> Path:
    """Return the place that a model's name would be on this machine.

    Args:
        name: as it was typed; it may be anything.

    Returns:
        The path, with ~ written out; whether it exists can be asked of it.

    Raises:
        InspectorError: it is no path that this machine can have or look at.
    """
    if len(name) > MOST_NAME:
        raise InspectorError(
            f"A model's name has {len(name):,} characters, and at most {MOST_NAME:,} can be: shorten it."
        )
    try:
        path = Path(name).expanduser()
        path.is_dir()
        path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # no such user, a part too long, not ours to look at
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InspectorError(
            f"“{name[:80]}” cannot be looked up on this machine ({why.rstrip('.')}): check the path, or give a hub id "
            "(owner/name)."
        ) from None
    return path


def refuse_missing(name: str) -> None:
    """Raise InspectorError for a name that is written as a path and leads nowhere; quick, and no hub is asked."""
    path = path_of(name)
    if written_as_path(name) and not path.exists():
        raise InspectorError(
            f"There is no file or folder '{path}': check the path, give a hub id (owner/name), or {WAY_OUT}."
        )

"""Say what was meant by a name that is no model's: a page's address, a cache's folder, a file inside of a model.

No hub is asked and no address is opened: the name itself and the folder's own file names decide.
"""

from __future__ import annotations

import re
from pathlib import Path

from inspector.errors import InspectorError
from inspector.text import few

_PART = r"[A-Za-z0-9][\w.-]*"
_CACHED = re.compile(rf"(models|datasets|spaces)--({_PART})")
_TAGGED = re.compile(rf"({_PART}(?:/{_PART})?):({_PART})")
_AT = re.compile(rf"({_PART}/{_PART})@([\w./-]+)")
_OTHERS = {"datasets": "a data set", "spaces": "a Space"}
_SAMPLE = 200  # folders looked into at most


def refuse_mistaken_name(name: str) -> None:
    """Refuse a name that can be no hub id, where it is plain what was meant by it.

    Args:
        name: what the user gave, which is no file or folder here.

    Raises:
        InspectorError: for a page's address, owner/name:TAG, owner/name@REVISION and models--owner--name.
    """
    address = _address(name)
    if address is not None:
        raise InspectorError(address)
    if found := _TAGGED.fullmatch(name):
        model, tag = found.groups()
        raise InspectorError(
            f"'{name}' names a model with a tag ('{tag}'), as programs for GGUF files do: download that GGUF file and "
            f"give its path, or give a hub id without a tag, such as '{model if '/' in model else 'owner/name'}'."
        )
    if found := _AT.fullmatch(name):
        raise InspectorError(
            f"'{name}' names a revision together with the model: give '{found[1]}' and revision='{found[2]}' "
            "(--revision)."
        )
    if found := _CACHED.fullmatch(name):
        raise InspectorError(f"'{name}' is {_cache_name(found)}.")


def refuse_folder_above(folder: Path) -> None:
    """Refuse a folder without config.json that holds models in its folders, naming these.

    Args:
        folder: the folder; nothing happens where it holds none.

    Raises:
        InspectorError: for a model's folder in the hub client's cache, the cache itself, and a training's output.
    """
    inside = sorted((path for path in folder.iterdir() if path.is_dir()), key=_by_number)[-_SAMPLE:]
    cached = _CACHED.fullmatch(folder.name)
    if cached and (folder / "snapshots").is_dir():
        snapshots = [path for path in (folder / "snapshots").iterdir() if (path / "config.json").exists()]
        step = f", or its folder {snapshots[0]}" if snapshots else ""
        raise InspectorError(f"The folder {folder} is {_cache_name(cached)}{step}.")
    of_cache = [found for path in inside if (found := _CACHED.fullmatch(path.name)) and found[1] == "models"]
    if of_cache:
        ids = [found[2].replace("--", "/", 1) for found in of_cache]
        raise InspectorError(
            f"The folder {folder} is a hub client's cache of several models: give the id of one ({few(ids)})."
        )
    settings = ("config.json", "adapter_config.json")
    models = [path.name for path in inside if any((path / name).exists() for name in settings)]
    if models:
        raise InspectorError(
            f"There is no config.json in {folder} itself, and there is one in {few(models[::-1])} inside of it: give "
            f"one of these, such as {folder / models[-1]}."
        )


def refuse_part_of_model(path: Path) -> None:
    """Refuse a file that is one of a model's files, naming the folder to give.

    Args:
        path: a file that is no GGUF file; nothing happens where no config.json is beside it.

    Raises:
        InspectorError: where a config.json is beside it, or it is one itself.
    """
    if path.suffix != ".gguf" and (path.parent / "config.json").exists():
        raise InspectorError(
            f"{path.name} is one file of the model in {path.resolve().parent}: give that folder itself, which is read "
            "as a whole."
        )


def _cache_name(found: re.Match[str]) -> str:
    """Say which model a folder of the hub client's cache belongs to, and what to give."""
    name = found[2].replace("--", "/", 1)
    if found[1] in _OTHERS:
        what = f"{_OTHERS[found[1]]} ({name})"
        return f"the hub client's cache of {what}, which is no model: give a model's id (owner/name)"
    return f"the hub client's own name for its cached copy of '{name}': give that id, '{name}'"


def _address(name: str) -> str | None:
    """Return the sentence about a page's address; None for what is none.

    It begins with a scheme, or its first part has a dot and two more parts follow: a hub id has two.
    """
    scheme, _, rest = name.rpartition("://")
    host, *parts = [part for part in re.split(r"[?#]", rest)[0].split("/") if part] or [""]
    if not scheme and not ("." in host and len(parts) >= 2 and re.fullmatch(r"[\w-]+(\.[\w-]+)+(:\d+)?", host)):
        return None
    shown = f"'{name[:120]}' is the address of"
    parts = parts[1:] if parts[:1] == ["api"] else parts
    if parts[:1] == ["models"] and len(parts) > 2:
        parts = parts[1:]
    if parts[:1] and parts[0] in _OTHERS:
        return f"{shown} {_OTHERS[parts[0]]}, which is no model: give a model's id (owner/name)."
    if len(parts) < 2:
        return f"{shown} a page that names no model: give a hub id (owner/name), a folder or a .gguf file."
    model, place = "/".join(parts[:2]).partition(":")[0], parts[2:]
    if place[-1:] and place[-1].endswith(".gguf"):
        return f"{shown} a GGUF file, which is not downloaded from here: download it and give its path."
    revision = f" and revision='{place[1]}' (--revision)" if len(place) > 1 and place[1] != "main" else ""
    return f"{shown} a page, not a model's name: give its hub id, '{model}'{revision}."


def _by_number(path: Path) -> tuple[str, int, str]:
    """Return what sorts checkpoint-500 before checkpoint-1000."""
    name, number = re.fullmatch(r"(.*?)(\d*)", path.name, re.DOTALL).groups()  # type: ignore[union-attr]
    return name, int(number or 0), path.name

"""Open the atlases that this server was started with: a visitor chooses one by its name, never by a place."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any

from inspector import atlas
from inspector.atlas.plan import MANIFEST
from inspector.errors import InspectorError
from inspector.loading.source import written_as_path
from inspector.ui.server.settings import atlas_folders


def opened(name: str) -> atlas.Atlas:
    """Return one of this server's atlases.

    Args:
        name: as `settings.atlas_folders` names it.

    Returns:
        The atlas, opened anew where it was built again.

    Raises:
        InspectorError: there is none of this name, or its folder holds no finished atlas any more.
    """
    folder = atlas_folders().get(name)
    if folder is None:
        raise InspectorError(
            f"This server was not started with an atlas “{name[:100]}”: start it with app --atlas FOLDER."
        )
    try:
        made = (folder / MANIFEST).stat().st_mtime_ns
    except OSError:
        made = 0
    try:
        found = _opened(folder, made)
        found.heads  # noqa: B018 - read now, so that a damaged table is refused here
    except InspectorError as error:  # whose sentence names a folder of this machine
        raise InspectorError(str(error).replace(str(folder), f"The atlas “{name}”")) from None
    return found


def card(found: atlas.Atlas, layer: int, head: int) -> atlas.Card:
    """Return one head's card; what is refused names no folder of this machine."""
    try:
        return found.card(layer, head)
    except InspectorError as error:
        raise InspectorError(str(error).replace(str(found.folder), "The atlas")) from None


def without_places(found: atlas.Atlas) -> atlas.Atlas:
    """Return an atlas as visitors may read it: paths by their last part, and nothing of who computed it.

    Args:
        found: the atlas.
    """
    manifest = {name: _without_places(value) for name, value in found.manifest.items() if name != "run"}
    manifest["source"].pop("note", None)  # a sentence that names the folder
    return atlas.Atlas(found.folder, manifest)


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_places(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_places(one) for one in value]
    if isinstance(value, str) and written_as_path(value):
        return PurePath(value).name
    return value


@lru_cache(maxsize=8)
def _opened(folder: Path, made: int) -> atlas.Atlas:
    """Open an atlas once for all visitors, as it was made at one time."""
    del made
    return atlas.open(folder)

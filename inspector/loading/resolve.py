"""Find a model's files by its name: the packaged default, a folder, a GGUF file or a hub id."""

from __future__ import annotations

from inspector.errors import InspectorError
from inspector.files import cache_dir
from inspector.loading import gguf_conversion
from inspector.loading.adapter import adapter_source, is_adapter, with_adapter_beside
from inspector.loading.download import from_hub
from inspector.loading.folder_checks import refuse_unreadable
from inspector.loading.gguf_reading import parts_of
from inspector.loading.mistaken_names import refuse_folder_above, refuse_mistaken_name, refuse_part_of_model
from inspector.loading.packaged import packaged_source
from inspector.loading.source import PACKAGED, WAY_OUT, Source, path_of, refuse_missing, written_as_path
from inspector.text import Progress, no_progress


def find_model(
    name: str,
    *,
    revision: str | None = None,
    token: str | None = None,
    progress: Progress | None = None,
    trust_remote_code: bool = False,
) -> Source:
    """Find a model by its name, and download or convert it where needed.

    A name is, in this order: the packaged default's; a folder or a .gguf file, where there is one, written as a path
    or not; otherwise a hub id.

    Args:
        name: such as "smollm2-135m-instruct", "owner/name", a folder or a .gguf file.
        revision: a hub model's branch, tag or commit; its main branch where None.
        token: the hub's access token; the client's own where None.
        progress: called with a message and the fraction done; what it raises ends the download.
        trust_remote_code: whether to download the repository's Python files as well.

    Returns:
        The source, whose folder holds a model that looks loadable: no weights have been read yet.

    Raises:
        InspectorError: for everything a user can mend.
    """
    say = progress or no_progress
    name = str(name).strip()
    if not name:
        raise InspectorError(
            f"The model name is empty: give a hub id (owner/name), a folder, a .gguf file, or {WAY_OUT}."
        )
    path = path_of(name)
    local = name == PACKAGED or path.exists() or written_as_path(name)
    if local and revision is not None:
        raise InspectorError(
            f"revision={revision!r} was given for '{name}', but only hub models have revisions: leave it out."
        )
    if name == PACKAGED:
        return packaged_source(say)
    if path.is_dir() and is_adapter(path):

        def find_base(base: str, base_revision: str | None) -> Source:
            return find_model(
                base, revision=base_revision, token=token, progress=progress, trust_remote_code=trust_remote_code
            )

        return adapter_source(path, name, find_base)
    if path.is_dir():
        if not (path / "config.json").exists():
            refuse_folder_above(path)
        refuse_unreadable(path, name, trust_remote_code=trust_remote_code)
        where = path.resolve()
        wins = "" if written_as_path(name) else ", which wins over a hub model of that name"
        note = f"The weights are read from the folder {where}{wins}."
        return with_adapter_beside(Source("folder", name, where, None, note))
    if path.is_file():
        refuse_part_of_model(path)
        first = parts_of(path)[0]
        folder = gguf_conversion.converted(first, cache_dir() / "models", name=first.stem, progress=say)
        refuse_unreadable(folder, name)
        note = f"The weights are the library's float32 reading of the GGUF file {path.name}."
        return Source("gguf", name, folder, None, note, remark=gguf_conversion.unread_keys(folder))
    refuse_missing(name)
    refuse_mistaken_name(name)
    found = from_hub(name, revision, token or None, say, trust_remote_code=trust_remote_code)
    return with_adapter_beside(found)

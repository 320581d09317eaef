"""Read the hub client's cache on this machine, without asking a hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from inspector.loading.folder_checks import INDEX, SINGLE, broken_safetensors


def cached_models() -> Iterator[tuple[str, Path, int, str]]:
    """List the hub models with weights in the cache.

    Yields:
        Each one's id, folder, bytes on the disk and commit.
    """
    if not any(hub_cache_folder()[0].glob("models--*")):  # nor would the client, whose import takes longer
        return
    from huggingface_hub import scan_cache_dir

    for repo in sorted(scan_cache_dir().repos, key=lambda r: r.repo_id):
        for version in repo.revisions:
            files = {f.file_name for f in version.files}
            if repo.repo_type == "model" and "config.json" in files and files & {SINGLE, INDEX}:
                yield repo.repo_id, version.snapshot_path, version.size_on_disk, version.commit_hash


def hub_cache_folder() -> tuple[Path, bool]:
    """Return the hub client's cache folder, and whether the environment forbids asking a hub."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE), bool(constants.HF_HUB_OFFLINE)


def cached_folder(name: str, revision: str | None) -> Path | None:
    """Return the cached folder of a hub model, or None where its config.json is not in the cache.

    Args:
        name: the hub id, owner/name.
        revision: a branch, tag or commit; the main branch where None.
    """
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def drop_damaged(name: str, commit: str, sizes: Mapping[str, int]) -> None:
    """Delete cached files that are not those the hub lists, so that the client downloads them again.

    The client trusts whatever lies in its cache; here another size, or a safetensors header that does not fit, is
    noticed.

    Args:
        name: the hub id, owner/name.
        commit: the commit hash.
        sizes: the hub's sizes in bytes by file name; 0 where it does not say.
    """
    from huggingface_hub import try_to_load_from_cache

    for file, size in sizes.items():
        found = try_to_load_from_cache(name, file, revision=commit)
        if not isinstance(found, str) or not size:
            continue
        path = Path(found)
        if path.stat().st_size != size or (path.suffix == ".safetensors" and broken_safetensors(path)):
            path.resolve().unlink(missing_ok=True)
            path.unlink(missing_ok=True)

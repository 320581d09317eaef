"""The hub client's cache on this machine: what lies there, and what of it is damaged. No hub is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from inspector.loading.folder_checks import INDEX, SINGLE, broken_safetensors


def cached_models() -> Iterator[tuple[str, Path, int, str]]:
    """Each hub model with weights in the cache, asking no hub: its id, folder, bytes on disk and commit."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return
    for repo in sorted(repos, key=lambda r: r.repo_id):
        for version in repo.revisions:
            files = {f.file_name for f in version.files}
            if repo.repo_type == "model" and "config.json" in files and files & {SINGLE, INDEX}:
                yield repo.repo_id, version.snapshot_path, version.size_on_disk, version.commit_hash


def cached_folder(name: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True, allow_patterns=["config.json"]))
    except LocalEntryNotFoundError:
        return None


def drop_damaged(name: str, commit: str, sizes: dict[str, int]) -> None:
    """Takes out of the cache what is not the file that the hub lists: another size, or safetensors with a broken
    header. The client trusts whatever lies there; without it, it fetches the file again."""
    from huggingface_hub import try_to_load_from_cache

    for file, size in sizes.items():
        found = try_to_load_from_cache(name, file, revision=commit)
        if not isinstance(found, str) or not size:
            continue
        path = Path(found)
        if path.stat().st_size != size or (path.suffix == ".safetensors" and broken_safetensors(path)):
            path.resolve().unlink(missing_ok=True)
            path.unlink(missing_ok=True)

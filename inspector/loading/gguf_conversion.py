"""Convert a GGUF file, once, into a folder with config.json, model.safetensors and tokenizer files.

A folder under its final name is always whole: it is written beside that name, flushed to the disk, then renamed, under
a lock that the operating system releases when a process is killed.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from inspector.errors import InspectorError
from inspector.files import flush
from inspector.loading.folder_checks import broken_safetensors
from inspector.loading.gguf_metadata import complete_config
from inspector.loading.gguf_reading import (
    metadata,
    parsed_once,
    parts_of,
    read_with_library,
    refuse_misnamed_part,
    refuse_what_is_no_gguf,
    why_unreadable,
)
from inspector.loading.gguf_words import MODEL, PRE, words_remark
from inspector.loading.quiet_library import library_lock, quiet
from inspector.text import Progress, no_progress

FORMAT = 4  # raise it when a file would be read otherwise than in older versions, whose folders are then made again
MANIFEST = "converted.json"
OTHER_FORMAT = "written in format"  # how `damage` begins to say it
SMALL = 16 * 2**20  # files up to this size are hashed at every opening: 5 ms for a tokenizer, 0.4 s for the weights
WAIT = 900.0  # seconds to wait for another process's conversion; one of 8 GB takes a few minutes


class OtherContent(Exception):
    """Say that the file is not the one whose checksum was given."""


def converted(
    gguf: Path,
    models: Path,
    *,
    name: str,
    identity: str | None = None,
    checksum: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Return the folder with the converted file; convert now where there is none, or a damaged one.

    Args:
        gguf: the GGUF file.
        models: the folder that converted models are stored in; made where there is none.
        name: what the folder's name starts with.
        identity: which file this is, such as a content hash; path, size and time of change where None.
        checksum: the file's sha256 in base64, as installers record it; where given, the file is compared with it
            before it is converted.
        progress: called with a message and the fraction done.

    Returns:
        The folder under `models`.

    Raises:
        OtherContent: where the file has another checksum.
        InspectorError: for a file that is no GGUF, is cut short or holds an architecture that the library cannot
            read, and where the folder cannot be written.
    """
    say = progress or no_progress
    folder = models / f"{name}-{_key(gguf, identity)}"
    if damage(folder) is None:
        return folder
    try:
        models.mkdir(parents=True, exist_ok=True)
        with _only_one(models / f".{folder.name}.lock", say):
            if damage(folder) is None:  # another process converted it while this one waited
                return folder
            # Whoever writes a part holds the lock, so every part found now was left by a killed process.
            for left in models.glob(f".{folder.name}.part*"):
                shutil.rmtree(left, ignore_errors=True)
            part = models / f".{folder.name}.part"
            if checksum is not None and not _is_recorded(gguf, checksum):
                raise OtherContent
            try:
                _write(gguf, part, name=name, say=say)
                if folder.exists():
                    os.rename(folder, models / f".{folder.name}.part-damaged")
                os.rename(part, folder)
                flush(models)
            finally:
                for left in models.glob(f".{folder.name}.part*"):
                    shutil.rmtree(left, ignore_errors=True)
    except OSError as error:
        raise InspectorError(
            f"The converted copy of {gguf.name} could not be written to {models} "
            f"({error.strerror or error}): free about seven times the file's size there, or set "
            "ATTENTION_INSPECTOR_CACHE to another folder."
        ) from error
    say(f"Converted {gguf.name}", 1.0)
    return folder


def damage(folder: Path, *, thorough: bool = False) -> str | None:
    """Return what is wrong with a converted folder, in a few words, or None.

    Args:
        folder: what `converted` returned.
        thorough: whether to read and hash the weights, too (0.4 s for 540 MB).
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            return f"{OTHER_FORMAT} {manifest['format']}, not {FORMAT}"
        for file, expected in manifest["files"].items():
            path = folder / file
            if path.stat().st_size != expected["size"]:
                return f"{file} has {path.stat().st_size:,} bytes instead of {expected['size']:,}"
            if (thorough or expected["size"] <= SMALL) and _sha256(path) != expected["sha256"]:
                return f"{file} has changed since it was written"
            if path.suffix == ".safetensors" and (broken := broken_safetensors(path)):
                return broken
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        return f"{MANIFEST} cannot be read ({error})"
    return None


def unread_keys(folder: Path) -> str:
    """Return the sentence on keys of the GGUF file that nobody reads, for a folder that `converted` returned.

    Args:
        folder: what `converted` returned.

    Returns:
        The sentence; empty where every key is read.
    """
    said: str = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["unread"]
    return said


def _write(gguf: Path, part: Path, *, name: str, say: Progress) -> None:
    """Read `gguf` with the library and write `part`, flushed to the disk, the manifest last."""
    from safetensors import SafetensorError

    from inspector.loading.weight_checks import refuse_unread_weights  # needs torch, which listing models does not

    refuse_what_is_no_gguf(gguf)
    with library_lock, quiet(), parsed_once(gguf, say):
        say(f"Reading the tokenizer and the settings of {gguf.name}", 0.02)
        refuse_misnamed_part(gguf)
        try:
            model, tokenizer, loading_info = read_with_library(gguf)
        except Exception as error:  # a damaged file ends in errors of any kind
            raise InspectorError(why_unreadable(gguf, error)) from error
        refuse_unread_weights(gguf.name, loading_info)
        keys, factors, without_place = metadata(gguf, model)
        pre = str(keys.get(PRE, "")) if keys.get(MODEL) == "gpt2" else ""
        said = (complete_config(model.config, keys, factors, without_place), words_remark(pre, tokenizer))
        unread = " ".join(sentence for sentence in said if sentence)
    # A GGUF-loaded model refuses to be saved while it remembers that; its weights are plain by now.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    say(f"Writing {name} as safetensors", 0.7)
    try:
        with library_lock, quiet():
            model.save_pretrained(part)
            tokenizer.save_pretrained(part)
    except SafetensorError as error:  # a full disk arrives here, dressed as a serialization error
        raise OSError(str(error)) from error
    say(f"Flushing {name} to disk", 0.9)
    files = sorted(p for p in part.rglob("*") if p.is_file())
    manifest = {
        "format": FORMAT,
        "name": name,
        "unread": unread,
        "source": {"file": str(gguf), "size": gguf.stat().st_size, "mtime_ns": gguf.stat().st_mtime_ns},
        "written_by": {package: importlib.metadata.version(package) for package in ("transformers", "gguf")},
        "files": {str(p.relative_to(part)): {"size": p.stat().st_size, "sha256": _sha256(p)} for p in files},
    }
    (part / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    for path in (*files, part / MANIFEST, part):
        flush(path)


@contextmanager
def _only_one(lock_file: Path, say: Progress) -> Iterator[None]:
    """Take `lock_file` for this process and thread; the system releases it when the process dies."""
    lock = filelock.FileLock(lock_file)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        say("Waiting for another process that is converting the same file", None)
        try:
            lock.acquire(timeout=WAIT)
        except filelock.Timeout as error:
            raise InspectorError(
                f"Another process has been converting the same file for more than {WAIT / 60:.0f} minutes: "
                f"end it, or delete {lock_file} if none is running."
            ) from error
    try:
        yield
    finally:
        lock.release()


def _key(gguf: Path, identity: str | None) -> str:
    """Return twelve characters for this file as this version of the library reads it; a later one may differ."""
    identity = identity or " ".join(
        f"{part.resolve()} {part.stat().st_size} {part.stat().st_mtime_ns}" for part in parts_of(gguf)
    )
    library = ".".join(importlib.metadata.version("transformers").split(".")[:2])
    return hashlib.sha256(f"{FORMAT} {library} {identity}".encode()).hexdigest()[:12]


def _is_recorded(path: Path, checksum: str) -> bool:
    """Return whether the file has this checksum."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=") == checksum.rstrip("=")


def _sha256(path: Path) -> str:
    """Return the file's sha256 as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

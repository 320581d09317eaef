"""The command `app`: start the app's server and open a browser."""

from __future__ import annotations

import argparse

from inspector.cli import common

HELP = "open the app in a browser; on this machine only, unless told"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("model", nargs="?", help="packaged name, hub id, folder or .gguf file to start with")
    parser.add_argument("--port", type=common.whole_number, help="port to listen on (8501 unless told)")
    parser.add_argument("--models", metavar="LIST", help="comma-separated: offer these models and no others")
    parser.add_argument("--host", metavar="ADDRESS", help="address to listen on (localhost: this machine only)")
    parser.add_argument(
        "--allow-host", action="append", metavar="NAME", help="also answer requests for this name (repeatable)"
    )
    parser.add_argument("--most-tokens", type=common.whole_number, metavar="N", help="refuse prompts of more tokens")
    parser.add_argument(
        "--most-written",
        type=common.whole_number,
        metavar="N",
        help="most tokens a visitor may let the model write (200)",
    )
    parser.add_argument(
        "--memory-gb",
        metavar="GB",
        help="memory that models and traces may keep, and that runs may take on top (half of the machine's)",
    )
    parser.add_argument(
        "--judge",
        action="append",
        metavar="ATTENTION",
        help="let Verify run your own attention, file.py:function or package.module:function (repeatable)",
    )

    parser.add_argument(
        "--atlas",
        action="append",
        metavar="FOLDER",
        help="show an atlas, a folder that the command atlas has written, on the page Atlas (repeatable)",
    )

    parser.add_argument(
        "--heads",
        action="append",
        metavar="FILE",
        help="show what the command heads found (a file that its --json wrote) on cards of the page Atlas (repeatable)",
    )


def run(options: argparse.Namespace) -> int:
    """Serve the app until it is stopped."""
    from inspector.loading.source import refuse_missing

    offered = [name.strip() for name in options.models.split(",") if name.strip()] if options.models else None
    for name in (options.model, *(offered or ())):
        if name is not None:
            refuse_missing(name)
    from inspector.ui.server.launch import start_server

    return start_server(
        model=options.model,
        port=options.port,
        models=offered,
        host=options.host,
        allow_hosts=options.allow_host,
        most_tokens=options.most_tokens,
        most_written=options.most_written,
        memory_gb=options.memory_gb,
        judge=options.judge,
        atlas=options.atlas,
        heads=options.heads,
    )

"""The command `coverage`: examine every decoder type of the installed transformers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from inspector.cli import common
from inspector.errors import InspectorError

HELP = "every decoder type of the library: captured, reimplemented, verified?"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("types", nargs="*", metavar="TYPE", help="model types such as llama (all, unless told)")
    parser.add_argument("--rope", action="store_true", help="only types with rotary positions")
    parser.add_argument("--jobs", type=common.whole_number, default=2, help="how many to examine at once (2)")
    common.add_json_argument(parser, "the rows")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the rows as a Markdown document")


def run(options: argparse.Namespace) -> int:
    """Examine the types; return 0, 1 where one did not hold, 2 where a reimplemented one broke off."""
    if options.jobs < 1:
        raise InspectorError(f"--jobs {options.jobs} examines nothing: give at least 1.")
    for place in (options.write, options.json):  # refused before the minutes of work
        common.refuse_unwritable(place)
    from inspector.coverage.document import render_document
    from inspector.coverage.sweep import summary, sweep_types
    from inspector.coverage.tiny import types
    from reimpl.families import FAMILIES

    without_rope = {name for name, entry in types().items() if entry.rope is False} if options.rope else set()
    names = [name for name in options.types or types() if name not in without_rope]
    told = sys.stderr if options.json == "-" else sys.stdout
    rows = sweep_types(names, jobs=options.jobs, on_done=lambda row: print(row, file=told, flush=True))
    print(f"\n{summary(rows)}", file=told)
    if options.json is not None:
        common.write_json({"kind": "coverage", "rows": [row.to_dict() for row in rows]}, options.json)
    if options.write is not None:
        common.write_text(options.write, render_document(rows))
    if any(row.failed for row in rows):
        return 1
    return 2 if any(row.broken and (row.alias_of or row.model_type) in FAMILIES for row in rows) else 0

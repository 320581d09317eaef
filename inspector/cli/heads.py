"""The command `heads`: find what each head of a model does, with scores, nulls and the texts that show it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from inspector.cli import common

HELP = "find what each head does, with evidence"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    common.add_loading_arguments(parser)
    common.add_json_argument(parser, "every score with its null")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a row for each head: labels, scores, cache")


def run(options: argparse.Namespace) -> int:
    """Label a model's heads; return 0 where the rule's control labels none and 1 where it does."""
    for place in (options.json, options.csv):
        common.refuse_unwritable(place)
    model = common.load_model(options)
    from inspector import heads

    report = heads.find(
        model,
        progress=lambda message, fraction: common.show_progress(f"{message} {fraction or 0:4.0%}"),
    )
    common.show_progress("")
    if options.json != "-":
        print(report)
    if options.csv is not None:
        common.write_text(options.csv, report.table.to_csv(index=False).rstrip("\n"))
    if options.json is not None:
        common.write_json(json.loads(report.to_json()), options.json)
    return 0 if report.ok else 1

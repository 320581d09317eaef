"""The command `judge`: say whether somebody's own attention, run here or dumped elsewhere, is right, and if not why."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from inspector.cli import common
from inspector.errors import InspectorError

HELP = "is your own attention right? Runs your function, or reads numbers that you dumped"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    common.add_model_arguments(parser)
    parser.add_argument(
        "attention", nargs="?", metavar="ATTENTION", help="your attention: package.module:function or file.py:function"
    )
    parser.add_argument("--dumps", type=Path, metavar="FOLDER", help="read dumped numbers instead: a folder or a file")
    parser.add_argument(
        "--decode", type=common.whole_number, metavar="N", help="also run the last N tokens one by one, with a cache"
    )
    parser.add_argument(
        "--gradients", action="store_true", help="also compare the gradients of a loss (of code in torch alone)"
    )
    common.add_json_argument(parser, "the whole report")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write a test for each layer, as JUnit XML")


def run(options: argparse.Namespace) -> int:
    """Judge one attention; return 0 where it is right, 1 where it is different, 2 where that was not shown."""
    for place in (options.json, options.junit):
        common.refuse_unwritable(place)
    if (options.attention is None) == (options.dumps is None):
        raise InspectorError(
            "Give either your attention, as file.py:function, or --dumps with the folder of its numbers."
        )
    if options.dumps is not None and options.decode is not None:
        raise InspectorError("--decode runs your code token by token, and --dumps holds numbers alone: leave one out.")
    if options.dumps is not None and options.gradients:
        raise InspectorError("--gradients runs your code backwards, and --dumps holds numbers alone: leave one out.")
    if options.decode is not None and options.decode < 1:
        raise InspectorError(f"--decode {options.decode} runs no token: give at least 1.")
    prompt = _prompt(options)
    if options.attention is not None:
        from inspector.judging.callables import named_attention

        mine = named_attention(options.attention)  # said before a model is fetched
    else:
        mine = options.dumps
    model = common.load_model(options)
    from inspector import judge

    report = judge(
        model,
        mine,
        prompt,
        decode="auto" if options.decode is None else options.decode,
        gradients=options.gradients,
    )
    common.show_report(report, options.json)
    if options.junit is not None:
        from inspector.judging.junit import junit_xml

        common.write_text(options.junit, junit_xml(report))
    return 0 if report.ok else 1 if report.verdict == "different" else 2


def _prompt(options: argparse.Namespace) -> Any:
    """Return the prompt: that of the options, or, where they have none, the token ids of the dump if it has any."""
    if options.dumps is not None and options.prompt is None and options.prompt_file is None:
        from inspector.judging.dumps import dumped_ids

        if (ids := dumped_ids(options.dumps)) is not None:
            return list(ids)
    return common.prompt_text(options)

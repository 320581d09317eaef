"""The command `verify`: compare the reimplementation with the library, and say what was found."""

from __future__ import annotations

import argparse
from pathlib import Path

from inspector.cli import common
from inspector.errors import InspectorError

HELP = "compare the reimplementation with the library's own numbers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    common.add_model_arguments(parser)
    common.add_json_argument(parser, "the whole report")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FOLDER", help="reimplement from this folder's files instead"
    )
    parser.add_argument(
        "--quick", action="store_true", help="let the model write no text, so that steps with a cache are not compared"
    )
    parser.add_argument("--no-controls", action="store_true", help="leave the planted mistakes out")


def run(options: argparse.Namespace) -> int:
    """Verify one prompt; return 0 where all passed and 1 where something differs."""
    from inspector import verify

    prompt = common.prompt_text(options)  # what can be refused at once is, before a model is fetched
    common.refuse_unwritable(options.json)
    if options.checkpoint is not None and not (options.checkpoint / "config.json").is_file():
        what = "has no config.json" if options.checkpoint.is_dir() else "is not a folder that exists"
        raise InspectorError(
            f"--checkpoint {options.checkpoint} {what}: give a folder with config.json and safetensors files."
        )
    model = common.load_model(options)
    report = verify(
        model,
        prompt,
        checkpoint=options.checkpoint,
        controls=not options.no_controls,
        quick=options.quick,
        on_layer=lambda done, total: common.show_progress(f"verifying: step {done} of {total}"),
    )
    common.show_progress("")
    common.show_report(report, options.json)
    return 0 if report.ok else 1

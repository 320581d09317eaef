"""The command `reference`: write the numbers that a right implementation gives, for those who write attention."""

from __future__ import annotations

import argparse
from pathlib import Path

from inspector.cli import common
from inspector.cli.capture import layer_numbers

HELP = "write each layer's input and every stage, to compare your own code with"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    common.add_model_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the folder to write, a new one")
    parser.add_argument("--npy", action="store_true", help="an .npy for each array (safetensors unless told)")
    parser.add_argument(
        "--layers", type=layer_numbers, metavar="LIST", help="write these layers only, such as 0,5,10-12"
    )


def run(options: argparse.Namespace) -> int:
    """Run the prompt and write the folder."""
    from inspector.files import refuse_used_folder

    prompt = common.prompt_text(options)
    refuse_used_folder(options.out)
    from inspector.judging.reference_folder import write_reference

    model = common.load_model(options)
    folder = write_reference(
        model,
        prompt,
        options.out,
        npy=options.npy,
        layers=options.layers,
        on_layer=lambda done, total: common.show_progress(f"layer {done} of {total}"),
    )
    common.show_progress("")
    files = list(folder.iterdir())
    size = sum(file.stat().st_size for file in files)
    print(f"{folder}: {len(files)} files, {size / 2**20:.1f} MB; README.md there says what they hold.")
    return 0

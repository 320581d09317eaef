"""The command `capture`: record a prompt's attention in a safetensors file."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from inspector.cli import common

HELP = "record a prompt's attention in a file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    common.add_model_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the safetensors file to write")
    parser.add_argument(
        "--precision",
        choices=("float16", "bfloat16"),  # inspector.model.cost.HALVES, whose import would take a second
        help="keep the vectors rounded: half the file (exact unless told)",
    )
    parser.add_argument(
        "--layers", type=layer_numbers, metavar="LIST", help="keep these layers only, such as 0,5,10-12"
    )


def run(options: argparse.Namespace) -> int:
    """Trace the prompt and save the trace."""
    from inspector.model.cost import LONG

    prompt = common.prompt_text(options)
    common.refuse_unwritable(options.out)
    model = common.load_model(options)
    kept = {"precision": options.precision, "layers": options.layers}
    tokens = model.tokenize(prompt)
    if len(tokens) > LONG:
        print(model.cost(tokens, **kept), file=sys.stderr, flush=True)
    trace = model.trace(prompt, on_layer=lambda done, total: common.show_progress(f"layer {done} of {total}"), **kept)
    path = trace.save(options.out)
    common.show_progress("")
    print(f"{trace}\n{path}: {path.stat().st_size / 2**20:.1f} MB")
    if trace.lost:
        print(trace.lost_in_words())
    return 0


def layer_numbers(text: str) -> list[int]:
    """Read 0,5,10-12 as numbers, each once, in their order."""
    found: set[int] = set()
    for part in text.split(","):
        named = re.fullmatch(r"\s*([0-9]{1,4})(?:-([0-9]{1,4}))?\s*", part)
        numbers = range(int(named[1]), int(named[2] or named[1]) + 1) if named else range(0)
        if not numbers:
            raise argparse.ArgumentTypeError(
                f"{part.strip()!r} names no layers: give numbers below 10000, and ranges from low to high, such as "
                "0,5,10-12."
            )
        found.update(numbers)
    return sorted(found)

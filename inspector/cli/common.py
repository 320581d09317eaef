"""What several commands share: the options for a model and a prompt, the line of progress, and writing files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inspector.errors import InspectorError
from inspector.text import SCHEMA
from inspector.trace.prompt_file import MOST_BYTES, read_prompt

if TYPE_CHECKING:
    from inspector.model.model import Model
    from inspector.reports import Report

PROMPT = "Houston, we have a problem"


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a model, its precision and place, and the prompt."""
    add_loading_arguments(parser)
    parser.add_argument("--prompt", default=None, help=f'text to run ("{PROMPT}")')
    parser.add_argument("--prompt-file", metavar="FILE", help='read the text from a UTF-8 file ("-": standard input)')


def add_loading_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a model, its precision and place."""
    parser.add_argument("model", help="packaged name (smollm2-135m-instruct), hub id, folder or .gguf file")
    parser.add_argument("--memory-gb", metavar="GB", help="memory a run may take at its peak (half of the machine's)")
    parser.add_argument("--dtype", default="float32", help="float32, bfloat16, float16, float64 or auto")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, mps or auto")
    parser.add_argument("--device-map", help='"auto" spreads the model over devices')
    parser.add_argument("--revision", help="a hub model's branch, tag or commit")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that the model's repository brings")


def load_model(options: argparse.Namespace) -> Model:
    """Load the model that the options name, showing the progress."""
    from inspector.loading.source import refuse_missing
    from inspector.model.memory import memory_budget, set_memory_budget

    if options.memory_gb is not None:
        set_memory_budget(options.memory_gb, "--memory-gb")
    memory_budget()  # what the environment says must make sense, too: said before anything is loaded
    refuse_missing(options.model)
    from inspector import load
    from inspector.loading.library_model import torch_device, torch_dtype

    dtype = torch_dtype(options.dtype)  # said before anything is downloaded
    if options.device_map is None:
        torch_device(options.device, dtype)

    def progress(message: str, fraction: float | None) -> None:
        show_progress(message if fraction is None else f"{message} {fraction:4.0%}")

    model = load(
        options.model,
        dtype=options.dtype,
        device=options.device,
        device_map=options.device_map,
        revision=options.revision,
        trust_remote_code=options.trust_remote_code,
        progress=progress,
    )
    show_progress("")
    return model


def prompt_text(options: argparse.Namespace) -> str:
    """Return the prompt: of --prompt, of --prompt-file, or the built-in one."""
    if options.prompt_file is None:
        return PROMPT if options.prompt is None else str(options.prompt)
    if options.prompt is not None:
        raise InspectorError("Give either --prompt or --prompt-file, not both.")
    if options.prompt_file == "-":
        return read_prompt(sys.stdin.buffer.read(MOST_BYTES + 1), "Standard input")
    try:
        with Path(options.prompt_file).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InspectorError(
            f"{options.prompt_file} could not be read ({error.strerror or error}): check the path, or give --prompt."
        ) from error
    return read_prompt(content, options.prompt_file)


def add_json_argument(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the option --json, which writes `what`."""
    parser.add_argument("--json", metavar="FILE", help=f'write {what} as JSON ("-": to standard output)')


def whole_number(text: str) -> int:
    """Read an option's whole number; argparse says what is none of them, after the option's name."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number: give one such as 8.") from None


def refuse_unwritable(place: Path | str | None) -> None:
    """Raise InspectorError where no file can be written: said before the minutes of work, not after them.

    Args:
        place: the file; None and "-" (standard output) can always be written.
    """
    if place is None or place == "-":
        return
    path = Path(place)
    if path.is_dir():
        raise InspectorError(f"{path} is a folder: give the name of a file to write.")
    if not path.parent.is_dir():
        raise InspectorError(f"{path.parent} is not a folder that exists: make it first, or choose another place.")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    from inspector.files import written_whole

    with written_whole(path) as part:
        part.write_text(text + "\n", encoding="utf-8")


def write_json(record: Mapping[str, Any], place: str) -> None:
    """Write a record as JSON, its schema first, to a file or to standard output ("-")."""
    whole = {"schema": SCHEMA, **record}
    if place == "-":
        print(json.dumps(whole, indent=1))  # ASCII, which is JSON in every terminal's encoding
    else:
        write_text(Path(place), json.dumps(whole, indent=1, ensure_ascii=False))


def show_report(report: Report, place: str | None) -> None:
    """Print a report, and write it as JSON where --json says so; to standard output, that alone."""
    if place != "-":
        print(report)
    if place is not None:
        write_json(json.loads(report.to_json()), place)


def show_progress(message: str) -> None:
    """Show one line that replaces itself, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\033[K{message}", end="", file=sys.stderr, flush=True)

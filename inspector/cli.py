"""The command line: arguments in, text or files out. Exit 0: all well; 1: a difference was found; 2: it could not run.

Errors are one sentence on standard error; a traceback only with --debug.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from inspector.errors import InspectorError
from inspector.text import first_sentence
from inspector.trace.prompt_file import MOST_BYTES, read_prompt

if TYPE_CHECKING:
    from inspector.model.model import Model

PROMPT = "Houston, we have a problem"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    if isinstance(sys.stdout, io.TextIOWrapper):  # a token that the terminal's encoding lacks is no reason to stop
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = run(options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return _failed("stopped.", 130)
    except BrokenPipeError:  # whoever read the output has seen enough, and Python's own last flush must not complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except Exception as error:  # whatever it is, it is not exit 1: no difference was found
        if options.debug:
            _progress("")
            traceback.print_exc()
            return 2
        if isinstance(error, InspectorError):
            return _failed(str(error), 2)
        what = type(error).__name__ + (f" ({first_sentence(error)})" if str(error) else "")
        return _failed(f"It stopped with an unexpected {what}: run it again with --debug to see where.", 2)


def _failed(sentence: str, status: int) -> int:
    _progress("")
    print(f"attention-inspector: {sentence}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="attention-inspector",
        description="See every attention head of a real pretrained model, and trust what you see.",
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    app = commands.add_parser(
        "app", parents=[common], help="open the app in a browser; on this machine only, unless told"
    )
    app.add_argument("model", nargs="?", help="packaged name, hub id, folder or .gguf file to start with")
    app.add_argument("--port", type=int, help="port to listen on (8501 unless told)")
    app.add_argument("--models", metavar="LIST", help="comma-separated: offer these models and no others")
    app.add_argument("--host", metavar="ADDRESS", help="address to listen on (localhost: this machine only)")
    app.add_argument(
        "--allow-host", action="append", metavar="NAME", help="also answer requests for this name (repeatable)"
    )
    app.add_argument("--most-tokens", type=int, metavar="N", help="refuse prompts of more tokens")
    app.add_argument(
        "--most-written", type=int, metavar="N", help="most tokens a visitor may let the model write (200)"
    )
    app.add_argument(
        "--memory-gb",
        metavar="GB",
        help="memory that models and traces may keep, and that runs may take on top (half of the machine's)",
    )
    app.set_defaults(run=_app)

    model = argparse.ArgumentParser(add_help=False)
    model.add_argument("model", help="packaged name (smollm2-135m-instruct), hub id, folder or .gguf file")
    model.add_argument("--prompt", default=None, help=f'text to run ("{PROMPT}")')
    model.add_argument("--prompt-file", metavar="FILE", help='read the text from a UTF-8 file ("-": standard input)')
    model.add_argument("--memory-gb", metavar="GB", help="memory a run may take at its peak (half of the machine's)")
    model.add_argument("--dtype", default="float32", help="float32, bfloat16, float16, float64 or auto")
    model.add_argument("--device", default="cpu", help="cpu, cuda, mps or auto")
    model.add_argument("--device-map", help='"auto" spreads the model over devices')
    model.add_argument("--revision", help="a hub model's branch, tag or commit")
    model.add_argument("--trust-remote-code", action="store_true", help="run code that the model's repository brings")

    verify = commands.add_parser(
        "verify", parents=[common, model], help="compare the reimplementation with the library's own numbers"
    )
    verify.add_argument("--json", metavar="FILE", help='write the whole report as JSON ("-": to standard output)')
    verify.add_argument(
        "--checkpoint", type=Path, metavar="FOLDER", help="reimplement from this folder's files instead"
    )
    verify.add_argument("--no-controls", action="store_true", help="leave the planted mistakes out")
    verify.set_defaults(run=_verify)

    capture = commands.add_parser("capture", parents=[common, model], help="record a prompt's attention in a file")
    capture.add_argument("--out", type=Path, required=True, metavar="FILE", help="the safetensors file to write")
    capture.add_argument(
        "--precision",
        choices=("float16", "bfloat16"),  # inspector.model.cost.HALVES, whose import would take a second
        help="keep the vectors rounded: half the file (exact unless told)",
    )
    capture.add_argument("--layers", type=_numbers, metavar="LIST", help="keep these layers only, such as 0,5,10-12")
    capture.set_defaults(run=_capture)

    models = commands.add_parser("models", parents=[common], help="what is packaged and cached on this machine")
    models.add_argument("--check-hub", metavar="ID", help="also ask the hub about this model")
    models.set_defaults(run=_models)

    coverage = commands.add_parser(
        "coverage", parents=[common], help="every decoder type of the library: captured, reimplemented, verified?"
    )
    coverage.add_argument("types", nargs="*", metavar="TYPE", help="model types such as llama (all, unless told)")
    coverage.add_argument("--rope", action="store_true", help="only types with rotary positions")
    coverage.add_argument("--jobs", type=int, default=2, help="how many to examine at once (2)")
    coverage.add_argument("--json", metavar="FILE", help='write the rows as JSON ("-": to standard output)')
    coverage.add_argument("--write", type=Path, metavar="FILE", help="write the rows as a Markdown document")
    coverage.set_defaults(run=_coverage)
    return parser


def _app(options: argparse.Namespace) -> int:
    from inspector.ui.server.launch import start_server

    offered = [name.strip() for name in options.models.split(",") if name.strip()] if options.models else None
    return start_server(
        model=options.model,
        port=options.port,
        models=offered,
        host=options.host,
        allow_hosts=options.allow_host,
        most_tokens=options.most_tokens,
        most_written=options.most_written,
        memory_gb=options.memory_gb,
    )


def _verify(options: argparse.Namespace) -> int:
    from inspector.verification.run import verify

    prompt = _prompt(options)  # what can be refused at once is, before a model is fetched
    if options.json and options.json != "-":
        _refuse_place(Path(options.json))
    model = _load(options)
    report = verify(
        model,
        prompt,
        checkpoint=options.checkpoint,
        controls=not options.no_controls,
        on_layer=lambda done, total: _progress(f"verifying: step {done} of {total}"),
    )
    _progress("")
    if options.json == "-":
        print(json.dumps(report.to_dict(), indent=1))  # ASCII, which is JSON in every terminal's encoding
    else:
        print(report)
    if options.json and options.json != "-":
        _write(Path(options.json), report.to_json())
    return 0 if report.ok else 1


def _capture(options: argparse.Namespace) -> int:
    from inspector.model.cost import LONG

    prompt = _prompt(options)
    _refuse_place(options.out)
    model = _load(options)
    kept = {"precision": options.precision, "layers": options.layers}
    tokens = model.tokenize(prompt)
    if len(tokens) > LONG:
        print(model.cost(tokens, **kept), file=sys.stderr, flush=True)
    trace = model.trace(prompt, on_layer=lambda done, total: _progress(f"layer {done} of {total}"), **kept)
    path = trace.save(options.out)
    _progress("")
    print(f"{trace}\n{path}: {path.stat().st_size / 2**20:.1f} MB")
    if trace.lost:
        print(trace.lost_in_words())
    return 0


def _models(options: argparse.Namespace) -> int:
    from inspector.loading import resolve

    for known in resolve.models_known():
        size = f"{known['bytes'] / 2**20:,.0f} MB" if known["bytes"] else "not converted yet"
        damaged = f"  ({known['state']})" if known["state"].startswith("damaged") else ""
        print(f"{known['name']:<40} {known['kind']:<9} {size:>18}  {known['folder'] or ''}{damaged}")
    if options.check_hub:
        print(resolve.check_hub(options.check_hub))
    return 0


def _coverage(options: argparse.Namespace) -> int:
    listed = Path(options.json) if options.json not in (None, "-") else None
    for place in (options.write, listed):  # refused before the minutes of work
        if place is not None:
            _refuse_place(place)
    from inspector.coverage.document import document
    from inspector.coverage.sweep import summary, sweep
    from inspector.coverage.tiny import types
    from reimpl.families import FAMILIES

    without_rope = {name for name, entry in types().items() if entry.rope is False} if options.rope else set()
    names = [name for name in options.types or types() if name not in without_rope]
    told = sys.stderr if options.json == "-" else sys.stdout
    rows = sweep(names, jobs=options.jobs, on_done=lambda row: print(row, file=told, flush=True))
    print(f"\n{summary(rows)}", file=told)
    text = json.dumps([row.to_dict() for row in rows], indent=1)
    if options.json == "-":
        print(text)
    if listed is not None:
        _write(listed, text)
    if options.write is not None:
        _write(options.write, document(rows))
    if any(row.failed for row in rows):
        return 1
    return 2 if any(row.broken and (row.alias_of or row.model_type) in FAMILIES for row in rows) else 0


def _load(options: argparse.Namespace) -> Model:
    from inspector.model.memory import memory_budget, set_memory_budget

    if options.memory_gb is not None:
        set_memory_budget(options.memory_gb, "--memory-gb")
    memory_budget()  # what the environment says must make sense, too: said before anything is loaded
    from inspector.model.model import load

    def progress(message: str, fraction: float | None) -> None:
        _progress(message if fraction is None else f"{message} {fraction:4.0%}")

    model = load(
        options.model,
        dtype=options.dtype,
        device=options.device,
        device_map=options.device_map,
        revision=options.revision,
        trust_remote_code=options.trust_remote_code,
        progress=progress,
    )
    _progress("")
    return model


def _prompt(options: argparse.Namespace) -> str:
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


def _numbers(text: str) -> list[int]:
    """0,5,10-12 as numbers, each once."""
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


def _refuse_place(path: Path) -> None:
    """Raises InspectorError where no file can be written: said before the minutes of work, not after them."""
    if path.is_dir():
        raise InspectorError(f"{path} is a folder: give the name of a file to write.")
    if not path.parent.is_dir():
        raise InspectorError(f"{path.parent} is not a folder that exists: make it first, or choose another place.")


def _write(path: Path, text: str) -> None:
    from inspector.files import written_whole

    with written_whole(path) as part:
        part.write_text(text + "\n", encoding="utf-8")


def _progress(message: str) -> None:
    """One line that replaces itself, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\033[K{message}", end="", file=sys.stderr, flush=True)

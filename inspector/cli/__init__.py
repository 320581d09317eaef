"""Run the command `attention-inspector`: arguments in, text or files out, one file a command.

Exit status 0: all well; 1: a difference was found; 2: it could not run (130: stopped by the user). Errors are one
sentence on standard error; a traceback only with --debug. No heavy library is imported before a command needs it.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence

from inspector import __version__
from inspector.cli import (
    app,
    atlas,
    capture,
    common,
    coverage,
    experiment,
    get_default,
    heads,
    info,
    judge,
    models,
    reference,
    verify,
    why,
)
from inspector.errors import InspectorError
from inspector.text import first_sentence

# In the order that --help shows.
COMMANDS = (
    app,
    verify,
    judge,
    reference,
    experiment,
    why,
    heads,
    atlas,
    capture,
    models,
    get_default,
    coverage,
    info,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Args:
        arguments: the words after the program's name; those of this process where None.

    Returns:
        The exit status: 0, 1, 2 or 130.

    Raises:
        SystemExit: after --help and --version (status 0), and for arguments that are no command (status 2).
    """
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
            common.show_progress("")
            import traceback

            traceback.print_exc()
            return 2
        if isinstance(error, InspectorError):
            return _failed(str(error), 2)
        what = type(error).__name__ + (f" ({first_sentence(error)})" if str(error) else "")
        return _failed(f"It stopped with an unexpected {what}: run it again with --debug to see where.", 2)


def _failed(sentence: str, status: int) -> int:
    common.show_progress("")
    print(f"attention-inspector: {sentence}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="attention-inspector",
        description="See every attention head of a real pretrained model, and trust what you see.",
    )
    parser.add_argument("--version", action="version", version=f"attention-inspector {__version__}")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2].replace("_", "-")
        own = commands.add_parser(name, parents=[shared], help=command.HELP)
        command.add_arguments(own)
        own.set_defaults(run=command.run)
    return parser

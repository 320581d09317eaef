"""The command `experiment`: change a part of a model's attention and see what follows, or sweep over all heads."""

from __future__ import annotations

import argparse
from typing import Any

from inspector.cli import common
from inspector.errors import InspectorError

HELP = "change a part of the attention, and see what follows"
DONE_BY_SWEEP = ("heads", "layers", "tokens", "edges")  # what --sweep goes over


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    common.add_model_arguments(parser)
    common.add_json_argument(parser, "the whole report")
    parser.add_argument(
        "--edit",
        action="append",
        default=[],
        metavar="EDIT",
        help='such as zero:23.3 or "cut:-1>4@10-19"; more than one are made together (docs/lab.md lists them)',
    )
    parser.add_argument("--source", metavar="TEXT", help="the prompt that patches, means and frozen weights come from")
    parser.add_argument("--token", help='the next token that is looked at, such as " Mary" (the most probable one)')
    parser.add_argument("--against", help='the foil, such as " John" (the mean of all tokens)')
    parser.add_argument("--sweep", choices=DONE_BY_SWEEP, help="edit one after the other instead, as --kind says")
    parser.add_argument("--kind", default=None, help="what --sweep does: zero, mean, patch, cut or drop")


def run(options: argparse.Namespace) -> int:
    """Run an experiment or a sweep; return 0 where its controls held and 1 where they did not."""
    prompt = common.prompt_text(options)  # what can be refused at once is, before a model is fetched
    common.refuse_unwritable(options.json)
    if bool(options.edit) == (options.sweep is not None):
        raise InspectorError("Give edits (--edit zero:23.3), or a thing to sweep over (--sweep heads), and not both.")
    from inspector import lab
    from inspector.lab.spelling import read_edit

    for text in options.edit:
        read_edit(text, [0])  # any source, to see whether it can be read
    model = common.load_model(options)
    source = None if options.source is None else model.tokenize(options.source).ids

    def progress(message: str, fraction: float | None) -> None:
        common.show_progress(message if fraction is None else f"{message} {fraction:4.0%}")

    asked: dict[str, Any] = {"token": options.token, "against": options.against, "progress": progress}
    report: lab.ExperimentReport | lab.SweepReport
    if options.sweep is not None:
        usual = "cut" if options.sweep in ("tokens", "edges") else "zero" if source is None else "patch"
        kind: Any = options.kind or usual  # checked there
        report = lab.sweep(model, prompt, kind=kind, over=options.sweep, source=source, **asked)
    else:
        report = lab.experiment(model, prompt, [read_edit(text, source) for text in options.edit], **asked)
    common.show_progress("")
    common.show_report(report, options.json)
    return 0 if report.ok else 1

"""The command `why`: say what wrote a next token's logit, from which tokens, and why heads looked there."""

from __future__ import annotations

import argparse
import json

from inspector.cli import common

HELP = "explain a next token: the heads that wrote it, from which tokens, and why"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    common.add_model_arguments(parser)
    common.add_json_argument(parser, "the explanation")
    parser.add_argument("--token", help='the next token, such as " Mary" (the most probable one)')
    against = parser.add_mutually_exclusive_group()
    against.add_argument("--against", help='the token that it is compared with, such as " John" (none)')
    against.add_argument("--against-mean", action="store_true", help="compare it with the mean of all tokens")
    parser.add_argument("--heads", type=common.whole_number, default=5, help="how many heads to list (5)")
    parser.add_argument("--sources", type=common.whole_number, default=3, help="how many tokens of each head (3)")
    parser.add_argument(
        "--parts", type=common.whole_number, default=4, help="how many parts of each score (4); 0: none"
    )
    parser.add_argument("--cut", action="store_true", help="cut each token off too, beside what attention says")


def run(options: argparse.Namespace) -> int:
    """Explain a token; return 0 where its shares add up and 1 where they do not."""
    prompt = common.prompt_text(options)  # what can be refused at once is, before a model is fetched
    common.refuse_unwritable(options.json)
    from inspector import lab
    from inspector.lab.effects import token_id

    def progress(message: str, fraction: float | None) -> None:
        common.show_progress(message if fraction is None else f"{message} {fraction:4.0%}")

    model = common.load_model(options)
    trace = model.trace(prompt)
    foil = None if options.against is None else token_id(options.against, model)
    counts = {name: getattr(options, name) for name in ("heads", "sources", "parts")}
    found = lab.explain(trace, options.token, "mean" if options.against_mean else foil, **counts)
    record = found.to_dict()
    texts = [str(found)]
    if options.cut:
        importance = lab.token_importance(trace, found.token, foil, progress=progress)
        common.show_progress("")
        record["importance"] = json.loads(importance.to_json())
        texts.append(str(importance))
    if options.json != "-":
        print("\n\n".join(texts))
    if options.json is not None:
        common.write_json(record, options.json)
    return 0 if found.ok else 1

"""Measures sums and planted mistakes of attributions into docs/why.md: `python -m tests.why_document`. Not a test."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import torch

import inspector
from inspector import lab

sys.path.insert(0, str(Path(__file__).parent))
import tiny
from lab_document import put
from why_families import FAMILIES, tiny_model
from why_mistakes import MISTAKES, caught

PAGE = Path(__file__).resolve().parents[1] / "docs" / "why.md"
BEGIN, END = "<!-- measured: python -m tests.why_document -->", "<!-- end of what is measured -->"
N = 9
EVERY_BEGIN, EVERY_END = "<!-- every type: python -m tests.why_document types -->", "<!-- end of every type -->"


def family_row(name: str, trace: inspector.Trace) -> str:
    """A line for one family: by how much the parts of its logits and of its scores miss their sums."""
    logits = [
        lab.attribution(trace, 7, against, by=by, query=query)
        for against, by, query in ((None, "component", -1), (None, "head", 4), ("mean", "source", -1))
    ]
    scores = [lab.score_parts(trace, 2, 3, heads=True, query=query) for query in (-1, 4)]
    missed = [max(abs(one.attrs["remainder"]) for one in frames) for frames in (logits, scores)]
    allowed = [min(one.attrs["limit"] for one in frames) for frames in (logits, scores)]
    cells = [f"{a:.0e} of {b:.0e}" for a, b in zip(missed, allowed, strict=True)]
    return f"| {name} | {len(logits[2])} | {' | '.join(cells)} |"


def packaged_lines() -> list[str]:
    """The packaged model's values, as the tests hold them."""
    model = inspector.load()
    trace = model.trace("When Mary and John went to the store, John gave a drink to")
    frame = lab.attribution(trace, " Mary")
    top = frame.sort_values("share", ascending=False).head(4)
    named = ", ".join(f"{row.part} {row.share:+.2f}" for row in top.itertuples())
    at = frame.attrs
    foil = lab.attribution(trace, " Mary", " John", by="source").nlargest(1, "share").iloc[0]
    found = lab.token_importance(trace, " Mary")
    ranks = ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in found.correlations.items())
    return [
        f'"When Mary and John went to the store, John gave a drink to" on {model.name}: {len(frame)} parts add up to '
        f'the logit of " Mary", {at["logit"]:.4f}, and miss it by {abs(at["remainder"]):.0e}. The largest: {named}. '
        f'Against " John" the largest share of one head and source token is {foil["part"]}\'s by looking at '
        f"{foil['source_token']} ({foil['source']}): {foil['share']:+.2f}.",
        "",
        f"Rank correlation with the effect of cutting each token off, in this one prompt: {ranks}.",
    ]


def measured() -> list[str]:
    """Every line that is measured."""
    lines = ["| family | parts | logit: missed by | score: missed by |", "| --- | --- | --- | --- |"]
    traces = {}
    with tempfile.TemporaryDirectory() as place:
        for name in FAMILIES:
            traces[name] = tiny_model(name, Path(place)).trace(tiny.ids(N))
            lines.append(family_row(name, traces[name]))
            print(lines[-1], file=sys.stderr)
        found = [(one, caught(one, traces[one.family])) for one in MISTAKES]
    count = sum(bool(sentence) for _, sentence in found)
    return [
        f"{len(FAMILIES)} families (tiny models with random weights, {N} tokens), float32 on the CPU, torch "
        f"{torch.__version__.partition('+')[0]}: by how much the parts of three logits and of two scores miss their "
        "sums at most, and the strictest limit.",
        "",
        *lines,
        "",
        f"{len(MISTAKES)} mistakes that attributions make were planted, one at a time: {count} were caught by a sum.",
        "",
        "| planted mistake | in | the sum that caught it |",
        "| --- | --- | --- |",
        *(f"| {one.meaning} | {one.family} | {_which(sentence)} |" for one, sentence in found),
        "",
        *packaged_lines(),
    ]


def _which(sentence: str) -> str:
    if not sentence:
        return "**none**"
    if "W_o do not add up" in sentence:
        return "heads against the attention output"
    return (
        "parts of the logit"
        if "add up to" in sentence and "score of" not in sentence
        else ("parts of the score" if "score of" in sentence else "parts of the query and key vectors")
    )


def every_type() -> list[str]:
    """What comes of splitting a logit in a tiny model of every decoder type that can be built here."""
    from lab_laws import tiny_model as of_type

    from inspector.coverage import tiny as built

    exact, by_layer, refused, differences = [], [], {}, []
    for name in sorted(built.types()):
        try:
            with tempfile.TemporaryDirectory() as place:
                model = of_type(name, Path(place))
                trace = model.trace(tiny.ids(N, vocabulary=min(128, model.vocabulary)))
        except Exception as error:  # not built, captured or run here: docs/architectures.md says why
            print(f"{name}: not run ({type(error).__name__})", file=sys.stderr)
            continue
        try:
            kinds = set(lab.attribution(trace, 7, by="component")["kind"])
        except inspector.InspectorError as error:
            refused[name] = str(error) + _scores(trace, name)
            continue
        if kinds & {"mixer", "difference"}:
            differences.append(f"{name} ({'output minus input' if 'difference' in kinds else 'each part by itself'})")
        try:
            lab.attribution(trace, 7, by="source")
            exact.append(name)
        except inspector.InspectorError:
            by_layer.append(name)
        print(name, file=sys.stderr)
    reasons: dict[str, list[str]] = {}
    for name, sentence in refused.items():
        missed = re.search(r"misses it by (\S+) of", sentence)
        missed_by = f" ({missed[1]})" if missed else ""
        mark = "*" if sentence.endswith(" SCORES") else ""
        reasons.setdefault(_short(sentence), []).append(name + mark + missed_by)
    return [
        f"Of {len(exact) + len(by_layer) + len(refused)} decoder types of the library that run on token ids here, "
        f"{len(exact)} split a logit by head and source token within the limit, {len(by_layer)} by layer alone (their "
        f"attention is not reimplemented, or normalised before W_o), and {len(refused)} are refused (* its scores are "
        "split all the same):",
        "",
        f"- by head: {', '.join(exact)}",
        f"- by layer: {', '.join(by_layer)}",
        f"- of these, with rows for blocks without attention: {', '.join(differences)}",
        *(f"- refused, {reason}: {', '.join(names)}" for reason, names in sorted(reasons.items())),
    ]


def _scores(trace: inspector.Trace, name: str) -> str:
    """What comes of splitting a score where no logit is split: a word at the end of the refusal."""
    try:
        lab.score_parts(trace, len(trace.layers) - 1, 0)
    except inspector.InspectorError as error:
        print(f"{name}: scores: {error}", file=sys.stderr)
        return ""
    return " SCORES"


def _short(sentence: str) -> str:
    """The reason within a refusal, without the model's name and numbers."""
    reasons = {
        "goes on with no sum": "a block goes on with no sum of what it received and what its parts made (of the first "
        "such block, how much the nearest sum misses, over its largest number)",
        "does not receive what block": "a block does not receive what the one before returned",
        "without attention": "blocks without attention stand between",
        "could not be read": "what its blocks or output embeddings receive could not be read",
        "one vector for each token": "blocks do not receive or return one vector for each token",
        "runs": "an attention module runs more or less than once in its block",
        "no language-model head": "it has no language-model head, so there is no logit to split",
        "is no norm": "something between the blocks and the logits is no norm or factor",
        "neither times a factor": "its logits are made of products in another way",
        "add up to": "the parts miss the logit by more than rounding",
    }
    return next((text for words, text in reasons.items() if words in sentence), "for another reason")


def main() -> None:
    """Measure everything and write it; with `types`, ask every decoder type too (minutes)."""
    torch.manual_seed(0)
    lines = measured()
    types = every_type() if sys.argv[1:] == ["types"] else None
    text = put(PAGE.read_text(encoding="utf-8"), BEGIN, END, "\n".join(lines))
    if types is not None:
        text = put(text, EVERY_BEGIN, EVERY_END, "\n".join(types))
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

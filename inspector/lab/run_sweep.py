"""Edit one thing after the other (each head, layer, token or edge) and measure what each does to the next token.

All variants of a prompt run as one growing batch where the model allows that, some rows at a time; those of the largest
effects are then run one by one too, and the difference stands in the report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, overload

from inspector.errors import InspectorError
from inspector.lab.attribution_patching import estimates
from inspector.lab.cells import Over, SweptKind, cells_of, whole_edit
from inspector.lab.edit_arguments import Numbers, Values, numbers
from inspector.lab.effects import Readout, readout_of
from inspector.lab.prompts import Prompt, Prompts, Several, prompt_pairs
from inspector.lab.sweep_report import SweepReport, SweepRow
from inspector.lab.sweeps_report import SweepsReport
from inspector.lab.variants import Variants
from inspector.model.edited_runs import EditedRuns
from inspector.model.model import Model, refuse_no_model
from inspector.text import Progress, no_progress

CHECKED = 2  # variants that are run one by one as well
OnRows = Callable[[Sequence[SweepRow]], None]


@overload
def sweep(model: Model, prompt: Prompt, **options: Any) -> SweepReport: ...


@overload
def sweep(model: Model, prompt: Several, **options: Any) -> SweepsReport: ...


def sweep(  # type: ignore[misc]  # the options are spelt out below, once
    model: Model,
    prompt: Prompts,
    *,
    kind: SweptKind = "zero",
    over: Over = "heads",
    source: Values | Sequence[Values] | None = None,
    layers: Numbers = None,
    query: int | None = -1,
    token: str | int | None = None,
    against: str | int | None = None,
    progress: Progress = no_progress,
    on_rows: OnRows | None = None,
) -> SweepReport | SweepsReport:
    """Edit one thing after the other, and measure what each does to the next token.

    Args:
        model: what inspector.load returns.
        prompt: a text or token ids; or a list of texts or of lists of ids; or a list of pairs of these, where a patch
            takes its values from the second of each.
        kind: "zero", "mean" or "patch" (head outputs), "cut" or "drop" (edges before and after the softmax).
        over: "heads" or "layers" of head outputs; "tokens" that nobody after them may look at, or whose head outputs
            are patched; "edges" from one query token to another. Several prompts must be of equal length for the last
            two.
        source: where a patch or a mean takes its values from, as in `patch` and `mean`.
        layers: the layers that are swept, or in which tokens and edges are cut; None: all.
        query: of edges, the one query token that they lead from (negative: from the end); None: every.
        token: the next token that is looked at, a text that is one token or an id; None: the most probable one.
        against: the foil whose logit is subtracted, likewise; None: the mean of all logits.
        progress: called as progress(message, fraction) after each part; what it raises ends the sweep.
        on_rows: called with all rows so far of a prompt after each part, for those who show partial results.

    Returns:
        The report: `.table` has a row for each head, layer, token or edge, the largest effects first. Of a list, rows
        are means over its prompts with their intervals, and `.sweeps` has each prompt's own report.

    Raises:
        InspectorError: the sweep cannot be made in this model or of this prompt.
    """
    refuse_no_model(model, "sweep")
    asked: dict[str, Any] = {
        "kind": kind, "over": over, "layers": layers, "query": query, "token": token, "against": against,
        "on_rows": on_rows,
    }  # fmt: skip
    several = prompt_pairs(prompt)
    if several is None:
        return _sweep(model, prompt, source=source, progress=progress, **asked)  # type: ignore[arg-type]
    if any(other is not None for _, other in several) and (kind != "patch" or source is not None):
        raise InspectorError(
            "The second prompts of pairs lend values to a patch without a source: give the first prompts alone, or a "
            "patch without a source."
        )
    sources: list[Values | Sequence[Values] | None] = [source for _ in several]
    if kind == "patch" and source is None:
        sources = [None if other is None else model.tokenize(other).ids for _, other in several]
    _refuse_unequal([model.tokenize(one).ids for one, _ in several], over)
    found = []
    for number, ((one, _), its) in enumerate(zip(several, sources, strict=True)):

        def step(message: str, fraction: float | None, number: int = number) -> None:
            done = None if fraction is None else (number + fraction) / len(several)
            progress(f"prompt {number + 1} of {len(several)}: {message}", done)

        found.append(_sweep(model, one, source=its, progress=step, **asked))
    return SweepsReport(tuple(found))


def _refuse_unequal(prompts: Sequence[Sequence[int]], over: Over) -> None:
    """Refuse tokens of prompts of other lengths: none of one prompt stands for that of another."""
    lengths = sorted({len(ids) for ids in prompts})
    if over in ("tokens", "edges") and len(lengths) > 1:
        raise InspectorError(
            f"These prompts have {' and '.join(map(str, lengths))} tokens, and a mean over them is of tokens at the "
            "same places: give prompts of equal length, or sweep over heads or layers."
        )


def _sweep(
    model: Model,
    prompt: Prompt,
    *,
    kind: SweptKind,
    over: Over,
    source: Values | Sequence[Values] | None,
    layers: Numbers,
    query: int | None,
    token: str | int | None,
    against: str | int | None,
    progress: Progress,
    on_rows: OnRows | None,
) -> SweepReport:
    """Sweep over one prompt."""
    tokens = model.tokenize(prompt)
    n = len(tokens)
    if query is not None and not -n <= query < n:
        raise InspectorError(f"Query token {query} does not exist: this prompt has tokens 0 to {n - 1}.")
    runs = model.edited_runs(replace(whole_edit(kind, source, n), layers=numbers(layers)), n=n)
    cells = cells_of(runs.edits[0], over, model, n, query=None if query is None else query % n)
    if not cells and over == "edges" and query is not None and n > 1:
        raise InspectorError(
            f"Query token {query} is the first: no edge leads from it. Give a later one, 1 to {n - 1}."
        )
    if not cells:
        raise InspectorError(f"There are no {over} to sweep in a prompt of {n} tokens: give a longer one.")
    variants = Variants(model, tokens.ids, runs, [cell.edit for cell in cells])
    readout = readout_of(token, against, variants.base, model)

    def rows_of(measured: Sequence[tuple[float, float, int]]) -> list[SweepRow]:
        return [SweepRow.of(cell, *numbers) for cell, numbers in zip(cells, measured, strict=False)]

    def part(done: int) -> None:
        progress(f"{done} of {len(cells)} {over}", done / len(cells))
        if on_rows is not None:
            on_rows(rows_of(variants.measured))

    agreement = variants.measure(readout, on_part=part, check=CHECKED)
    control = variants.control()
    guessed, why = None, ""
    if over in ("heads", "layers"):
        try:
            guessed = tuple(estimates(model, tokens.ids, cells, runs.values(0), readout))
        except InspectorError as refused:  # the measured rows are worth more than a guess beside them
            why = f"Attribution patching could not be run beside them: {refused}"
    return SweepReport(
        model=model.name,
        note=model.source.note,
        prompt=prompt if isinstance(prompt, str) else None,
        tokens=tokens,
        edited=kind,
        over=over,
        readout=readout,
        labels=tuple(model.tokenize([one]).labels[0] for one in (readout.token, readout.against) if one is not None),
        before=float(readout.value(variants.base.double())),
        source_value=_source_value(model, runs, readout) if kind == "patch" else None,
        rows=tuple(rows_of(variants.measured)),
        estimates=guessed,
        way=variants.way,
        agreement=agreement,
        control=control,
        no_estimates=why,
    )


def _source_value(model: Model, runs: EditedRuns, readout: Readout) -> float | None:
    """Return the readout of the prompt that a patch takes its values from; None where they are a saved trace's."""
    source = runs.edits[0].source
    if source is None or not source.prompts:
        return None
    return float(readout.value(model.logits(source.prompts[0])[-1].double()))

"""Run prompts with and without edits of attention, each beside its control, and say what followed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inspector.capture.editor import Editor
from inspector.capture.edits import Edit
from inspector.capture.listener import Listener
from inspector.errors import InspectorError
from inspector.lab.effects import Effect, Readout, effect_of, readout_of
from inspector.lab.laws import laws_of
from inspector.lab.prompts import Prompts, prompt_pairs, with_source
from inspector.lab.report import Control, ExperimentReport, PromptResult
from inspector.model.edit_checks import listed_edits
from inspector.model.edited_runs import EditedRuns
from inspector.model.model import Model, refuse_no_model
from inspector.model.outcome import no_head
from inspector.text import Progress, no_progress
from inspector.trace.tokens import Tokens

ALL_LOGITS = 1024  # tokens up to which the logits of all of them are computed, and with them losses
RANDOM_HEADS = 5  # draws of other heads, where several prompts are given
SEED = 0


def experiment(
    model: Model,
    prompt: Prompts,
    edits: Iterable[Edit] | Edit,
    *,
    token: str | int | None = None,
    against: str | int | None = None,
    random_heads: int | None = None,
    progress: Progress = no_progress,
) -> ExperimentReport:
    """Run a prompt with and without edits, and the control beside it: the same edits such that nothing may change.

    Args:
        model: what inspector.load returns.
        prompt: a text or token ids; or a list of texts or of lists of ids; or a list of pairs of these, where patches
            made with no source take their values from the second of each.
        edits: what this module's functions return.
        token: the next token that is looked at, a text that is one token or an id; None: the most probable one.
        against: the foil whose logit is subtracted, likewise; None: the mean of all logits.
        random_heads: how often the same is done to other heads drawn at random, for comparison; None: 5 times where
            several prompts are given and heads are edited, else not.
        progress: called with what is done before each run; what it raises ends the experiment.

    Returns:
        The report: `effect.ok`, `.verdict`, `.table`, `.control`, `.laws`, `.next_tokens`, `.to_json()`.

    Raises:
        InspectorError: the model predicts no next token, an edit cannot be made in it, or a prompt, token or source
            cannot be taken.
    """
    refuse_no_model(model, "experiment")
    listed = listed_edits(edits)
    if not listed:
        raise InspectorError("An experiment without edits changes nothing: give one, such as lab.zero(layer, head).")
    pairs: list[tuple[Any, Any]] = prompt_pairs(prompt) or [(prompt, None)]
    draws = random_heads if random_heads is not None else RANDOM_HEADS if len(pairs) > 1 else 0
    results = []
    for number, (one, other) in enumerate(pairs):
        tokens = model.tokenize(one)
        mine = [with_source(edit, other, model) for edit in listed]
        text = one if isinstance(one, str) else None

        def step(done: int, number: int = number) -> None:
            progress(f"prompt {number + 1} of {len(pairs)}", (number + done / (3 + draws)) / len(pairs))

        options: dict[str, Any] = {"token": token, "against": against, "draws": draws, "seed": SEED + number}
        results.append(_run(model, tokens, text, mine, step=step, **options))
    return ExperimentReport(
        model=model.name, note=model.source.note, provenance=model.provenance, results=tuple(results)
    )


def _run(
    model: Model,
    tokens: Tokens,
    text: str | None,
    edits: Sequence[Edit],
    *,
    token: str | int | None,
    against: str | int | None,
    draws: int,
    seed: int,
    step: Callable[[int], None],
) -> PromptResult:
    """Run one prompt; `step` is told how many runs are done, and what it raises ends the experiment."""
    step(0)
    runs = model.edited_runs(edits, n=len(tokens))
    baseline = runs.baseline()
    before = logits_under(model, tokens.ids, baseline)
    readout = readout_of(token, against, before[-1], model)
    step(1)
    editor = runs.editor(laws=True)
    after = logits_under(model, tokens.ids, editor)
    step(2)
    still = logits_under(model, tokens.ids, runs.control(baseline))
    equal = torch.equal(still, before)  # false also where there are NaN
    control = Control(
        differing=0 if equal else int((still != before).sum()),
        elements=before.numel(),
        max_abs=0.0 if equal else float((still.double() - before.double()).abs().max()),
    )
    drawn = []
    for draw in range(draws):
        step(3 + draw)
        drawn.append(_random_effect(model, tokens, runs, readout, before, np.random.default_rng((seed, draw))))
    return PromptResult(
        prompt=text,
        tokens=tokens,
        edits=runs.edits,
        readout=readout,
        labels=tuple(model.tokenize([one]).labels[0] for one in (readout.token, readout.against) if one is not None),
        effect=effect_of(before, after, readout, ids=tokens.ids, model=model),
        differing=int((after != before).sum()),
        control=control,
        laws=laws_of(runs.edits, editor.remainders, model.dtype),
        random=tuple(one for one in drawn if one is not None),
    )


def logits_under(model: Model, ids: Sequence[int], editor: Editor) -> Tensor:
    """Return the logits of a run under an Editor.

    Args:
        model: the model.
        ids: n token ids.
        editor: what is changed; each run needs one of its own.

    Returns:
        [n, vocabulary], or [1, vocabulary] after the last token alone for more than ALL_LOGITS tokens.

    Raises:
        InspectorError: the model has no language-model head.
    """
    if len(ids) <= ALL_LOGITS:
        return model.passes.logits(ids, editor=editor)
    listener = Listener()
    listener.editor = editor
    found = model.passes.run(ids, listener).logits
    if found is None:
        raise no_head(model.name)
    return found


def _random_effect(
    model: Model, tokens: Tokens, runs: EditedRuns, readout: Readout, before: Tensor, draw: np.random.Generator
) -> Effect | None:
    """Return the effect of the same edits made to other heads; None where edits name no heads or spare none."""
    moved = [_elsewhere(edit, model, draw) for edit in runs.edits]
    known = [edit for edit in moved if edit is not None]
    if len(known) < len(moved):
        return None
    others = model.edited_runs(known, n=len(tokens))
    base = before if others.explicit == runs.explicit else logits_under(model, tokens.ids, others.baseline())
    after = logits_under(model, tokens.ids, others.editor())
    return effect_of(base[-1:], after[-1:], readout, ids=tokens.ids, model=model)  # the last token's alone is read


def _elsewhere(edit: Edit, model: Model, draw: np.random.Generator) -> Edit | None:
    """Return the same edit of as many other heads in as many layers; None where it is of whole layers or groups."""
    of_groups = edit.kind == "zero_value" or edit.what in ("key", "value")
    if edit.heads is None or of_groups:
        return None
    mine = range(len(model.layers)) if edit.layers is None else edit.layers
    count = len(edit.heads)
    able = [info.index for info in model.layers if info.heads >= count + (count if info.index in mine else 0)]
    if len(able) < len(mine):
        return None
    layers = tuple(sorted(draw.choice(able, len(mine), replace=False).tolist()))
    taken = edit.heads if set(layers) & set(mine) else ()
    free = [head for head in range(min(model.layers[layer].heads for layer in layers)) if head not in taken]
    if len(free) < count:
        return None
    return replace(edit, layers=layers, heads=tuple(sorted(draw.choice(free, count, replace=False).tolist())))

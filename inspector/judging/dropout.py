"""Recognise dropout that was left on: in weights by its pattern, anywhere by another answer when asked again.

Dropout sets some numbers to 0 and divides all others by what is kept, so that weights show it at once. From an output
alone nothing can be reckoned back; but the same question then has two answers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from inspector.errors import InspectorError
from inspector.judging.answers import Handed
from inspector.judging.causes import Explained
from inspector.judging.dumps import Dumps
from inspector.judging.layer_at import LayerAt
from inspector.judging.layouts import read_layout
from inspector.judging.report_sentences import name_of

SEEN = 1e-6  # a number that is due and larger than this cannot come out as 0
STEADY = 1e-3  # how far the factor on all others may vary


def dropout_in(at: LayerAt) -> Explained:
    """Say whether weights, context or output of a layer are the right ones with some set to 0, the others enlarged.

    Args:
        at: a layer that differs.

    Returns:
        The cause; none where the pattern is another.
    """
    for stage in ("weights", "context", "output"):
        found = at.usable.get(stage)
        if found is None or at.layer is None:
            continue
        due = at.chain.stage(stage, at.chain.right)
        said = _pattern(found, due)
        if said:
            step = {"weights": "softmax", "context": "weighted sum", "output": "output projection"}[stage]
            share, factor, count, of = said
            cause = (
                f"your attention has dropout of {share:.3g} left on (layer {at.index}: {count} of {of} numbers of your "
                f"{name_of(stage)} are 0, the others the right ones times {factor:.4g})"
            )
            return Explained((cause,), step, {"dropout": share})
    return Explained()


def _pattern(found: Tensor, due: Tensor) -> tuple[float, float, int, int] | None:
    """Return the share that is dropped, the factor on the others, and how many of how many are 0."""
    seen = due.abs() > SEEN * due.abs().max()
    gone = seen & (found == 0)
    count, of = int(gone.sum()), int(seen.sum())
    if not 0 < count < of:
        return None
    ratios = (found / due)[seen & ~gone]
    factor = float(ratios.median())
    if factor <= 1 + STEADY or bool(((ratios - factor).abs() > STEADY * factor).any()):
        return None
    return 1 - 1 / factor, factor, count, of


def another_answer(handed: Handed, at: LayerAt) -> Explained:
    """Ask for a layer once more, and say whether the same question has another answer.

    Args:
        handed: somebody's attention.
        at: a layer that differs.

    Returns:
        The cause; none where the answer is the same, or cannot be had.
    """
    if isinstance(handed, Dumps):
        return Explained()
    if callable(getattr(handed, "begin", None)):
        handed.begin()  # type: ignore[attr-defined]
    try:
        again = handed.answer(at.index, at.x.clone())
    except InspectorError:
        return Explained()
    for stage, before in at.found.items():
        if stage not in again:
            continue
        read, _ = read_layout(stage, again[stage], getattr(at.reference, stage), at.reference.query.shape[0])
        if read.shape != before.shape:
            continue
        far = float((read.to(before.dtype) - before).abs().nan_to_num(0.0).max())
        if far > 1e-3 * float(torch.nan_to_num(before).abs().max()):
            cause = (
                f"your attention answers otherwise when asked again with the same input (layer {at.index}: your "
                f"{name_of(stage)} by {far:.3g}): is dropout left on, or is something kept from call to call?"
            )
            return Explained((cause,), None)
    return Explained()

"""Show what the distance of a word's vectors in two texts does not come from: position, and rounding.

Each control runs the model once or twice more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import torch

from inspector.errors import InspectorError
from inspector.learn.contexts import along, residuals
from inspector.model.model import model_of

if TYPE_CHECKING:
    from inspector.model.model import Model
    from inspector.trace.trace import Trace


def moved(trace: Trace, at: int, by: int) -> pd.DataFrame:
    """Compare a token's residual with the same when the whole prompt stands some positions later: position alone.

    Args:
        trace: the prompt's trace.
        at: the token's position.
        by: how many positions later.

    Returns:
        A row per layer, as `contexts.along`.

    Raises:
        InspectorError: the trace has no model.
    """
    model = _model(trace)
    again = model.passes.residuals(trace.tokens.ids, first=by)
    return along(lambda i: trace.residual(i)[at], lambda i: again[i][at], len(trace.layers))


def rounding(trace: Trace) -> float:
    """Return the relative distance that rounding alone may explain: some units in the last place of the model's dtype.

    Thirty layers of the packaged model in float32 add up to about 6 of them.

    Args:
        trace: the prompt's trace.

    Returns:
        A relative distance, as `between` has it.
    """
    return 32 * torch.finfo(trace.residual(0).dtype).eps


def repeated(trace: Trace, at: int) -> pd.DataFrame:
    """Compare a token's residual with that of a second run of the same prompt, as the control.

    All of it must be zero, or a distance between two prompts says nothing.

    Args:
        trace: the prompt's trace.
        at: the token's position.

    Returns:
        A row per layer, as `contexts.along`.

    Raises:
        InspectorError: the trace has no model.
    """
    again = _model(trace).trace(list(trace.tokens.ids), keep=("residual",))
    return residuals(trace, at, again, at)


def cut_to(trace: Trace, at: int, position: int) -> list[int]:
    """Cut a prompt at its beginning so that one of its tokens stands at another position.

    Tokens that the tokenizer puts in front of every text stay.

    Args:
        trace: the prompt's trace.
        at: the token's position.
        position: where it is to stand.

    Returns:
        Token ids up to this token.

    Raises:
        InspectorError: there are too few tokens before it, or the trace has no model.
    """
    special = set(getattr(_model(trace).tokenizer, "all_special_ids", ()))
    ids = list(trace.tokens.ids[: at + 1])
    front = next((i for i, token in enumerate(ids) if token not in special), 0)
    excess = at - position
    if not 0 <= excess <= at - front:
        raise InspectorError(f"Token {at} cannot be brought to position {position} by cutting tokens before it.")
    return ids[:front] + ids[front + excess :]


def at_one_position(first: Trace, at: int, second: Trace, other: int) -> tuple[pd.DataFrame, int, tuple[str, str]]:
    """Compare the word's residuals when both prompts are cut so that it stands at the same position.

    What is cut is context too: one difference goes, another comes.

    Args:
        first: a trace.
        at: position of its token.
        second: another trace of the same model.
        other: position of that one's token.

    Returns:
        A row per layer, as `contexts.along`; that position; and the two texts that were run.

    Raises:
        InspectorError: as `cut_to`.
    """
    position = min(at, other)
    runs = []
    for trace, place in ((first, at), (second, other)):
        runs.append(_model(trace).trace(cut_to(trace, place, position), keep=("residual",)))
    texts = tuple("".join(run.tokens.texts) for run in runs)
    return residuals(runs[0], position, runs[1], position), position, (texts[0], texts[1])


def _model(trace: Trace) -> Model:
    """Return the model that runs other texts."""
    return model_of(trace, "running another text")

"""Read what an experiment or a sweep is given: one prompt, several, or pairs of which the second lends values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from inspector.capture.edits import Edit, Source
from inspector.errors import InspectorError
from inspector.model.model import Model

Prompt = str | Sequence[int] | Tensor
Several = list[str] | list[list[int]] | list[tuple[str, str]] | list[tuple[Sequence[int], Sequence[int]]]
Prompts = Prompt | Several


def prompt_pairs(prompt: Any) -> list[tuple[Prompt, Prompt | None]] | None:
    """Return several prompts as pairs: each with the prompt that patches take values from, or None.

    Args:
        prompt: as `experiment` takes it.

    Returns:
        At least one pair; None where it is one prompt and no list of some.
    """
    if not isinstance(prompt, list) or not prompt:
        return None
    if all(isinstance(one, tuple) and len(one) == 2 and all(map(_is_prompt, one)) for one in prompt):
        return [(one[0], one[1]) for one in prompt]
    if all(map(_is_prompt, prompt)):
        return [(one, None) for one in prompt]
    return None


def _is_prompt(given: object) -> bool:
    """Whether something has tokens of its own: a text, or ids; a number of 0 axes has none."""
    return isinstance(given, str | Sequence) or (isinstance(given, Tensor | np.ndarray) and given.ndim > 0)


def with_source(edit: Edit, other: Prompt | None, model: Model) -> Edit:
    """Return an edit whose values come from a pair's second prompt, where it names no source of its own.

    Args:
        edit: the edit.
        other: the second prompt; None: there is none.
        model: the model, for its tokens.

    Returns:
        The edit with a source, if it needs one.

    Raises:
        InspectorError: it needs one, and there is no second prompt.
    """
    if edit.source is None or edit.source.trace or edit.source.means or edit.source.prompts:
        return edit
    if other is None:
        raise InspectorError(
            "A patch without a source takes its values from the second prompt of a pair: give pairs of prompts, or a "
            "source (lab.patch(trace, layer, head))."
        )
    return replace(edit, source=Source(prompts=(model.tokenize(other).ids,)))

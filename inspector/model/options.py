"""What `Model.trace` and `Model.cost` can be asked for, checked: each option as it will be used, or one sentence."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import torch

from inspector.errors import InspectorError
from inspector.model.cost import HALVES
from inspector.model.forward import KEEP


def dtype_name(dtype: str | torch.dtype) -> str:
    """Return a dtype as it is shown and stored everywhere: "float32", never "torch.float32"."""
    return str(dtype).removeprefix("torch.")


def one_prompt(prompt: Any) -> Any:
    """Take the batch dimension off one prompt's ids, [1, n], as tokenizers return them; leave anything else alone."""
    # Of tensors and arrays, not of tables.
    shape: tuple[int, ...] = () if hasattr(prompt, "keys") else getattr(prompt, "shape", ())
    return prompt[0] if len(shape) == 2 and shape[0] == 1 else prompt


def known_keep(keep: Iterable[str]) -> frozenset[str]:
    """Return the set of what to store; a lone string is one name. Raises InspectorError where a name is not known."""
    choice = f"choose from {', '.join(sorted(KEEP))}."
    try:
        names = frozenset({keep} if isinstance(keep, str) else keep)
    except TypeError:
        raise InspectorError(f"keep={keep!r:.60} is no list of names; {choice}") from None
    if unknown := names - KEEP:
        raise InspectorError(f"keep={sorted(unknown, key=str)} is not known; {choice}")
    return names


def chosen_layers(layers: Iterable[int] | None, *, count: int, name: str) -> frozenset[int] | None:
    """Return the numbers of the layers to store (None: all). Raises InspectorError where one does not exist."""
    if layers is None:
        return None
    if isinstance(layers, int):
        raise InspectorError(f"layers={layers} is one number: name the layers in a list, such as layers=[{layers}].")
    try:
        if isinstance(layers, str):
            raise TypeError
        chosen = frozenset(operator.index(number) for number in layers)
    except TypeError:
        raise InspectorError(
            f"layers={layers!r:.60} is no list of layer numbers: {name} has layers 0 to {count - 1}; "
            "name at least one, such as layers=[0]."
        ) from None
    if not chosen or any(not 0 <= number < count for number in chosen):
        named = f"layers={sorted(chosen)}"
        raise InspectorError(f"{named} cannot be stored: {name} has layers 0 to {count - 1}; name at least one.")
    return chosen


def stored_precision(precision: str | torch.dtype | None, *, dtype: torch.dtype, name: str) -> str | None:
    """Return the dtype in which vectors are stored, where it is not the model's own (None: it is).

    Raises InspectorError for any but the two of half precision, and where the model itself runs in half precision.
    """
    if precision is None or dtype_name(precision) == dtype_name(dtype):
        return None
    asked = dtype_name(precision)
    if asked not in HALVES:
        raise InspectorError(
            f'precision="{asked}" is not known; choose {" or ".join(HALVES)}, or leave it out for the model\'s own.'
        )
    if dtype.itemsize <= 2:
        raise InspectorError(
            f"{name} runs in {dtype_name(dtype)}, which is half precision already: leave precision out."
        )
    return asked


def token_count(generate: int) -> int:
    """Return how many tokens to generate; raises InspectorError where it is no whole number from 0 on."""
    if isinstance(generate, bool) or not isinstance(generate, int) or generate < 0:
        raise InspectorError(f"generate={generate!r:.40} is no number of tokens: give a whole number from 0 on.")
    return generate

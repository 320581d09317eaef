"""Call somebody's function so that whatever it raises becomes one sentence of ours."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from inspector.errors import InspectorError


def guarded(
    function: Callable[..., Any],
    layer: int | None,
    x: Tensor,
    places: Sequence[Any],
    arguments: Mapping[str, Any],
    *,
    gradients: bool = False,
) -> Any:
    """Call somebody's function; what it raises becomes one sentence with layer, shape and dtype.

    Args:
        function: theirs.
        layer: which layer it is called for; None: for the whole model.
        x: what it is given.
        places: the arguments by place.
        arguments: and by name.
        gradients: with autograd's graph, which is left out otherwise.

    Returns:
        What it returns.

    Raises:
        InspectorError: it raised an exception.
    """
    where = "" if layer is None else f" at layer {layer}"
    try:
        with torch.set_grad_enabled(gradients):
            found = function(*places, **arguments)
    except InspectorError:
        raise
    except (Exception, SystemExit) as error:
        message = " ".join(_words(error).split())[:200]
        raise InspectorError(
            f"Your attention raised {type(error).__name__}{where}, given x {list(x.shape)} of {str(x.dtype)[6:]}: "
            f"{message or 'no message'}. Mend that first; it was called with a copy of the model's own numbers."
        ) from error
    if inspect.iscoroutine(found):
        found.close()
        raise InspectorError(f"Your attention is async{where}: hand over a function that returns its numbers at once.")
    return found


def _words(error: BaseException) -> str:
    """Return an error's message; none where somebody's own error has none to give."""
    try:
        return str(error)
    except Exception:
        return ""

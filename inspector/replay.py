"""One recorded attention call goes in; the library's own attention module is run again on its captured input, and every
stage of its own eager computation comes out: the reference of verification, and the vectors before rotation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from inspector.capture import Call, Recorder, own_dicts, recording
from inspector.errors import InspectorError
from inspector.masks import additive_mask


def replay(call: Call, *, rotate: bool = True) -> Call:
    """Run the library's own attention module again on its captured input, with its own eager function.

    Gives every stage: q, k, v, weights, context and output. With `rotate=False` the module is handed cos 1 and sin 0
    as position embeddings, which leaves its queries and keys as they are before rotation, without code per family.
    """
    if call.input is None:
        raise ValueError('replay needs the attention input: capture with keep=("input",)')
    arguments = own_dicts(call.arguments)
    kind = type(call.module).__name__
    if not rotate:
        embeddings = arguments.get("position_embeddings")
        if embeddings is None and any("rotary" in name for name, _ in call.module.named_modules()):
            raise InspectorError(f"{kind} rotates inside itself, so its vectors before rotation are not shown yet.")
        if embeddings is not None:
            arguments["position_embeddings"] = _no_rotation(embeddings)
    recorder = Recorder(keep=frozenset({"output"}), eager=True, stages=True)
    mask = additive_mask(call.mask, call.query, call.key)
    try:
        with torch.inference_mode(), recording(recorder):
            call.module(hidden_states=call.input[None], attention_mask=mask, **arguments)
    except (TypeError, ValueError, RuntimeError, LookupError, AttributeError) as error:
        raise InspectorError(f"{kind} could not be run again by itself ({error}); its stages are not shown.") from error
    return recorder.calls[-1]


def _no_rotation(embeddings: Any) -> Any:
    """Position embeddings that turn nothing: cos 1 and sin 0, or 1 as a complex number."""
    if isinstance(embeddings, Tensor) and embeddings.is_complex():
        return torch.ones_like(embeddings)
    if isinstance(embeddings, tuple) and len(embeddings) == 2:
        return torch.ones_like(embeddings[0]), torch.zeros_like(embeddings[1])
    raise InspectorError(
        f"Position embeddings of kind {type(embeddings).__name__} are not understood yet, so vectors before rotation "
        "are not shown."
    )

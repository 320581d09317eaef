"""Run the library's own attention module again on its captured input.

That gives every stage of its own eager computation, the reference of verification, and the vectors before rotation.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from inspector.capture.attention_inputs import AttentionInputs
from inspector.capture.attention_interface import recording
from inspector.capture.eager import StageRecorder
from inspector.capture.eval_mode import evaluating
from inspector.capture.recorder import Recorder
from inspector.capture.records import Call
from inspector.capture.storage import Storage
from inspector.errors import InspectorError


def run_again(call: Call, *, rotate: bool = True) -> Call:
    """Run the library's own attention module again on its captured input, with its own eager function.

    Without rotation, whatever tells the module how far to rotate says position 0 for every token, which rotates
    nothing, and that it does so is proven each time.

    Args:
        call: a call whose module's arguments were stored.
        rotate: False: give query and key as they are before rotation, and no other stage.

    Returns:
        The call made again, with every stage: query, key, value, weights, context and output.

    Raises:
        InspectorError: the module cannot be run again, or goes on rotating.
        ValueError: the module's arguments were not stored.
    """
    if call.arguments is None:
        raise ValueError('run_again needs the attention input: capture with keep=("input",)')
    if not rotate:
        return _unrotated(call)
    recorder = StageRecorder(Storage(keep=frozenset({"output"})))
    return _run(call, call.module, call.arguments.restored(), recorder)


def run_as_configured(call: Call) -> Call:
    """Run a module again on its captured input, attending by the function that its config names.

    Args:
        call: a call whose module's arguments were stored.

    Returns:
        The call made again: context and output, and weights where the function returned any.

    Raises:
        InspectorError: the module cannot be run again.
    """
    assert call.arguments is not None  # noqa: S101  (who asks has fetched them)
    recorder = _ConfiguredStages(Storage(keep=frozenset({"output"})))
    return _run(call, call.module, call.arguments.restored(), recorder)


def vectors_again(call: Call) -> Call:
    """Run a module again on its captured input until it has its queries, keys and values, as in the forward pass.

    Args:
        call: a call whose module's arguments were stored.

    Returns:
        The call made again, with query, key and value.

    Raises:
        InspectorError: the module cannot be run again.
    """
    assert call.arguments is not None  # noqa: S101  (who asks has fetched them)
    return _run(call, call.module, call.arguments.restored(), _UntilCall(call.ordinal))


def rotates(call: Call) -> bool | None:
    """Measure whether positions rotate this layer's queries: whether they are others without rotation.

    Args:
        call: a call whose module's arguments were stored.

    Returns:
        The answer; None where it cannot be told.
    """
    try:
        plain = run_again(call, rotate=False).query
    except InspectorError:
        return None
    room = 4 * torch.finfo(plain.dtype).eps * float(plain.abs().max())
    return float((plain.float() - call.query.float()).abs().max()) > room


class _ConfiguredStages(StageRecorder):
    """Record every stage that the configured function shows."""

    def compute(self, inputs: AttentionInputs) -> Any:
        """Compute the attention with the configured function."""
        return Recorder.compute(self, inputs)


class _Enough(Exception):
    """Raised out of a module that is run again, once the call is there that it was run for."""


class _UntilCall(Recorder):
    """Record a module's calls until it makes this one of them, and end its run there."""

    def __init__(self, ordinal: int) -> None:
        super().__init__()
        self._ordinal = ordinal

    def add(self, call: Call, calls: list[Call]) -> None:
        """Put a call in its place; raise _Enough where it is the last one wanted."""
        super().add(call, calls)
        if call.ordinal == self._ordinal:
            raise _Enough


def _unrotated(call: Call) -> Call:
    """Return a call of the same module with query and key before rotation."""
    assert call.arguments is not None  # noqa: S101  (run_again has said so, in words)
    kind, shape = type(call.module).__name__, call.arguments.hidden_states.shape
    n = shape[-2]
    module = _without_rotation(call.module, n)
    for also_ids in (False, True):
        # The proof: of one token at every place, a module that does not rotate makes vectors of one direction. (Only of
        # one direction: some make queries longer with their position.)
        proof = _one_token(_still(call.arguments.restored(), n, also_ids=also_ids), shape)
        found = _run(call, module, proof, _UntilCall(call.ordinal))
        shared = call.key_of is not None  # then its key was made, and rotated, elsewhere
        if _one_direction(found.query) and (shared or _one_direction(found.key)):
            plain = _still(call.arguments.restored(), n, also_ids=also_ids)
            result = _run(call, module, plain, _UntilCall(call.ordinal))
            if call.key_of is not None:
                result.key = _unrotated(call.key_of).key
            return result
    raise InspectorError(
        f"{kind}'s rotation cannot be switched off from outside, so its vectors before it are not shown."
    )


def _run(call: Call, module: nn.Module, arguments: Mapping[str, Any], recorder: Recorder) -> Call:
    """Return the call that `module` makes in the place of `call` when it is run by itself."""
    kind = type(call.module).__name__
    try:
        with torch.inference_mode(), recording(recorder), evaluating(module):
            module(**arguments)
    except _Enough:
        pass
    except (TypeError, ValueError, RuntimeError, LookupError, AttributeError) as error:
        raise InspectorError(f"{kind} could not be run again by itself ({error}); its stages are not shown.") from error
    if len(recorder.calls) <= call.ordinal:
        raise InspectorError(f"{kind} did not attend when it was run again by itself; its stages are not shown.")
    return recorder.calls[call.ordinal]


def _one_direction(vectors: Tensor) -> bool:
    """Tell whether the last half of these [h, t, d] point to one direction in each head.

    True for a single token: it has position 0, where nothing is rotated.
    """
    n = vectors.shape[1]
    some = vectors[:, max(0, min(n // 2, n - 2)) :].float()
    some = some / some.norm(dim=-1, keepdim=True).clamp_min(1e-20)
    room = max(1e-4, 8 * torch.finfo(vectors.dtype).eps)
    return float((some - some[:, -1:]).norm(dim=-1).max()) <= room


# -- what tells a module how far to rotate ----------------------------------------------------------------------------


def _still(arguments: Mapping[str, Any], n: int, *, also_ids: bool) -> dict[str, Any]:
    """Return the arguments with position 0 for every token: position embeddings, and with `also_ids` the ids."""
    changed = dict(arguments)
    for name, value in arguments.items():
        if _tells_positions(name):
            changed[name] = _first_position(value, n)
        elif also_ids and name == "position_ids" and isinstance(value, Tensor):
            changed[name] = torch.zeros_like(value)
    return changed


def _one_token(arguments: Mapping[str, Any], shape: torch.Size) -> dict[str, Any]:
    """Return the arguments with the last token's vector for every token, in all that have the input's shape."""
    return {
        name: x[:, -1:].expand_as(x).contiguous()
        if isinstance(x, Tensor) and x.shape == shape and not _tells_positions(name)
        else x
        for name, x in arguments.items()
    }


def _tells_positions(name: str) -> bool:
    return any(word in name for word in ("position_emb", "rotary", "sinusoidal", "freqs"))


def _first_position(value: Any, n: int) -> Any:
    """Return position embeddings that rotate nothing, whatever their form.

    They are cosines and sines, complex numbers, both in one tensor, or any of these by kind of layer: what position 0
    has stands at every position, without the factor that some models put on both.
    """
    if isinstance(value, dict):
        return {name: _first_position(item, n) for name, item in value.items()}
    if isinstance(value, tuple | list) and len(value) == 2 and all(isinstance(x, Tensor) for x in value):
        return tuple(_first_row(x, n) for x in value)
    if isinstance(value, tuple | list):
        return type(value)(_first_position(item, n) for item in value)
    return _first_row(value, n) if isinstance(value, Tensor) else value


def _first_row(x: Tensor, n: int) -> Tensor:
    """Return cosines, sines or both [..., n, d] with position 0's row, ones and zeros, at every position."""
    if x.is_complex():
        return torch.ones_like(x)
    first = x[..., :1, :] if x.ndim >= 2 and x.shape[-2] == n else None
    values = [] if first is None else first.unique().tolist()
    if first is None or len({*values, 0.0}) > 2:  # zero and one other number, the factor
        raise InspectorError(
            "Its position embeddings are not understood, so its vectors before rotation are not shown."
        )
    return (first != 0).to(x.dtype).expand_as(x).contiguous()


def _without_rotation(module: nn.Module, n: int) -> nn.Module:
    """Return a twin of a module that makes its own position embeddings, with still ones; itself where it makes none.

    Others who run the module at this moment are not disturbed.
    """
    children = {name: _without_rotation(child, n) for name, child in module.named_children()}
    for name, child in module.named_children():
        if any("inv_freq" in buffer for buffer, _ in child.named_buffers(recurse=False)):
            children[name] = _Still(child, n)
    tables = {name: x[:1].expand_as(x) for name, x in module.named_buffers(recurse=False) if _is_table(x, n)}
    if not tables and all(children[name] is child for name, child in module.named_children()):
        return module
    twin = copy.copy(module)
    twin.__dict__["_modules"] = module._modules | children
    twin.__dict__["_buffers"] = module._buffers | tables
    return twin


def _is_table(x: Tensor, n: int) -> bool:
    """Tell a table of sines and cosines by position: its first row, of position 0, is made of zeros and ones."""
    if x.ndim != 2 or not x.is_floating_point() or x.shape[0] < n:
        return False
    return set(x[0].unique().tolist()) == {0.0, 1.0} != set(x[1:].unique().tolist())


class _Still(nn.Module):
    """Position embeddings that rotate nothing, in place of `inner`."""

    def __init__(self, inner: nn.Module, n: int) -> None:
        super().__init__()
        self.inner, self.n = inner, n

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return _first_position(self.inner(*args, **kwargs), self.n)

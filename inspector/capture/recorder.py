"""The seam: one forward pass of the library's model goes in, a record of each attention call comes out.

Nearly every decoder in transformers 5 asks `AttentionInterface.get_interface(name, its own eager function)` for the
function that attends, once per attention layer, and calls it with queries and keys already rotated. That one method
is wrapped, once per process. Without a recorder in this thread's context it returns what it always did, so the
model, its config and everybody else's calls stay untouched; with one, the answer is a function that notes q, k, v by
reference and then calls the same implementation. No n x n tensor is kept: a mask is kept as a rule.

What the function does not see (a layer's input and output, the residual) comes from hooks that are installed once
per model and do nothing without a recorder (modules.py). Modules that attend in their own code are watched from such
hooks (hooked.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from transformers.cache_utils import Cache

from inspector.capture.completeness import unexplained
from inspector.capture.masks import KeptMask, additive_mask, as_additive, read_mask
from inspector.capture.records import Call, Entered, OnLayer, each_item
from inspector.capture.torch_functions import Attended, Watch
from inspector.errors import InspectorError
from reimpl.attention import context_vectors
from reimpl.spec import MaskRule


class Enough(Exception):
    """Raised out of a module that is run again once the recorder has what it was after."""


@dataclass
class _Visit:
    """One run of an attention module, while it lasts."""

    hidden_states: Tensor
    entered: Entered | None
    calls: list[Call] = field(default_factory=list)


class Recorder:
    """Collects the attention calls of one forward pass in one thread.

    keep:     what to keep beyond q, k, v: any of "input", "output", "residual".
    eager:    attend with the module's own eager function instead of the configured one.
    stages:   with `eager`, also keep its weights and context (n x n: for one layer at a time).
    stop_at:  raise Enough once a module has made this one of its calls.
    layers:   numbers of the calls whose vectors are kept (None: all); of the others only what they are like.
    half:     keep q, k, v rounded to this dtype.
    vectors:  False: keep no q, k, v at all, only what `keep` says.
    on_layer: called with (calls recorded so far, total or 0) after each attention call; what it raises ends the pass.
    """

    def __init__(
        self,
        *,
        keep: frozenset[str] = frozenset(),
        record: bool = True,
        eager: bool = False,
        stages: bool = False,
        stop_at: int | None = None,
        layers: Collection[int] | None = None,
        half: torch.dtype | None = None,
        vectors: bool = True,
        on_layer: OnLayer | None = None,
        total: int = 0,
    ) -> None:
        self.keep, self.record, self.eager, self.stages, self.stop_at = keep, record, eager, stages, stop_at
        self.layers, self.half, self.vectors = layers, half, vectors
        self.on_layer, self.total = on_layer, total
        self.stopped = False  # on_layer raised something
        self._asked: list[Call] = []  # through the seam
        self._own: list[Call] = []  # seen in modules' own code
        self._visits: dict[int, _Visit] = {}
        self._residuals: dict[int, Tensor] = {}
        self._masks: dict[int, tuple[Tensor, KeptMask | Tensor]] = {}  # one mask serves many layers
        self._keys: dict[tuple[int, torch.Size], tuple[Call, StorageWeakRef]] = {}
        self._watched: list[nn.Module] = []
        self._watch: Watch | None = None

    @property
    def calls(self) -> list[Call]:
        """The attention calls so far. A model that asks the interface attends there: what else looks like attention in
        it (a mixture of earlier layers, pooling) is not of tokens to tokens."""
        return self._asked or self._own

    # -- the seam -----------------------------------------------------------------------------------------------

    def attend(
        self,
        configured: Callable[..., Any],
        own_eager: Callable[..., Any],
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Stands in for the attention function during one pass."""
        call = self._note(module, query, key, value, attention_mask, kwargs) if self.record else None
        if self.eager:
            mask = attention_mask
            if mask is None:
                mask = additive_mask(read_mask(module, query, key, None, kwargs)[0], query, key)
            result = own_eager(module, query, key, value, as_additive(mask, query), **kwargs)
            if call and self.stages:
                call.context = result[0][0].transpose(0, 1)
                call.weights = None if result[1] is None else _with_sinks_share(result[1][0], call)
        else:
            result = configured(module, query, key, value, attention_mask, **kwargs)
        if call:
            call.unexplained = unexplained(call, result[0][0, -1], kwargs)
            self._put_away(call)
        self._done()
        return result

    def _note(
        self, module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, kwargs: Mapping[str, Any]
    ) -> Call:
        scale = kwargs.get("scaling")
        rule, bias = read_mask(module, q, k, mask, kwargs)
        given = kwargs.get("position_bias")
        if given is not None:
            bias = given[0] if bias is None else given[0] + bias
        sinks = kwargs.get("s_aux") if kwargs.get("s_aux") is not None else kwargs.get("sinks")
        call = Call(
            module=module,
            query=q[0],
            key=k[0],
            value=v[0],
            scale=float(scale) if scale is not None else q.shape[-1] ** -0.5,
            mask=rule,
            softcap=kwargs.get("softcap"),
            sinks=sinks if sinks is None or sinks.ndim == 1 else sinks.reshape(q.shape[1], -1),
            window=kwargs.get("sliding_window"),
            bias=bias,
        )
        return self._keep(call, self._asked)

    def _keep(self, call: Call, calls: list[Call]) -> Call:
        """Put a call in its place: among this run's of its module, and among all."""
        call.wanted = self.layers is None or len(calls) in self.layers
        call.residual = self._residuals.get(id(call.module)) if call.wanted else None
        if visit := self._visits.get(id(call.module)):
            call.ordinal = len(visit.calls)
            visit.calls.append(call)
            if visit.entered is not None and call.wanted:
                call.input, call.entered = visit.hidden_states[0], visit.entered
        place = (call.key.data_ptr(), call.key.shape)
        earlier = self._keys.get(place)
        if earlier is not None and not earlier[1].expired():  # expired: freed, and its memory used again
            call.key_of = earlier[0]
        else:
            self._keys[place] = (call, StorageWeakRef(call.key.untyped_storage()))
        calls.append(call)
        if self.stop_at == call.ordinal:
            raise Enough
        return call

    def _put_away(self, call: Call) -> None:
        """Let go of the vectors that are not to be kept. Of those that are, round what is to be rounded, and copy what
        is part of a larger tensor (of a fused projection), which would be kept whole with it."""
        if not self.vectors or not call.wanted:
            _empty(call)
            return
        number = len(self.calls) - 1
        for name in ("query", "key", "value"):
            vectors = getattr(call, name)
            if self.half is not None:
                setattr(call, name, rounded(vectors, self.half, f"A {name} of attention layer {number}"))
            elif vectors.untyped_storage().nbytes() > vectors.nbytes:
                setattr(call, name, vectors.clone())

    def _done(self) -> None:
        if self.on_layer:
            try:
                self.on_layer(len(self.calls), self.total)
            except BaseException:
                self.stopped = True
                raise

    # -- around a module ------------------------------------------------------------------------------------------

    def enter_attention(self, module: nn.Module, hidden_states: Tensor, arguments: Mapping[str, Any]) -> None:
        """The attention module was called with these arguments, `hidden_states` among them."""
        entered = None
        if "input" in self.keep:
            entered = Entered(hidden_states, {name: self._kept(value) for name, value in arguments.items()})
        self._visits[id(module)] = _Visit(hidden_states, entered)

    def _kept(self, value: Any) -> Any:
        """An argument as it is worth keeping: masks as rules, no cache (it would hold more than this layer), and
        dictionaries copied (some models hand one from layer to layer and write into it)."""
        if isinstance(value, Tensor) and value.ndim == 4:
            if id(value) not in self._masks:
                self._masks[id(value)] = (value, KeptMask.of(value))
            return self._masks[id(value)][1]
        return None if isinstance(value, Cache) else each_item(self._kept, value)

    def leave_attention(self, module: nn.Module, output: Any) -> None:
        """The attention module returned this."""
        visit = self._visits.pop(id(module), None)
        tensor = output[0] if isinstance(output, tuple | list) else output
        if visit is not None and "output" in self.keep and isinstance(tensor, Tensor):
            for call in visit.calls:
                if call.wanted:
                    call.output = tensor[0]

    def enter_block(self, attention: nn.Module | None, hidden_states: Tensor) -> None:
        """The decoder block that holds this attention (None: one without attention) was called with this."""
        if "residual" in self.keep and attention is not None:
            self._residuals[id(attention)] = hidden_states[0]

    def enter_part(self, attention: nn.Module, name: str, hidden_states: Tensor) -> None:
        """Another part of that block was called with this. Of interest to other recorders (around.py)."""

    # -- modules that attend in their own code ----------------------------------------------------------------------

    def watch(self, module: nn.Module) -> None:
        """Watch what this module computes, until `unwatch`. The innermost module watched is the one that attends."""
        if not self.record and not self.eager:
            return
        self._watched.append(module)
        if self._watch is None:
            self._watch = Watch(self._seen if self.record else None, shown=self.eager)
            self._watch.__enter__()

    def unwatch(self, module: nn.Module) -> None:
        """The module has returned, or something was raised in it."""
        if not self._watched or self._watched[-1] is not module:
            return
        self._watched.pop()
        if not self._watched and self._watch is not None:
            watch, self._watch = self._watch, None
            watch.__exit__(None, None, None)

    def _seen(self, found: Attended) -> None:
        call = Call(
            module=self._watched[-1],
            query=found.query,
            key=found.key,
            value=found.value,
            scale=found.scale,
            mask=found.mask,
            softcap=None,
            sinks=None,
            window=None,
            bias=found.bias,
            weights=found.weights if self.stages else None,
            context=found.context if self.stages else None,
        )
        self._keep(call, self._own)
        call.unexplained = unexplained(call, found.context[:, -1], {})
        self._put_away(call)
        self._done()


def rounded(vectors: Tensor, half: torch.dtype, what: str) -> Tensor:
    """A copy in half precision. Raises InspectorError where a number lies beyond its range."""
    copied = vectors.to(half, copy=True)
    if not bool(torch.isfinite(copied).all()):
        raise InspectorError(
            f"{what} has a number of {float(vectors.abs().max()):.3g}, beyond {str(half).removeprefix('torch.')}'s "
            f'largest, {torch.finfo(half).max:.3g}: use precision="bfloat16", or leave precision out.'
        )
    return copied


def _empty(call: Call) -> None:
    """Keep of a call what it was like, and none of its numbers."""
    for name in ("query", "key", "value"):
        setattr(call, name, getattr(call, name)[:, :0].clone())
    if isinstance(call.mask, Tensor):
        call.mask = MaskRule()
    if call.bias is not None:
        call.bias = call.bias[:, :0].clone()


def _with_sinks_share(weights: Tensor, call: Call) -> Tensor:
    """Weights [h, t, s] as they multiply values. A function may return them before its sinks took their share, which it
    takes off the context instead: rows then sum to 1, and their context is too large."""
    if call.sinks is None or call.context is None:
        return weights
    whole = context_vectors(weights, call.value).float()
    rounding = 32 * torch.finfo(weights.dtype).eps * float(call.value.abs().max())
    if float((whole - call.context.float()).abs().max()) <= rounding:
        return weights
    share = (whole * call.context.float()).sum(-1, keepdim=True) / (whole * whole).sum(-1, keepdim=True)
    return (weights * share).to(weights.dtype)

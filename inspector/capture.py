"""The seam: one forward pass of the library's model goes in, a record of each attention call comes out.

Nearly every decoder in transformers 5 asks `AttentionInterface.get_interface(name, its own eager function)` for the
function that attends, once per attention layer, and calls it with queries and keys already rotated. That one method
is wrapped, once per process. Without a recorder in this thread's context it returns what it always did, so the
model, its config and everybody else's calls stay untouched; with one, the answer is a function that notes q, k, v by
reference and then calls the same implementation. No n x n tensor is kept: a mask is kept as a rule.

What the function does not see (a layer's input and output, the residual) comes from hooks that are installed once
per model and do nothing without a recorder.
"""

from __future__ import annotations

import functools
import inspect
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import AttentionInterface

from inspector.masks import Mask, additive_mask, as_additive, mask_rule
from reimpl.attention import attention_weights, context_vectors, scaled_scores
from reimpl.mask import allowed
from reimpl.spec import MaskRule

OnLayer = Callable[[int, int], None]

_active: ContextVar[Recorder | None] = ContextVar("attention_recorder", default=None)
_install_lock = threading.Lock()


@dataclass
class Call:
    """One attention call of one prompt, batch dimension taken off. Tensors are the library's own, by reference."""

    module: nn.Module
    query: Tensor  # [h, t, d], rotated
    key: Tensor  # [g, s, d], rotated
    value: Tensor  # [g, s, d]
    scale: float
    mask: Mask
    softcap: float | None
    sinks: Tensor | None  # [h]
    window: int | None
    weights: Tensor | None = None  # [h, t, s] and
    context: Tensor | None = None  # [h, t, d]: only from the module's own eager function, when a recorder asks for it
    input: Tensor | None = None  # [t, m]
    output: Tensor | None = None  # [t, m]
    residual: Tensor | None = None  # [t, m], what the block received
    arguments: Mapping[str, Any] = field(default_factory=dict)  # the module's other arguments, to run it again
    rotates: bool = False  # the module was given position embeddings
    unexplained: str = ""  # why this record does not account for what the library computed; empty: it does


class Recorder:
    """Collects the attention calls of one forward pass in one thread.

    keep:     what to keep beyond q, k, v: any of "input", "output", "residual".
    eager:    attend with the module's own eager function instead of the configured one.
    stages:   with `eager`, also keep its weights and context (n x n: for one layer at a time).
    on_layer: called with (calls so far, total or 0) after each attention call; what it raises ends the pass.
    """

    def __init__(
        self,
        *,
        keep: frozenset[str] = frozenset(),
        record: bool = True,
        eager: bool = False,
        stages: bool = False,
        on_layer: OnLayer | None = None,
        total: int = 0,
    ) -> None:
        self.keep, self.record, self.eager, self.stages = keep, record, eager, stages
        self.on_layer, self.total = on_layer, total
        self.calls: list[Call] = []
        self._entered: dict[int, tuple[Tensor, Mapping[str, Any]]] = {}
        self._residual: Tensor | None = None

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
            rule = call.mask if call else mask_rule(module, query, key, attention_mask, kwargs)
            mask = additive_mask(rule, query, key) if attention_mask is None else as_additive(attention_mask, query)
            result = own_eager(module, query, key, value, mask, **kwargs)
            if call and self.stages:
                call.weights, call.context = result[1][0], result[0][0].transpose(0, 1)
        else:
            result = configured(module, query, key, value, attention_mask, **kwargs)
        if call:
            call.unexplained = unexplained(call, result[0], kwargs)
            if self.on_layer:
                self.on_layer(len(self.calls), self.total)
        return result

    def _note(
        self, module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, kwargs: Mapping[str, Any]
    ) -> Call:
        scale = kwargs.get("scaling")
        call = Call(
            module=module,
            query=q[0],
            key=k[0],
            value=v[0],
            scale=float(scale) if scale is not None else q.shape[-1] ** -0.5,
            mask=mask_rule(module, q, k, mask, kwargs),
            softcap=kwargs.get("softcap"),
            sinks=kwargs.get("s_aux"),
            window=kwargs.get("sliding_window"),
            residual=self._residual,
        )
        if entered := self._entered.get(id(module)):
            call.rotates = entered[1].get("position_embeddings") is not None
            if "input" in self.keep:
                call.input, call.arguments = entered[0][0], entered[1]
        self.calls.append(call)
        return call

    def enter_attention(self, module: nn.Module, hidden_states: Tensor, others: Mapping[str, Any]) -> None:
        """The attention module was called with this input."""
        # The mask may be n x n and is known as a rule; the cache would hold more than this layer. Dictionaries are
        # copied: some models hand one from layer to layer and write into it.
        kept = {name: v for name, v in others.items() if name not in ("attention_mask", "past_key_values")}
        self._entered[id(module)] = (hidden_states, own_dicts(kept))

    def leave_attention(self, module: nn.Module, output: Any) -> None:
        """The attention module returned this."""
        self._entered.pop(id(module), None)
        if "output" in self.keep:
            tensor = output[0] if isinstance(output, tuple) else output
            call = next((call for call in reversed(self.calls) if call.module is module), None)
            if call is not None:
                call.output = tensor[0]

    def enter_block(self, hidden_states: Tensor) -> None:
        """The decoder block that holds the next attention was called with this."""
        if "residual" in self.keep:
            self._residual = hidden_states[0]


@contextmanager
def recording(recorder: Recorder) -> Iterator[Recorder]:
    """Within this context, and in this thread alone, attention calls go through `recorder`."""
    install_seam()
    token = _active.set(recorder)
    try:
        yield recorder
    finally:
        _active.reset(token)


def install_seam() -> None:
    """Wrap the library's one look-up of attention functions; once per process, safe to call again."""
    with _install_lock:
        original = AttentionInterface.get_interface
        if hasattr(original, "seam_of"):
            return

        @functools.wraps(original)
        def get_interface(self: Any, attn_implementation: str, default: Callable[..., Any]) -> Callable[..., Any]:
            configured = original(self, attn_implementation, default)
            recorder = _active.get()
            return configured if recorder is None else functools.partial(recorder.attend, configured, default)

        get_interface.seam_of = original  # type: ignore[attr-defined]
        AttentionInterface.get_interface = get_interface


def install_hooks(model: nn.Module) -> dict[str, nn.Module]:
    """Hooks on every attention module and its block, doing nothing without a recorder. Returns attention by name.

    An attention module is one whose forward asks the interface for its function; its block is the module around it.
    """
    found = {name: module for name, module in model.named_modules() if _asks_interface(module)}
    with _install_lock:
        if getattr(model, "_attention_inspector_hooks", False):
            return found
        modules = dict(model.named_modules())
        for name, module in found.items():
            module.register_forward_pre_hook(_before_attention, with_kwargs=True)
            module.register_forward_hook(_after_attention)
            block = modules.get(name.rpartition(".")[0])
            if block is not None and not isinstance(block, nn.ModuleList):
                block.register_forward_pre_hook(_before_block, with_kwargs=True)
        model._attention_inspector_hooks = True  # type: ignore[assignment]
    return found


def block_number(name: str) -> int:
    """The block's number in a module name such as model.layers.7.self_attn; -1 where there is none."""
    numbers = re.findall(r"\.(\d+)(?=\.|$)", "." + name)
    return int(numbers[-1]) if numbers else -1


def unexplained(call: Call, output: Tensor, kwargs: Mapping[str, Any]) -> str:
    """Why this record would give other weights than the library used, judged on the last query's context; else empty.

    A model may do what the record does not hold (a bias on scores, keys chosen elsewhere): better no picture than a
    wrong one. The check costs one row of weights. `output` is the attention function's own, [1, t, h, d].
    """
    t, s = call.query.shape[1], call.key.shape[1]
    positions = torch.arange(s, device=call.key.device)
    if isinstance(call.mask, MaskRule):
        may = allowed(call.mask, positions[s - 1 :], positions)
    else:
        may = call.mask[..., t - 1 : t, :]
    with torch.inference_mode():
        scores = scaled_scores(call.query[:, -1:], call.key, scale=call.scale, softcap=call.softcap)
        context = context_vectors(attention_weights(scores, may, sinks=call.sinks), call.value)[:, 0].float()
        found = output[0, -1].reshape(context.shape).float()
        # Room for rounding, in half precision too; what a forgotten term changes is of the values' own size.
        steep = 1 + float(scores.abs().max())
        room = min(0.25, 16 * torch.finfo(call.value.dtype).eps * steep) * float(call.value.abs().max())
        if float((context - found).abs().nan_to_num(torch.inf).max()) <= room:
            return ""
    usual = {"dropout", "scaling", "is_causal", "sliding_window", "softcap", "s_aux", "position_ids", "use_cache"}
    others = sorted(name for name, value in kwargs.items() if value is not None and name not in usual)
    kind = type(call.module).__name__
    return f"{kind} does more than query·key, mask and softmax ({', '.join(others) or 'inside its function'})"


def own_dicts(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: dict(value) if isinstance(value, dict) else value for name, value in arguments.items()}


def _asks_interface(module: nn.Module) -> bool:
    code = getattr(inspect.unwrap(type(module).forward), "__code__", None)
    return code is not None and "ALL_ATTENTION_FUNCTIONS" in code.co_names


def _hidden_states(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """What a module was given to work on; None where that cannot be told. A hook must never end a forward pass."""
    first = kwargs["hidden_states"] if "hidden_states" in kwargs else next(iter(args), None)
    return first if isinstance(first, Tensor) else None


def _before_attention(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if (recorder := _active.get()) is not None and (given := _hidden_states(args, kwargs)) is not None:
        forward: Callable[..., Any] = type(module).forward
        named = dict(zip(_parameters(forward), args, strict=False)) | kwargs
        named.pop("hidden_states", None)
        recorder.enter_attention(module, given, named)


def _after_attention(module: nn.Module, _: Any, output: Any) -> None:
    if (recorder := _active.get()) is not None:
        recorder.leave_attention(module, output)


def _before_block(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if (recorder := _active.get()) is not None and (given := _hidden_states(args, kwargs)) is not None:
        recorder.enter_block(given)


@functools.cache
def _parameters(forward: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(inspect.unwrap(forward)).parameters)[1:]  # without self

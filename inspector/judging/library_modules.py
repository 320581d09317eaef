"""Call attention modules with the library's own signature: a model of somebody's, or its attention modules alone."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from inspector.capture.masks import additive_mask
from inspector.capture.records import Call
from inspector.errors import InspectorError
from inspector.judging.calls import stages_of
from inspector.judging.guarded_call import guarded
from inspector.model.model import Model
from inspector.trace.trace import Trace

CACHE_NAMES = ("past_key_values", "past_key_value", "cache", "layer_past")
ROTATION_NAMES = ("position_embeddings", "rotary_emb", "rotary_pos_emb", "freqs_cis")


def has_library_signature(module: object) -> bool:
    """Tell whether this is an attention module that is called as the library's are."""
    if not isinstance(module, nn.Module):
        return False
    names = list(inspect.signature(module.forward).parameters)
    return names[:1] == ["hidden_states"] and any(name in names for name in ("attention_mask", *ROTATION_NAMES))


class LibraryModules:
    """Attention modules that take what the library hands to its own; `begin` must come before any answer.

    Args:
        modules: layer -> module.
        said: how it was read.
    """

    def __init__(self, modules: Mapping[int, nn.Module], said: Sequence[str]) -> None:
        self.modules, self.said = modules, tuple(said)
        self.layers: tuple[int, ...] | None = tuple(sorted(modules))
        self.calls: dict[int, Call] = {}
        self.cache: Any = None
        self.continues = "past" if all(self._cache_name(one) for one in modules.values()) else ""

    @staticmethod
    def _cache_name(module: nn.Module) -> str | None:
        names = inspect.signature(module.forward).parameters
        return next((name for name in CACHE_NAMES if name in names), None)

    def attach(self, trace: Trace) -> None:
        """Take over what the model's own modules were called with in this trace."""
        for layer, stored in enumerate(trace.stored):
            if stored.call is not None:
                self.calls[layer] = stored.call

    def input(self, layer: int) -> Tensor | None:
        """Return None: modules hand over no input of their own."""
        del layer
        return None

    def begin(self) -> None:
        """Forget all earlier tokens."""
        self.cache = None

    def answer(self, layer: int, x: Tensor) -> Mapping[str, Tensor]:
        """Return a module's output for the whole text, called as the model called its own."""
        module, call = self.modules[layer], self.calls[layer]
        assert call.arguments is not None  # noqa: S101  (the trace was made with its inputs)
        given = {
            name: x.clone()[None] if value is call.arguments.hidden_states or name == "hidden_states" else value
            for name, value in call.arguments.restored().items()
        }
        return self._called(module, layer, x, given)

    def attached(self, layer: int, x: Tensor) -> Mapping[str, Tensor]:
        """Return a module's output for the whole text with autograd's graph behind it."""
        module, call = self.modules[layer], self.calls[layer]
        assert call.arguments is not None  # noqa: S101
        given = {
            name: x.clone()[None]
            if value is call.arguments.hidden_states or name == "hidden_states"
            else None
            if name in CACHE_NAMES
            else _copied(value)
            for name, value in call.arguments.restored().items()
        }
        return self._called(module, layer, x, given, gradients=True)

    def go_on(self, layer: int, x: Tensor, *, start: int, padding: Tensor | None = None) -> Mapping[str, Tensor]:
        """Return a module's output for new tokens, with the library's cache for those before.

        Args:
            layer: the attention layer.
            x: the new tokens' attention input [t, m].
            start: how many tokens came before.
            padding: not taken here.

        Returns:
            The stages by our names.
        """
        del padding
        if start == 0 and self.cache is None:
            self.cache = DynamicCache()
        module, call = self.modules[layer], self.calls[layer]
        assert call.arguments is not None  # noqa: S101
        rows, n = slice(start, start + x.shape[0]), call.query.shape[1]
        given: dict[str, Any] = {}
        for name, value in call.arguments.restored().items():
            if name == "hidden_states":
                given[name] = x.clone()[None]
            elif name in ROTATION_NAMES:
                given[name] = _rows(value, rows, n)
            elif name in ("position_ids", "cache_position") and isinstance(value, Tensor):
                given[name] = value[..., rows]
            elif name not in CACHE_NAMES and name != "attention_mask":
                given[name] = value
        given["attention_mask"] = additive_mask(call.mask, call.query, call.key)[..., rows, : rows.stop]
        given[self._cache_name(module) or "past_key_values"] = self.cache
        return self._called(module, layer, x, given)

    def _called(
        self, module: nn.Module, layer: int, x: Tensor, given: dict[str, Any], *, gradients: bool = False
    ) -> Mapping[str, Tensor]:
        parameters = inspect.signature(module.forward).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            given = {name: value for name, value in given.items() if name in parameters}
        weight = next((p for p in module.parameters() if p.is_floating_point()), None)
        if weight is not None and weight.dtype != x.dtype:
            given = {name: _cast(value, x.dtype, weight.dtype) for name, value in given.items()}
        found = guarded(module, layer, x, (), given, gradients=gradients)
        stages, said = stages_of(found, f"layer {layer}", attached=gradients)
        self.said += tuple(sentence for sentence in said if sentence not in self.said)
        return stages


def _rows(value: Any, rows: slice, n: int) -> Any:
    """Cut position embeddings down to some positions."""
    if isinstance(value, tuple | list):
        return type(value)(_rows(item, rows, n) for item in value)
    if isinstance(value, dict):
        return {name: _rows(item, rows, n) for name, item in value.items()}
    if isinstance(value, Tensor) and value.ndim >= 2 and value.shape[-2] == n:
        return value[..., rows, :]
    return value


def _copied(value: Any) -> Any:
    """Copy tensors that were made without autograd's bookkeeping, which a backward pass needs."""
    if isinstance(value, tuple | list):
        return type(value)(_copied(item) for item in value)
    if isinstance(value, dict):
        return {name: _copied(item) for name, item in value.items()}
    return value.clone() if isinstance(value, Tensor) else value


def _cast(value: Any, of: torch.dtype, to: torch.dtype) -> Any:
    """Bring the tensors of the model's dtype to the module's."""
    if isinstance(value, tuple):
        return tuple(_cast(item, of, to) for item in value)
    return value.to(to) if isinstance(value, Tensor) and value.dtype == of else value


def modules_of(model: nn.Module, own: Model) -> LibraryModules:
    """Find in somebody's model the attention modules that stand where the judged model's do.

    Args:
        model: somebody's model object.
        own: the model that is the reference.

    Returns:
        Its attention modules.

    Raises:
        InspectorError: it has none of these names.
    """
    named = dict(model.named_modules())
    found: dict[int, nn.Module] = {}
    for info in own.layers:
        short = info.name.removeprefix("model.")
        name = next((n for n in (info.name, short, f"model.{info.name}") if n in named), None)
        if name is not None and has_library_signature(named[name]):
            found[info.index] = named[name]
    if not found:
        raise InspectorError(
            f"This {type(model).__name__} has no attention module called {own.layers[0].name}, as {own.name} has: hand "
            "over its attention modules as a list, or a function (x, layer) that calls them."
        )
    return LibraryModules(
        found, [f"{len(found)} attention modules of a {type(model).__name__}, called as the library calls them"]
    )


@contextmanager
def attending_by(model: Model, name: str) -> Iterator[None]:
    """Let the library's model attend by a registered function, and as before afterwards."""
    before = model.model.config._attn_implementation
    model.model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.model.set_attn_implementation(before)

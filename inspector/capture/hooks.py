"""Find a model's attention modules by name, and put hooks on them, on their blocks and on blocks without attention.

Each hook tells the listener of its thread what its module was called with, and does nothing without one.
"""

from __future__ import annotations

import functools
import inspect
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from inspector.capture.code_names import names_in
from inspector.capture.listener import active
from inspector.capture.torch_functions import computes_attention

_install_lock = threading.Lock()


def install_hooks(model: nn.Module) -> dict[str, nn.Module]:
    """Put hooks on every attention module and its block; once per model, safe to call again.

    An attention module is one whose forward asks the interface for its function, or one that computes a softmax in its
    own code (which need not be attention: that is seen when it runs).

    Args:
        model: the library's model.

    Returns:
        The attention modules by their names in the model.
    """
    modules = dict(model.named_modules())
    asking = {name: module for name, module in modules.items() if asks_interface(module)}
    # Neither what is inside a module that asks the interface (it may choose keys by a softmax) nor what is around one.
    outer = {place for name in asking for place in _places(name)}
    apart = [name for name in modules if name not in outer and not any(place in asking for place in _places(name))]
    own = {name: modules[name] for name in apart if computes_attention(modules[name])}
    with _install_lock:
        if getattr(model, "_attention_inspector_hooks", False):
            return asking | own
        for name, module in (asking | own).items():
            module.register_forward_pre_hook(_before_attention, with_kwargs=True)
            module.register_forward_hook(_after_attention)
            if name in own:
                module.register_forward_pre_hook(_before_own_code)
                module.register_forward_hook(_after_own_code, always_call=True)
        _hook_blocks(model, set((asking | own).values()))
        model._attention_inspector_hooks = True  # type: ignore[assignment]
    return asking | own


def _hook_blocks(model: nn.Module, attention: set[nn.Module]) -> None:
    """Put hooks on these modules' blocks, on the blocks' other parts, and on the blocks without attention.

    A block is an item of the model's list of blocks; where there is no list, the module around the attention.
    """
    modules = dict(model.named_modules(remove_duplicate=False))  # one attention may serve several blocks
    blocks: dict[str, nn.Module] = {}
    for name, module in modules.items():
        parent = _above(name)
        if module not in attention or isinstance(modules.get(parent), nn.ModuleList):
            continue  # one of several in a block: not each receives what the block does
        inner = list(_places(parent))  # from the module around the attention outwards
        items = [place for place in inner if place and isinstance(modules[_above(place)], nn.ModuleList)]
        block = items[0] if items else parent
        blocks[block] = modules[block]
        modules[block].register_forward_pre_hook(functools.partial(_before_block, module), with_kwargs=True)
        modules[block].register_forward_hook(functools.partial(_after_block, module))
        for place in inner[: inner.index(block) + 1]:
            for part, child in modules[place].named_children():
                if module not in set(child.modules()):
                    child.register_forward_pre_hook(functools.partial(_before_part, module, part), with_kwargs=True)
                    child.register_forward_hook(functools.partial(_after_part, module, part))
    for listed in {_above(place) for place in blocks}:
        if isinstance(modules[listed], nn.ModuleList):
            for other in modules[listed].children():
                if other not in blocks.values():
                    other.register_forward_pre_hook(functools.partial(_before_block, None), with_kwargs=True)


def block_number(name: str) -> int:
    """Return the block's number in a module name such as model.layers.7.self_attn; -1 where there is none."""
    numbers = re.findall(r"\.(\d+)(?=\.|$)", "." + name)
    return int(numbers[-1]) if numbers else -1


def asks_interface(module: nn.Module) -> bool:
    """Whether this module asks the library for its attention function, instead of attending in its own code."""
    return "ALL_ATTENTION_FUNCTIONS" in names_in([type(module).forward])


def _hidden_states(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """Return a module's main input; None where that cannot be told. A hook must never end a forward pass."""
    inputs = [kwargs["hidden_states"]] if "hidden_states" in kwargs else [*args, *kwargs.values()]
    # Not any of that shape: Gemma 3n's blocks receive four streams in one tensor, and beside it another's vectors.
    first = next((x for x in inputs if isinstance(x, Tensor) and x.is_floating_point()), None)
    return None if first is None or first.ndim != 3 else first


def _before_attention(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if (listener := active.get()) is not None and (received := _hidden_states(args, kwargs)) is not None:
        forward: Callable[..., Any] = type(module).forward
        listener.enter_attention(module, received, dict(zip(_parameters(forward), args, strict=False)) | kwargs)


def _after_attention(module: nn.Module, _: Any, output: Any) -> None:
    if (listener := active.get()) is not None:
        listener.leave_attention(module, output)


def _before_own_code(module: nn.Module, _: Any) -> None:
    if (listener := active.get()) is not None:
        listener.watch(module)


def _after_own_code(module: nn.Module, _: Any, __: Any) -> None:
    if (listener := active.get()) is not None:
        listener.unwatch(module)


def _before_block(attention: nn.Module | None, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if (listener := active.get()) is not None and (received := _hidden_states(args, kwargs)) is not None:
        listener.enter_block(attention, received)


def _before_part(attention: nn.Module, part: str, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if (listener := active.get()) is not None and (received := _hidden_states(args, kwargs)) is not None:
        listener.enter_part(attention, part, received)


def _after_part(attention: nn.Module, part: str, _: nn.Module, __: Any, output: Any) -> None:
    if (listener := active.get()) is not None:
        listener.leave_part(attention, part, output)


def _after_block(attention: nn.Module, block: nn.Module, _: Any, output: Any) -> None:
    if (listener := active.get()) is not None:
        listener.leave_block(attention, block, output)


def _above(name: str) -> str:
    """Return the name of the module around this one."""
    return name.rpartition(".")[0]


def _places(name: str) -> Iterator[str]:
    """Yield this module's name and the names of all modules around it: a.b.c, a.b, a and the model's own, empty one."""
    while name:
        yield name
        name = _above(name)
    yield ""


@functools.cache
def _parameters(forward: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(inspect.unwrap(forward)).parameters)[1:]  # without self

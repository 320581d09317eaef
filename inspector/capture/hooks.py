"""Find a model's attention modules by name, and put hooks on them, on their blocks and on blocks without attention.

Each hook tells the listener of its thread what its module was called with, and does nothing without one.
"""

from __future__ import annotations

import functools
import inspect
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from inspector.capture.code_names import names_in
from inspector.capture.listener import active
from inspector.capture.marks import token_marks
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
            return {plain_name(name): module for name, module in (asking | own).items()}
        for name, module in (asking | own).items():
            module.register_forward_pre_hook(_before_attention, with_kwargs=True)
            module.register_forward_hook(_after_attention)
            if name in own:
                module.register_forward_pre_hook(_before_own_code)
                module.register_forward_hook(_after_own_code, always_call=True)
        _hook_blocks(model, set((asking | own).values()))
        _hook_outside(model, set((asking | own).values()))
        getattr(model, "base_model", model).register_forward_hook(_after_all_blocks)
        for module in modules.values():
            if any(name.endswith("inv_freq") for name, _ in module.named_buffers(recurse=False)):
                module.register_forward_hook(_after_rotation_tables, with_kwargs=True)
        model._attention_inspector_hooks = True  # type: ignore[assignment]
    return {plain_name(name): module for name, module in (asking | own).items()}


def plain_name(name: str) -> str:
    """Return a module's name in the model without what torch.compile puts around parts of it.

    Args:
        name: such as model.layers.0._orig_mod.self_attn; the shorter name leads to the same module.
    """
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


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
            _hook_parts(module, modules[place])
        if not asks_interface(module):  # it may be a router of experts: then what is around it is a part too
            around = [(name, child) for name, child in modules[block].named_children() if child is not module]
            _hook_children(module, [(name, child) for name, child in around if module in set(child.modules())])
    for listed in {_above(place) for place in blocks}:
        if isinstance(modules[listed], nn.ModuleList):
            for other in modules[listed].children():
                if other not in blocks.values():
                    other.register_forward_pre_hook(functools.partial(_before_block, None), with_kwargs=True)
                    other.register_forward_hook(functools.partial(_after_block, None))
                    _hook_parts(None, other)


def _hook_parts(attention: nn.Module | None, around: nn.Module) -> None:
    """Put hooks on what stands beside a block's attention, or on all parts of a block without attention."""
    children = around.named_children()
    _hook_children(attention, [(name, child) for name, child in children if attention not in set(child.modules())])


def _hook_children(attention: nn.Module | None, children: Iterable[tuple[str, nn.Module]]) -> None:
    for name, child in children:
        child.register_forward_pre_hook(functools.partial(_before_part, attention, name), with_kwargs=True)
        child.register_forward_hook(functools.partial(_after_part, attention, name))


def _hook_outside(model: nn.Module, attention: set[nn.Module]) -> None:
    """Put hooks on what stands beside a list of blocks, such as the final norm, and on the output embeddings."""
    modules = dict(model.named_modules())
    within = {place for name, module in modules.items() if module in attention for place in _places(name)}
    lists = [name for name in within if isinstance(modules[name], nn.ModuleList)]
    outside = {
        child: name
        for place in lists
        for name, child in modules[_above(place)].named_children()
        if not set(child.modules()) & attention
    }
    find: Any = getattr(model, "get_output_embeddings", None)
    head = None if find is None else find()
    if isinstance(head, nn.Module):
        outside.setdefault(head, "output embeddings")
    for module, name in outside.items():
        module.register_forward_hook(functools.partial(_after_outside, name), with_kwargs=True)


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


def _before_attention(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    if (listener := active.get()) is None or (received := _hidden_states(args, kwargs)) is None:
        return None
    arguments = dict(zip(_parameters(type(module).forward), args, strict=False)) | kwargs
    changed = None if listener.editor is None else listener.editor.arguments(module, arguments)
    if changed is None:
        listener.enter_attention(module, received, arguments)
        return None
    listener.enter_attention(module, received, arguments | changed)
    return (), arguments | changed


def _after_rotation_tables(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
    if (listener := active.get()) is not None and listener.editor is not None and listener.editor.rotations:
        listener.editor.rotations.note(module, args, kwargs, output)


def _after_attention(module: nn.Module, _: Any, output: Any) -> None:
    if (listener := active.get()) is not None:
        listener.leave_attention(module, output)


def _before_own_code(module: nn.Module, _: Any) -> None:
    if (listener := active.get()) is not None:
        listener.watch(module)


def _after_own_code(module: nn.Module, _: Any, __: Any) -> None:
    if (listener := active.get()) is not None:
        listener.unwatch(module)


def _before_block(
    attention: nn.Module | None, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    if (listener := active.get()) is None or (received := _hidden_states(args, kwargs)) is None:
        return None
    other = listener.entering(attention, received)
    listener.enter_block(attention, received if other is None else other)
    if other is None:
        return None
    put = functools.partial(_put, received, other)
    return tuple(map(put, args)), {name: put(value) for name, value in kwargs.items()}


def _put(old: Tensor, new: Tensor, value: Any) -> Any:
    return new if value is old else value


def _before_part(
    attention: nn.Module | None, part: str, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    if (listener := active.get()) is not None and (received := _hidden_states(args, kwargs)) is not None:
        listener.enter_part(attention, part, received)


def _after_part(attention: nn.Module | None, part: str, module: nn.Module, _: Any, output: Any) -> None:
    if (listener := active.get()) is not None:
        listener.leave_part(attention, part, module, output)


def _after_outside(name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
    if (listener := active.get()) is not None and (received := _hidden_states(args, kwargs)) is not None:
        listener.leave_outside(name, module, received, output)


def _after_all_blocks(_: nn.Module, __: Any, output: Any) -> None:
    if (listener := active.get()) is not None:
        listener.marks = token_marks(output)


def _after_block(attention: nn.Module | None, block: nn.Module, _: Any, output: Any) -> None:
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

"""Hooks that somebody put into a model's attention: what they change is the model's own doing, and is said as that."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from inspector.model.model import Model
from inspector.text import few

LIBRARIES = ("inspector", "torch", "transformers", "accelerate", "peft")
KINDS = ("_forward_pre_hooks", "_forward_hooks")
Hook = tuple[nn.Module, str, int, str]  # the module, which kind, its key there, words for it


def own_hooks(model: Model) -> list[Hook]:
    """Find the hooks in a model's attention that are neither ours nor a library's.

    Args:
        model: any.

    Returns:
        Each with its place.
    """
    found: dict[tuple[int, str, int], Hook] = {}
    for info in model.layers:
        for name, module in model.model.get_submodule(info.name).named_modules(prefix=info.name):
            for kind in KINDS:
                for key, hook in getattr(module, kind).items():
                    if _is_somebodys(hook):
                        found[id(module), kind, key] = (module, kind, key, f"{_name(hook)} on {name}")
    return list(found.values())


@contextlib.contextmanager
def without(hooks: Sequence[Hook]) -> Iterator[None]:
    """Take hooks out of their modules for a while; they come back in their order.

    Args:
        hooks: what `own_hooks` returned.
    """
    before = [(module, kind, dict(getattr(module, kind))) for module, kind, _, _ in hooks]
    try:
        for module, kind, key, _ in hooks:
            getattr(module, kind).pop(key, None)
        yield
    finally:
        for module, kind, every in reversed(before):
            getattr(module, kind).clear()
            getattr(module, kind).update(every)


def in_words(hooks: Sequence[Hook]) -> str:
    """Name hooks and where they are, the first of many.

    Args:
        hooks: what `own_hooks` returned.
    """
    return few([words for *_, words in hooks])


def _is_somebodys(hook: Any) -> bool:
    code = getattr(hook, "func", hook)  # of a functools.partial
    place = str(getattr(code, "__module__", None) or type(code).__module__)
    return place.partition(".")[0] not in LIBRARIES


def _name(hook: Any) -> str:
    code = getattr(hook, "func", hook)
    return str(getattr(code, "__name__", type(code).__name__))

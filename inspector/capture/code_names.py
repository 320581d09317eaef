"""Read which names a class's code uses, whatever its methods are wrapped in.

A forward method may be decorated any number of times (transformers 5.24 decorates most of them), with functools.wraps
or without. What is asked is the code that runs in the end, not the decorator's.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from types import CodeType, FunctionType, MethodType

# What holds a function, and the attribute that leads to it.
HOLDERS: dict[type, str] = {
    property: "fget",
    staticmethod: "__func__",
    classmethod: "__func__",
    MethodType: "__func__",
    functools.partial: "func",
    functools.partialmethod: "func",
    functools.cached_property: "func",
    type(functools.lru_cache(len)): "__wrapped__",
}


def names_in_class(kind: type) -> set[str]:
    """Collect the names of globals and attributes that a class's own methods use.

    Args:
        kind: the class; what it inherits is not looked at.

    Returns:
        The names.
    """
    return names_in(vars(kind).values())


def names_in(members: Iterable[object]) -> set[str]:
    """Collect the names of globals and attributes that functions use, and those that they wrap or define within.

    Args:
        members: functions, or whatever holds one: properties, static methods, partial functions. All else is passed.

    Returns:
        The names.
    """
    found: set[str] = set()
    seen: set[int] = set()
    waiting = list(members)
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, CodeType):
            found.update(one.co_names)
            waiting += [part for part in one.co_consts if isinstance(part, CodeType)]
        elif isinstance(one, FunctionType):
            waiting += [one.__code__, *_enclosed(one)]
        elif type(one) in HOLDERS:
            waiting.append(getattr(one, HOLDERS[type(one)]))
        else:  # a decorator that is a class: its instance names what it wraps, if functools.update_wrapper was called
            waiting.append(getattr(one, "__dict__", {}).get("__wrapped__"))
    return found


def _enclosed(function: FunctionType) -> list[object]:
    """Return what a function keeps from the function that made it: a decorator's wrapper keeps the method there."""
    kept: list[object] = [vars(function).get("__wrapped__")]
    for cell in function.__closure__ or ():
        try:
            kept.append(cell.cell_contents)
        except ValueError:  # a name that was never given a value
            continue
    return kept

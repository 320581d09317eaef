"""Choices among strings: the strings a spec's field may hold, as Literal types, and the refusal of all others.

A checker finds a wrong string where it is written; one that comes from a file or from an experiment is refused when
the spec is made, since a misspelt rule would otherwise compute another one in silence.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from reimpl.errors import UnsupportedError

RopeStyle = Literal["halves", "pairs"]
RopeRule = Literal["default", "linear", "dynamic", "yarn", "longrope", "llama3", "proportional"]
NormKind = Literal["rms", "layer", "l2"]
NormOver = Literal["head", "each", "whole"]
GateSource = Literal["gate", "query", "matrix"]
GateActivation = Literal["sigmoid", "softplus"]
TemperatureRule = Literal["steps", "power"]
FusedLayout = Literal["stacked", "grouped", "quarters", "gate first"]
Layout = Literal["separate", FusedLayout]


@cache
def choices_of(spec: type) -> dict[str, tuple[str, ...]]:
    """List the fields of a dataclass that are Literals, each with the strings it may hold.

    Args:
        spec: the dataclass, such as RopeSpec.

    Returns:
        Field name -> strings, in the order in which the Literal names them.
    """
    hints = get_type_hints(spec)
    return {field: get_args(hint) for field, hint in hints.items() if get_origin(hint) is Literal}


def refuse_unknown_choices(spec: Any) -> None:
    """Refuse a spec in which a choice among strings is none of the strings.

    Args:
        spec: an instance of a dataclass; its fields of other types are not looked at.

    Raises:
        UnsupportedError: names the field, its value and the choices.
    """
    for field, choices in choices_of(type(spec)).items():  # type: ignore[arg-type]  # a class is hashable
        value = getattr(spec, field)
        if value not in choices:
            listed = ", ".join(f'"{choice}"' for choice in choices)
            raise UnsupportedError(f'{type(spec).__name__}.{field} "{value}" is not modelled; choose one of {listed}.')

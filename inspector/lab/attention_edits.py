"""Make edits of where heads look and of what they find there: a function for each kind.

Layers, heads and tokens are numbers from 0, ranges or lists of them; None means all. Negative token positions count
from the end of the prompt that an edit meets.
"""

from __future__ import annotations

from collections.abc import Sequence

from inspector.capture.edits import Edit, When
from inspector.errors import InspectorError
from inspector.lab.edit_arguments import Numbers, numbers


def cut(
    *,
    key: Numbers,
    query: Numbers = None,
    layers: Numbers = None,
    heads: Numbers = None,
    renormalise: bool = True,
    when: When = "both",
) -> Edit:
    """Cut edges, so that query tokens do not look at key tokens.

    Args:
        key: the key tokens.
        query: the query tokens; None: all but each key token itself.
        layers: the layers.
        heads: the query heads.
        renormalise: cut before the softmax, so that other keys share what was cut; else weights are set to zero after
            it, and that share is missing.
        when: as in `zero`.

    Returns:
        The edit.
    """
    return Edit(
        kind="cut" if renormalise else "drop",
        keys=numbers(key),
        queries=numbers(query),
        layers=numbers(layers),
        heads=numbers(heads),
        when=when,
    )


def zero_value(key: Numbers, layers: Numbers = None, heads: Numbers = None) -> Edit:
    """Set value vectors of tokens to zero: whoever looks at them gets nothing.

    Args:
        key: the key tokens.
        layers: the layers.
        heads: query heads, all of a group.

    Returns:
        The edit.
    """
    return Edit(kind="zero_value", keys=numbers(key), layers=numbers(layers), heads=numbers(heads))


def rope(
    layers: Numbers = None,
    *,
    off: bool = False,
    planes: Numbers = None,
    base: float | None = None,
    positions: Sequence[int] | None = None,
    shift: int | None = None,
) -> Edit:
    """Change rotation by position, in all heads of a layer.

    Args:
        layers: the layers; None: all that rotate.
        off: nothing is rotated; with `planes`, these alone are not. A factor on cosines and sines (YaRN) stays.
        planes: planes of RoPE, from the fastest, 0.
        base: another base; a scaling of frequencies stays.
        positions: where each token of the prompt is to stand; written tokens follow the last.
        shift: how far all tokens are moved.

    Returns:
        The edit.

    Raises:
        InspectorError: not exactly one of off, base, positions and shift is given.
    """
    given = [
        name for name, value in {"base": base, "positions": positions, "shift": shift}.items() if value is not None
    ]
    if len(given) + off != 1:
        raise InspectorError("RoPE is changed in one way at a time: give off=True, base, positions or shift.")
    if off:
        return Edit(kind="rope_off", layers=numbers(layers), planes=numbers(planes))
    if planes is not None:
        raise InspectorError("planes are for off=True: leave them out, or switch them off.")
    if base is not None:
        return Edit(kind="rope_base", layers=numbers(layers), base=base)
    return Edit(kind="rope_positions", layers=numbers(layers), positions=numbers(positions), shift=shift)


def mask(
    layers: Numbers = None,
    heads: Numbers = None,
    *,
    off: bool = False,
    window: int | None = None,
    queries: Numbers = None,
    when: When = "both",
) -> Edit:
    """Change which keys a query may look at.

    Args:
        layers: the layers.
        heads: the query heads.
        off: every query may look at every key.
        window: a query may look so many tokens back, itself counted.
        queries: the query tokens.
        when: as in `zero`.

    Returns:
        The edit.

    Raises:
        InspectorError: not exactly one of off and window is given.
    """
    if off == (window is not None):
        raise InspectorError("The mask is changed in one way at a time: give off=True or window.")
    kind = "mask_off" if off else "window"
    return Edit(
        kind=kind,
        layers=numbers(layers),
        heads=numbers(heads),
        window=window,
        queries=numbers(queries),
        when=when,
    )


def temperature(
    factor: float, layers: Numbers = None, heads: Numbers = None, *, queries: Numbers = None, when: When = "both"
) -> Edit:
    """Multiply scaled scores before a soft-cap and the mask: above 1 attention is sharper, at 0 even.

    Args:
        factor: by what.
        layers: the layers.
        heads: the query heads.
        queries: the query tokens.
        when: as in `zero`.

    Returns:
        The edit, which multiplies queries.
    """
    return Edit(
        kind="temperature",
        factor=factor,
        layers=numbers(layers),
        heads=numbers(heads),
        queries=numbers(queries),
        when=when,
    )


def scale_off(layers: Numbers = None, heads: Numbers = None, *, queries: Numbers = None, when: When = "both") -> Edit:
    """Leave scores unscaled, as if they were not divided by the square root of the head's width.

    Args:
        layers: the layers.
        heads: the query heads.
        queries: the query tokens.
        when: as in `zero`.

    Returns:
        The edit.
    """
    return Edit(kind="scale_off", layers=numbers(layers), heads=numbers(heads), queries=numbers(queries), when=when)

"""Check which layer, head, query rows and key columns are asked for, and cut them out of what is stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inspector.capture.records import Layer
from inspector.errors import InspectorError
from inspector.trace.whole_numbers import shown, whole_number
from reimpl.blockwise import seen_keys
from reimpl.mask import allowed
from reimpl.spec import MaskRule

Rows = slice | Sequence[int]  # some query rows: a stretch of them, or these positions


@dataclass(frozen=True)
class Selection:
    """Some heads, query rows and key columns of one stored layer.

    head:  one query head, from 0; None: all of them.
    dtype: what stored vectors are computed with, where they are stored rounded (None: they are not).
    """

    layer: Layer
    head: int | None
    rows: slice | list[int]
    columns: slice
    dtype: torch.dtype | None

    @property
    def heads(self) -> slice:
        """The query heads, as a slice of one or of all."""
        return slice(None) if self.head is None else slice(self.head, self.head + 1)

    @property
    def groups(self) -> slice:
        """The key/value heads that these query heads use, as a slice of one or of all."""
        if self.head is None:
            return slice(None)
        group = self.layer.info.kv_head(self.head)
        return slice(group, group + 1)

    def query(self) -> Tensor:
        """Return the queries, [h or 1, t, d]."""
        return self.read(self.layer.query[self.heads, self.rows])

    def key(self) -> Tensor:
        """Return the keys, [g or 1, s, d]."""
        return self.read(self.layer.key[self.groups, self.columns])

    def value(self) -> Tensor:
        """Return the values, [g or 1, s, d_value]."""
        return self.read(self.layer.value[self.groups, self.columns])

    def edited_context(self) -> Tensor | None:
        """Return what edits made of these context vectors, [h or 1, t, d_value]; None where nothing edited them."""
        edited = self.layer.edited_context
        return None if edited is None else self.read(edited[self.heads, self.rows])

    def read(self, stored: Tensor) -> Tensor:
        """Return stored vectors as numbers to compute with: in the model's dtype, also where they are rounded."""
        return stored if self.dtype is None else stored.to(self.dtype)

    def mask(self) -> Tensor:
        """Return where these queries may look: bool [t, s], or where heads differ [h or 1, t, s]."""
        mask = self.layer.mask
        if not isinstance(mask, MaskRule):
            return (mask[self.rows] if mask.ndim == 2 else self._part(mask))[..., self.columns]
        positions = torch.arange(self.layer.key.shape[1], device=self.layer.key.device)
        return allowed(mask, positions[self.rows], positions[self.columns])

    def bias(self) -> Tensor | None:
        """Return what is added to the scaled scores, [h or 1, t or 1, s]; None where nothing is."""
        return None if self.layer.bias is None else self._part(self.layer.bias)[..., self.columns]

    def sinks(self) -> Tensor | None:
        """Return the sinks, [h or 1] or [h or 1, t]; None where there are none."""
        sinks = self.layer.sinks
        if sinks is None:
            return None
        return sinks[self.heads] if sinks.ndim == 1 else sinks[self.heads, self.rows]

    def _part(self, table: Tensor) -> Tensor:
        """Return these heads and query rows of a table [h or 1, t or 1, s]."""
        if table.shape[0] > 1:
            table = table[self.heads]
        return table[:, self.rows] if table.shape[1] > 1 else table

    def refuse_missing_keys(self, n: int) -> None:
        """Refuse key columns that leave out what these query rows may look at: their softmax would be another.

        Args:
            n: how many tokens the prompt has.

        Raises:
            InspectorError: a key is missing.
        """
        rows, rule = self.rows, self.layer.mask if isinstance(self.layer.mask, MaskRule) else None
        start, stop, _ = rows.indices(n) if isinstance(rows, slice) else (min(rows), max(rows) + 1, 1)
        seen = seen_keys(rule, slice(start, stop), n)
        first, end, step = self.columns.indices(n)
        if first > seen.start or end < seen.stop or step != 1:
            raise InspectorError(
                f"Weights over keys {first} to {end - 1} alone would not be the model's: query tokens {start} to "
                f"{stop - 1} may look at keys {seen.start} to {seen.stop - 1}; ask for those."
            )


def select(
    stored: Sequence[Layer],
    n: int,
    layer: int,
    head: int | None = None,
    queries: Rows | None = None,
    keys: slice | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> Selection:
    """Check what is asked for, and select it.

    Args:
        stored: the layers of a trace.
        n: how many tokens it has.
        layer: which attention call, from 0.
        head: which query head, from 0; None: all of them.
        queries: some query rows, a slice or positions; None: all of them.
        keys: some key columns; None: all of them.
        dtype: what stored vectors are computed with; None: their own.

    Returns:
        The selection.

    Raises:
        InspectorError: a value is of the wrong type or does not exist, or the layer's vectors are not stored.
    """
    found = stored_layer(stored, layer)
    if head is not None:
        last = found.info.heads - 1
        number = whole_number(head)
        if number is None:
            raise InspectorError(
                f"head={shown(head)} is not a whole number: layer {layer} has heads 0 to {last}; None means all."
            )
        if not 0 <= number <= last:
            raise InspectorError(f"Head {number} does not exist: layer {layer} has heads 0 to {last}.")
        head = number
    return Selection(found, head, _rows(queries, n), _columns(keys), dtype)


def stored_layer(stored: Sequence[Layer], layer: int) -> Layer:
    """Return one layer of a trace.

    Args:
        stored: the layers of the trace.
        layer: which attention call, from 0.

    Returns:
        The layer, with its vectors.

    Raises:
        InspectorError: there is no such layer, or its vectors are not stored.
    """
    number = whole_number(layer)
    if number is None:
        raise InspectorError(
            f"layer={shown(layer)} is not a whole number: this model has layers 0 to {len(stored) - 1}."
        )
    if not 0 <= number < len(stored):
        raise InspectorError(f"Layer {number} does not exist: this model has layers 0 to {len(stored) - 1}.")
    if not stored[number].has_vectors:
        others = ", ".join(str(one.info.index) for one in stored if one.has_vectors)
        raise InspectorError(
            f"Layer {number} is not stored: this trace has layer {others}; trace again with layers=[{number}]."
        )
    return stored[number]


def _rows(queries: Rows | None, n: int) -> slice | list[int]:
    if queries is None:
        return slice(None)
    if isinstance(queries, slice):
        return _forward(queries, "queries")
    number = whole_number(queries) if getattr(queries, "ndim", 0) == 0 else None
    if number is not None:
        raise InspectorError(
            f"queries={number} is neither a slice nor a list of positions: for one query token give "
            f"slice({number}, {number + 1})."
        )
    items: list[Any] = []
    if isinstance(queries, Iterable) and not isinstance(queries, str | bytes | dict | set):
        items = list(queries)
    positions = [position for position in map(whole_number, items) if position is not None]
    if not positions or len(positions) < len(items):
        raise InspectorError(
            f"queries={shown(queries)} is neither a slice nor a list of positions: give slice(0, 5) or [0, 4]."
        )
    wrong = next((position for position in positions if not -n <= position < n), None)
    if wrong is not None:
        raise InspectorError(f"Query token {wrong} does not exist: this prompt has tokens 0 to {n - 1}.")
    return [position % n for position in positions]


def _columns(keys: slice | None) -> slice:
    if keys is None:
        return slice(None)
    if not isinstance(keys, slice):
        raise InspectorError(f"keys={shown(keys)} is not a slice: give one, such as slice(0, 5).")
    return _forward(keys, "keys")


def _forward(part: slice, name: str) -> slice:
    """Return a slice of whole numbers that runs forward; refuse any other."""
    ends = [whole_number(end) for end in (part.start, part.stop, part.step)]
    for end, number in zip((part.start, part.stop, part.step), ends, strict=True):
        if end is not None and number is None:
            raise InspectorError(f"{name}={shown(part)} has {shown(end)} in it, which is not a whole number.")
    if ends[2] is not None and ends[2] < 1:
        raise InspectorError(
            f"{name}={shown(part)} runs backwards: give positions in rising order, such as slice(0, 5)."
        )
    return slice(*ends)

"""What is known of one attention call: as recorded (Call), as a trace stores it (Layer), and its facts (LayerInfo).

All tensors are head-first with the batch dimension taken off: [h, t, d] for h query heads, [g, s, d] for g key/value
heads, [t, m] for vectors of the model's width.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from inspector.capture.masks import KeptMask, Mask

OnLayer = Callable[[int, int], None]


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
    sinks: Tensor | None  # [h], or [h, t] where they depend on the input
    window: int | None
    bias: Tensor | None = None  # [h or 1, t or 1, s], added to the scaled scores
    wanted: bool = True  # whether it is one of those of which something is kept
    ordinal: int = 0  # which of the calls that its module makes in one run of itself, from 0
    key_of: Call | None = None  # the earlier call whose key this is, where layers share keys
    weights: Tensor | None = None  # [h, t, s] and
    context: Tensor | None = None  # [h, t, d]: only from the module's own eager function, when a recorder asks for it
    input: Tensor | None = None  # [t, m]
    output: Tensor | None = None  # [t, m]
    residual: Tensor | None = None  # [t, m], what the block received
    entered: Entered | None = None  # how the module was called, to run it again
    unexplained: str = ""  # why this record does not account for what the library computed; empty: it does


@dataclass(frozen=True)
class Entered:
    """The arguments an attention module was called with, by name: kept so that nothing n x n is among them and that
    nothing the pass writes later changes them."""

    hidden_states: Tensor  # [1, t, m], one of the arguments
    kept: Mapping[str, Any]

    def arguments(self) -> dict[str, Any]:
        """The arguments as they were, ready to be given once more."""

        def given(value: Any) -> Any:
            if isinstance(value, KeptMask):
                return value.tensor()
            return each_item(given, value)

        return {name: given(value) for name, value in self.kept.items()}


@dataclass(frozen=True)
class LayerInfo:
    """One attention call of the model. `index` counts calls from 0; `block` is the decoder block it stands in.

    name:   the attention module's. repeat: how often that module has attended before, in this pass.
    window: how many tokens back a query may look, itself counted (None: to the first).
    chunk:  queries look at their own stretch of so many positions only (None: there are no stretches).
    rope:   positions turn queries here, as measured (None: it cannot be told).
    scale multiplies scores; bias: the model adds to them. d_value is the value vectors' width.
    """

    index: int
    name: str
    block: int
    heads: int
    kv_heads: int
    d_head: int
    d_value: int
    window: int | None
    scale: float
    softcap: float | None
    sinks: bool
    rope: bool | None
    chunk: int | None = None
    bias: bool = False
    repeat: int = 0

    def kv_head(self, head: int) -> int:
        """Which key/value head this query head uses."""
        return head // (self.heads // self.kv_heads)


@dataclass
class Layer:
    """What is kept of one layer. `before` holds query and key before rotation once they were asked for."""

    info: LayerInfo
    query: Tensor  # [h, t, d]
    key: Tensor  # [g, s, d]
    value: Tensor  # [g, s, d_value]
    mask: Mask
    sinks: Tensor | None = None  # [h], or [h, t] where they depend on the input
    bias: Tensor | None = None  # [h or 1, t or 1, s], added to the scaled scores
    input: Tensor | None = None  # [t, m]
    output: Tensor | None = None  # [t, m]
    residual: Tensor | None = None  # [t, m]
    before: tuple[Tensor, Tensor] | None = None
    unexplained: str = ""  # why weights computed from this would not be the library's; empty: they are
    call: Call | None = field(default=None, repr=False)

    @property
    def has_vectors(self) -> bool:
        """Whether its vectors were kept; else only `info` is known."""
        return self.query.shape[1] > 0


def each_item(change: Callable[[Any], Any], value: Any) -> Any:
    """Return the value, or a copy of a tuple or dictionary with `change` made to each of its items."""
    if type(value) is tuple:
        return tuple(change(item) for item in value)
    if type(value) is dict or isinstance(value, UserDict):
        return type(value)({name: change(item) for name, item in value.items()})
    return value

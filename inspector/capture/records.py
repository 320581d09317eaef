"""Hold what is known of one attention call: while it is recorded (Call), stored (Layer), and its facts (LayerInfo).

All tensors are head-first with the batch dimension taken off: [h, t, d] for h query heads, [g, s, d] for g key/value
heads, [t, m] for vectors of the model's width.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from torch import Tensor, nn

from inspector.capture.masks import Mask, StoredMask

OnLayer = Callable[[int, int], None]  # (attention calls done, how many there will be or 0)


@dataclass(kw_only=True)
class Recorded:
    """The part that a call and a stored layer have in common: everything that goes into a trace file."""

    query: Tensor  # [h, t, d], rotated
    key: Tensor  # [g, s, d], rotated
    value: Tensor  # [g, s, d_value]
    mask: Mask
    sinks: Tensor | None = None  # [h], or [h, t] where they depend on the input
    bias: Tensor | None = None  # [h or 1, t or 1, s], added to the scaled scores
    input: Tensor | None = None  # [t, m], what the attention module received
    output: Tensor | None = None  # [t, m], what it returned
    residual: Tensor | None = None  # [t, m], what its block received
    update: Tensor | None = None  # [t, m], what was added to that for attention
    edited_context: Tensor | None = None  # [h, t, d_value], what an edit of weights or context made of them
    unexplained: str = ""  # why weights computed from this would not be the library's; empty: they are

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every tensor that is stored, with its name."""
        for one in fields(Recorded):
            value = getattr(self, one.name)
            if isinstance(value, Tensor):
                yield one.name, value


@dataclass(kw_only=True, repr=False)
class Call(Recorded):
    """One attention call of a pass that is being recorded. Tensors are the library's own, by reference.

    stored:  whether anything of this call is stored.
    ordinal: which of the calls that its module makes in one run of itself, from 0.
    key_of:  the earlier call whose key this is, where layers share keys.
    weights, context: only from the module's own eager function, where a recorder asks for them.
    arguments: how the module was called, to run it again.
    """

    module: nn.Module
    scale: float
    softcap: float | None = None
    window: int | None = None
    stored: bool = True
    ordinal: int = 0
    key_of: Call | None = None
    weights: Tensor | None = None  # [h, t, s]
    context: Tensor | None = None  # [h, t, d_value]
    arguments: ModuleArguments | None = None

    def __repr__(self) -> str:
        return f"Call of {type(self.module).__name__}: {_shapes(self)}"


@dataclass(frozen=True, repr=False)
class ModuleArguments:
    """The arguments that an attention module was called with, so that it can be run again.

    Nothing n x n is among them (masks are stored as rules), and nothing that the pass writes later changes them.
    """

    hidden_states: Tensor  # [1, t, m], one of the arguments
    by_name: Mapping[str, Any]

    def restored(self) -> dict[str, Any]:
        """Return the arguments as they were, masks as tensors again."""

        def restore(value: Any) -> Any:
            return value.tensor() if isinstance(value, StoredMask) else each_item(restore, value)

        return {name: restore(value) for name, value in self.by_name.items()}

    def __repr__(self) -> str:
        return f"ModuleArguments({', '.join(self.by_name)})"


@dataclass(frozen=True, repr=False)
class LayerInfo:
    """The facts of one attention call of the model. `index` counts calls from 0; `block` is its decoder block.

    name:   the attention module's. repeat: how often that module has attended before, in this pass.
    window: how many tokens back a query may look, itself counted (None: to the first).
    chunk:  queries look at their own stretch of so many positions only (None: there are no stretches).
    rope:   positions rotate queries here, as measured (None: it cannot be told).
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
        """Return the key/value head that a query head uses."""
        return head // (self.heads // self.kv_heads)

    def __repr__(self) -> str:
        options = [f"window {self.window}"] if self.window else []
        options += [f"chunks of {self.chunk}"] if self.chunk else []
        options += [name for name in ("sinks", "bias") if getattr(self, name)]
        options += [f"soft-cap {self.softcap}"] if self.softcap else []
        rope = "RoPE unknown" if self.rope is None else "RoPE" if self.rope else "no RoPE"
        return (
            f"LayerInfo {self.index} ({self.name}): {self.heads} heads, {self.kv_heads} key/value heads, d_head "
            f"{self.d_head}, d_value {self.d_value}, {', '.join([rope, *options])}"
        )


@dataclass(kw_only=True, repr=False)
class Layer(Recorded):
    """What a trace stores of one attention call.

    before: query and key before rotation, once they were asked for.
    call:   the call it was made from, where that can be run again; a trace from a file has none.
    """

    info: LayerInfo
    before: tuple[Tensor, Tensor] | None = None
    call: Call | None = field(default=None)

    @property
    def has_vectors(self) -> bool:
        """Whether its vectors are stored; else only `info` is known."""
        return self.query.shape[1] > 0

    @property
    def one_mask(self) -> bool:
        """Whether all query heads may look at the same keys."""
        return not (isinstance(self.mask, Tensor) and self.mask.ndim == 3)

    def __repr__(self) -> str:
        stored = _shapes(self) if self.has_vectors else "no vectors stored"
        return f"Layer {self.info.index} ({self.info.name}): {stored}"


def each_item(change: Callable[[Any], Any], value: Any) -> Any:
    """Return the value, or a copy of a tuple or dictionary with `change` made to each of its items."""
    if type(value) is tuple:
        return tuple(change(item) for item in value)
    if type(value) is dict or isinstance(value, UserDict):
        return type(value)({name: change(item) for name, item in value.items()})
    return value


def _shapes(recorded: Recorded) -> str:
    return ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in recorded.tensors())

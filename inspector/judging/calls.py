"""Call somebody's function, module or object for one layer at a time, in the form that its signature asks for.

Each call gets a copy of the attention input. What an answer may be (one array, a pair, a mapping) is read here; its
axes are read in layouts.py, against the model's shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from inspector.errors import InspectorError
from inspector.judging.guarded_call import guarded
from inspector.judging.layouts import as_tensor
from inspector.judging.signatures import form_of
from inspector.judging.stage_names import OF_A_CACHE, by_our_names


class Called:
    """Somebody's callables, one for all layers or one for each.

    Args:
        functions: one for all layers, or layer -> the layer's own.
        said: how it was read.
    """

    def __init__(
        self, functions: Callable[..., Any] | Mapping[int, Callable[..., Any]], said: Sequence[str] = ()
    ) -> None:
        self.functions = functions
        self.said: tuple[str, ...] = tuple(said)
        one = next(iter(functions.values())) if isinstance(functions, Mapping) else functions
        self.form = form_of(one)
        self.owner = functions if callable(getattr(functions, "reset", None)) else None
        self.layers = tuple(sorted(functions)) if isinstance(functions, Mapping) else None
        self.for_one_layer = self.layers is None and self.form.layer is None and not self.form.layer_by_place
        self._past: dict[int, Any] = {}

    @property
    def continues(self) -> str:
        """How it goes on after earlier tokens: "reset", "past", or empty where it cannot."""
        if self.owner is not None:
            return "reset"
        return "past" if self.form.past else ""

    def input(self, layer: int) -> Tensor | None:
        """Return None: a callable hands over no input of its own."""
        del layer
        return None

    def begin(self) -> None:
        """Forget all earlier tokens."""
        self._past = {}
        if self.owner is not None:
            self.owner.reset()  # type: ignore[union-attr]

    def answer(self, layer: int, x: Tensor) -> Mapping[str, Tensor]:
        """Return its stages for the whole text x [n, m] of one layer."""
        return self.go_on(layer, x, start=0)

    def go_on(self, layer: int, x: Tensor, *, start: int, padding: Tensor | None = None) -> Mapping[str, Tensor]:
        """Return its stages for new tokens that follow those it has seen since `begin`.

        Args:
            layer: the attention layer.
            x: the new tokens' attention input [t, m].
            start: how many tokens came before.
            padding: [t], 1 where a token stands and 0 where only padding; None where there is no padding.

        Returns:
            The stages by our names.

        Raises:
            InspectorError: it raised something, or returned nothing that can be read.
        """
        positions = torch.arange(start, start + x.shape[0], device=x.device)
        if padding is not None:
            positions = (padding.cumsum(0) - 1).clamp_min(0)
        arguments: dict[str, Any] = {}
        if self.form.start:
            arguments[self.form.start] = start
        if self.form.padding and padding is not None:
            arguments[self.form.padding] = padding[None] if self.form.batch else padding
        return self._called(layer, x, positions, arguments)

    def attached(self, layer: int, x: Tensor) -> Mapping[str, Tensor]:
        """Return its stages for the whole text x [n, m] with autograd's graph behind them."""
        self.begin()
        start = {self.form.start: 0} if self.form.start else {}
        return self._called(layer, x, torch.arange(x.shape[0], device=x.device), start, gradients=True)

    def packed(self, layer: int, x: Tensor, lengths: Sequence[int]) -> Mapping[str, Tensor]:
        """Return its stages for several texts in one row x [t, m], each of which begins anew.

        Args:
            layer: the attention layer.
            x: the texts' attention inputs, one after the other.
            lengths: how long each text is.

        Returns:
            The stages by our names.
        """
        form, device = self.form, x.device
        counts = torch.tensor(list(lengths), dtype=torch.int32, device=device)
        seams = torch.cat((counts.new_zeros(1), counts.cumsum(0, dtype=torch.int32)))
        texts = torch.repeat_interleave(torch.arange(len(lengths), device=device), counts)
        arguments: dict[str, Any] = dict.fromkeys(form.seams, seams)
        arguments |= dict.fromkeys(form.longest, max(lengths))
        if form.lengths:
            arguments[form.lengths] = counts
        if form.texts:
            arguments[form.texts] = texts[None] if form.batch else texts
        if form.start:
            arguments[form.start] = 0
        positions = torch.cat([torch.arange(length, device=device) for length in lengths])
        self.begin()
        return self._called(layer, x, positions, arguments)

    def _called(
        self, layer: int, x: Tensor, positions: Tensor, arguments: dict[str, Any], *, gradients: bool = False
    ) -> Mapping[str, Tensor]:
        """Call its function for one layer, and read what it returned."""
        function = self.functions[layer] if isinstance(self.functions, Mapping) else self.functions
        form = self.form
        given = x.clone()[None] if form.batch else x.clone()
        if form.layer:
            arguments[form.layer] = layer
        if form.positions:
            arguments[form.positions] = positions[None] if form.batch else positions
        if form.past:
            arguments[form.past] = self._past.get(layer)
        places = (layer,) if form.layer_by_place and not form.layer else ()
        for name in form.needed:  # one text is all there is, unless it is told otherwise
            arguments.setdefault(name, self._one_text(name, x))
        found = guarded(function, layer, given, (given, *places), arguments, gradients=gradients)
        if form.past:
            self._past[layer] = past_of(found)
        stages, said = stages_of(found, f"layer {layer}", has_past=bool(form.past), attached=gradients)
        self._say(said)
        return stages

    def _one_text(self, name: str, x: Tensor) -> Any:
        """Return what says that x [t, m] is one text, for a parameter of this name."""
        n, device = x.shape[0], x.device
        if name in self.form.longest:
            return n
        if name == self.form.texts:
            texts = torch.zeros(n, dtype=torch.long, device=device)
            return texts[None] if self.form.batch else texts
        return torch.tensor([n] if name == self.form.lengths else [0, n], dtype=torch.int32, device=device)

    def _say(self, sentences: Sequence[str]) -> None:
        self.said += tuple(sentence for sentence in sentences if sentence not in self.said)


def past_of(found: Any) -> Any:
    """Return what a function gives back as its cache: what is named "past", or the last of a tuple."""
    if isinstance(found, Mapping):
        return next((found[name] for name in found if str(name).lower() in OF_A_CACHE | {"past_key_value"}), None)
    return found[-1] if isinstance(found, tuple | list) and len(found) > 1 else None


def stages_of(
    found: Any, where: str, *, has_past: bool = False, attached: bool = False
) -> tuple[dict[str, Tensor], list[str]]:
    """Read what somebody returned as stages.

    Args:
        found: an array (the output), a pair (output, weights), or a mapping of stages; past any number of wrappers of
            one item.
        where: for sentences, such as "layer 3".
        has_past: the last of a tuple is the cache.
        attached: keep autograd's graph behind tensors of torch.

    Returns:
        Stages by our names, and sentences on how they were read.

    Raises:
        InspectorError: nothing of it can be read.
    """
    said: list[str] = []
    if isinstance(found, Mapping):
        named, said = by_our_names(found, f"your attention at {where}")
    elif hasattr(found, "_asdict"):
        named, said = by_our_names(found._asdict(), f"your attention at {where}")
    elif isinstance(found, tuple | list) and found and not isinstance(found[0], int | float | list):
        parts = list(found[:-1] if has_past and len(found) > 1 else found)
        if not parts:
            raise InspectorError(f"Your attention returned an empty pair at {where}: return the output first.")
        named = {"output": parts[0]}
        if len(parts) > 1 and hasattr(parts[1], "shape"):
            named["weights"] = parts[1]
            said.append("the pair was read as (output, weights)")
    else:
        named = {"output": found}
    stages = {stage: as_tensor(each, f"your {stage} at {where}", attached=attached) for stage, each in named.items()}
    return stages, said

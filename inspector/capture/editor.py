"""Carry out edits of attention while a model runs: at the seam, call by call, without touching the model.

Edits of queries, keys, values and head outputs act before and after the attention function, which stays as configured.
Edits of the mask and of weights act inside it: these layers attend by their module's own eager function. A baseline is
an Editor of the same `explicit` layers without edits, and takes the same path. Positions are those in the whole text;
with the key/value cache, a pass sees a part of the rows, and of a sliding layer's keys.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from inspector.capture.attention_inputs import AttentionInputs
from inspector.capture.edit_places import BoundEdit
from inspector.capture.edited_call import EditedCall
from inspector.capture.rotation_edits import Rotations


class Editor:
    """Carry out edits in one pass, or in the passes of one generation; each run needs an Editor of its own.

    After the run, `remainders` has for an edit's number by how much the law that it obeys was missed, where `laws`
    asked for that; and `collected` the tensors that `collect` asked for, by layer and name.
    """

    def __init__(
        self,
        edits: Sequence[BoundEdit],
        places: Mapping[int, Sequence[int]],
        *,
        n: int,
        explicit: Collection[int] = (),
        collect: Mapping[int, Collection[str]] | None = None,
        laws: bool = False,
        past: int = 0,
    ) -> None:
        """Prepare one run.

        Args:
            edits: what is changed, in this order.
            places: the layers that each attention module computes, by its id().
            n: how many tokens the prompt has; those after it are new.
            explicit: layers that attend by their own eager function, beside those whose edits ask for it.
            collect: for each layer the names of tensors to collect: query, key, value, weights, context.
            laws: measure by how much each edit's law is missed.
            past: how many tokens of the text the key/value cache has before this run.
        """
        self.n, self.laws, self._past = n, laws, past
        self.remainders: dict[int, float] = {}
        self.collected: dict[int, dict[str, Tensor]] = {}
        self.places, self._collect = places, collect or {}
        self._explicit = frozenset(explicit) | {i for one in edits if one.edit.explicit for i in one.edit.layers or ()}
        self._at_seam: dict[int, list[tuple[int, BoundEdit]]] = {}
        self.rotations = Rotations(n)
        for number, one in enumerate(edits):
            for layer in one.edit.layers or ():
                if one.edit.stage == "rotation":
                    self.rotations.add(layer, one.edit)
                else:
                    self._at_seam.setdefault(layer, []).append((number, one))
        self._calls: dict[int, int] = {}  # how often each module has attended
        self._tokens: dict[int, int] = {}  # how many tokens each layer has seen

    def call(self, inputs: AttentionInputs) -> EditedCall | None:
        """Edit what the library hands to an attention function.

        Args:
            inputs: as the library hands it.

        Returns:
            The call with its inputs edited; None where nothing is done in this layer.
        """
        layers = self.places.get(id(inputs.module))
        if layers is None:
            return None
        count = self._calls.get(id(inputs.module), 0)
        self._calls[id(inputs.module)] = count + 1
        layer = layers[count % len(layers)]
        t, s = inputs.query.shape[-2], inputs.key.shape[-2]
        past = (
            0 if t == s else self._tokens.get(layer, self._past)
        )  # a whole text again: the model handed back no cache
        self._tokens[layer] = past + t
        mine, wanted = self._at_seam.get(layer, ()), self._collect.get(layer, ())
        explicit = layer in self._explicit
        if not mine and not wanted and not explicit:
            return None
        call = EditedCall(inputs, mine, layer=layer, past=past, n=self.n, explicit=explicit, wanted=wanted)
        call.remainders = self.remainders if self.laws else None
        call.collected = self.collected
        call.begin()
        return call

    def arguments(self, module: nn.Module, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
        """Edit the arguments of an attention module: how far it is told to rotate.

        Args:
            module: the attention module.
            arguments: by name.

        Returns:
            What replaces some of them, by name; None where nothing does.
        """
        layers = self.places.get(id(module), ())
        return self.rotations.changed(layers[0], arguments) if layers and self.rotations else None

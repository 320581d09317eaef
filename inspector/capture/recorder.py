"""Record the attention calls of one forward pass: queries, keys and values, and what else a Storage asks for.

Nearly every decoder in transformers 5 asks one method for the function that attends, once per attention layer, and
calls it with queries and keys already rotated (attention_interface.py): a recorder notes them by reference, before the
same function is called. No n x n tensor is stored: a mask is stored as a rule.

What that function does not see (a layer's input and output, the residual) comes from hooks (hooks.py). Modules that
attend in their own code are watched from such hooks (torch_functions.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from transformers.cache_utils import Cache

from inspector.capture.attention_inputs import AttentionInputs
from inspector.capture.completeness import unexplained
from inspector.capture.edited_call import EditedCall
from inspector.capture.listener import Listener
from inspector.capture.masks import StoredMask, read_mask
from inspector.capture.records import Call, ModuleArguments, OnLayer, each_item
from inspector.capture.storage import VECTORS_ALONE, Storage
from inspector.capture.torch_functions import Attended, Watch


@dataclass
class _Run:
    """One run of an attention module, while it lasts."""

    hidden_states: Tensor  # [1, t, m]
    arguments: ModuleArguments | None
    calls: list[Call] = field(default_factory=list)


class Recorder(Listener):
    """Record the attention calls of one forward pass in one thread, as much of each as `storage` says."""

    def __init__(self, storage: Storage = VECTORS_ALONE, *, on_layer: OnLayer | None = None, total: int = 0) -> None:
        super().__init__(on_layer=on_layer, total=total)
        self.storage = storage
        self._asked: list[Call] = []  # through the seam
        self._own: list[Call] = []  # seen in modules' own code
        self._runs: dict[int, _Run] = {}
        self._residuals: dict[int, Tensor] = {}
        self._masks: dict[int, tuple[Tensor, StoredMask | Tensor]] = {}  # one mask serves many layers
        self._keys: dict[tuple[int, torch.Size], tuple[Call, StorageWeakRef]] = {}
        self._hidden: torch.Size | None = None  # [1, t, m] of what the last block received

    @property
    def calls(self) -> list[Call]:
        """The attention calls so far.

        A model that asks the interface attends there: what else looks like attention in it (a mixture of earlier
        layers, pooling) is not of tokens to tokens.
        """
        return self._asked or self._own

    @property
    def done(self) -> int:
        """How many attention calls have been recorded."""
        return len(self.calls)

    # -- through the seam -----------------------------------------------------------------------------------------

    def begin(self, inputs: AttentionInputs) -> Call | None:
        """Record queries, keys and values, and read the mask; None where it is not attention of tokens to tokens."""
        if self._over_depth(inputs):
            return None
        options = inputs.options
        scale, sinks, added = options.get("scaling"), options.get("s_aux"), options.get("position_bias")
        rule, bias = read_mask(
            inputs.module, inputs.query, inputs.key, inputs.mask, options, every_row=inputs.mask_edited
        )
        if added is not None:
            bias = added[0] if bias is None else added[0] + bias
        if sinks is None:
            sinks = options.get("sinks")
        call = Call(
            module=inputs.module,
            query=inputs.query[0],
            key=inputs.key[0],
            value=inputs.value[0],
            scale=float(scale) if scale is not None else inputs.query.shape[-1] ** -0.5,
            mask=rule,
            softcap=options.get("softcap"),
            sinks=sinks if sinks is None or sinks.ndim == 1 else sinks.reshape(inputs.query.shape[1], -1),
            window=options.get("sliding_window"),
            bias=bias,
        )
        self.add(call, self._asked)
        return call

    def _over_depth(self, inputs: AttentionInputs) -> bool:
        """Return whether each token attends by itself, to what earlier layers made of it (Inkling 2).

        Tokens then stand in the place of heads, as whole hidden vectors: [1, t, queries, m] to [1, t, layers, m].
        """
        if self._hidden is None or id(inputs.module) in self._runs:
            return False
        return (inputs.query.shape[1], inputs.query.shape[-1]) == tuple(self._hidden[1:])

    def end(self, call: Call, inputs: AttentionInputs, result: Any) -> None:
        """Check that the record explains the function's result, and let go of what is not to be stored."""
        self._finish(call, result[0][0, -1], inputs.options)

    def note_edit(self, call: Call, edited: EditedCall, result: Any) -> None:
        """Store the context that the model went on with, and say where queries and keys no longer tell the weights."""
        if edited.weights_edited:
            call.unexplained = "its weights were edited, and weights are drawn from queries and keys"
        if edited.context_edited and call.stored and self.storage.vectors:
            call.edited_context = self.storage.shorter(result[0][0].transpose(0, 1), len(self.calls) - 1)

    def add(self, call: Call, calls: list[Call]) -> None:
        """Put a call in its place: among this run's of its module, and among all."""
        call.stored = self.storage.includes(len(calls))
        call.residual = self._residuals.get(id(call.module)) if call.stored else None
        if run := self._runs.get(id(call.module)):
            call.ordinal = len(run.calls)
            run.calls.append(call)
            if run.arguments is not None and call.stored:
                call.input, call.arguments = run.hidden_states[0], run.arguments
        place = (call.key.data_ptr(), call.key.shape)
        earlier = self._keys.get(place)
        if earlier is not None and not earlier[1].expired():  # expired: freed, and its memory used again
            call.key_of = earlier[0]
        else:
            self._keys[place] = (call, StorageWeakRef(call.key.untyped_storage()))
        calls.append(call)

    def _finish(self, call: Call, last_context: Tensor, options: Mapping[str, Any]) -> None:
        """Check a record against what the model made of the last query [h, d_value]; then store what is wanted."""
        call.unexplained = unexplained(call, last_context, options)
        self.storage.reduce(call, len(self.calls) - 1)

    # -- from the hooks -------------------------------------------------------------------------------------------

    def enter_attention(self, module: nn.Module, hidden_states: Tensor, arguments: Mapping[str, Any]) -> None:
        """Note an attention module's input."""
        stored = None
        if "input" in self.storage.keep:
            by_name = {name: self._argument(value) for name, value in arguments.items()}
            stored = ModuleArguments(hidden_states, by_name)
        self._runs[id(module)] = _Run(hidden_states, stored)

    def _argument(self, value: Any) -> Any:
        """Return an argument as it is worth storing.

        Masks become rules; a cache is left out (it would hold more than this layer); dictionaries are copied (some
        models hand one from layer to layer and write into it).
        """
        if isinstance(value, Tensor) and value.ndim == 4:
            if id(value) not in self._masks:
                self._masks[id(value)] = (value, StoredMask.of(value))
            return self._masks[id(value)][1]
        return None if isinstance(value, Cache) else each_item(self._argument, value)

    def leave_attention(self, module: nn.Module, output: Any) -> None:
        """Note an attention module's output."""
        run = self._runs.pop(id(module), None)
        tensor = output[0] if isinstance(output, tuple | list) else output
        if run is not None and "output" in self.storage.keep and isinstance(tensor, Tensor):
            for call in run.calls:
                if call.stored:
                    call.output = tensor[0]

    def enter_block(self, attention: nn.Module | None, hidden_states: Tensor) -> None:
        """Note what a block received: the residual stream before it."""
        self._hidden = hidden_states.shape
        if "residual" in self.storage.keep and attention is not None:
            self._residuals[id(attention)] = hidden_states[0]

    # -- in modules' own code -------------------------------------------------------------------------------------

    def new_watch(self) -> Watch:
        """Watch for attention in what a module computes."""
        return Watch(self._seen)

    def call_of(self, found: Attended) -> Call:
        """Make a call of an attention that was seen in the innermost watched module's own code."""
        return Call(
            module=self._watched[-1],
            query=found.query,
            key=found.key,
            value=found.value,
            scale=found.scale,
            mask=found.mask,
            bias=found.bias,
        )

    def _seen(self, found: Attended) -> None:
        call = self.call_of(found)
        self.add(call, self._own)
        self._finish(call, found.context[:, -1], {})
        self.report()

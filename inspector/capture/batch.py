"""Record a pass over several texts of equal length at once: each row of the batch as if it had run alone.

No text is padded, so no row needs a mask of its own, and each row's attention is that of a single text. What a batch
can change is the order in which the library's matrix products add up: the last bits (docs/batches.md has counts).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from inspector.capture.attention_inputs import AttentionInputs
from inspector.capture.listener import Listener
from inspector.capture.recorder import Recorder
from inspector.capture.records import Call, OnLayer
from inspector.capture.storage import VECTORS_ALONE, Storage


class BatchRecorder(Listener):
    """Record the attention calls of one pass over a batch [b, n], with a Recorder for each row.

    A subclass may use a layer's calls while their vectors are there, in `layer_done`, and store nothing.
    """

    def __init__(
        self, rows: int, storage: Storage = VECTORS_ALONE, *, on_layer: OnLayer | None = None, total: int = 0
    ) -> None:
        """Prepare one pass.

        Args:
            rows: how many texts the batch has.
            storage: what is stored of each call; inputs cannot be (they could not be run again row by row).
            on_layer: called with (attention calls done, total) after each call; what it raises ends the pass.
            total: how many calls there will be (0: it is not known).
        """
        super().__init__(on_layer=on_layer, total=total)
        self.rows = [Recorder(storage) for _ in range(rows)]
        self._calls: list[Call] = []  # of the layer that is being computed, one for each row

    @property
    def done(self) -> int:
        """How many attention calls have been recorded."""
        return self.rows[0].done

    def begin(self, inputs: AttentionInputs) -> Call | None:
        """Record each row's queries, keys and values; None where it is not attention of tokens to tokens."""
        if len(inputs.query) != len(self.rows):
            raise RuntimeError(f"a layer attends in {len(inputs.query)} rows where the batch has {len(self.rows)}")
        found = [row.begin(part) for row, part in zip(self.rows, rows_of(inputs), strict=True)]
        self._calls = [call for call in found if call is not None]
        return self._calls[0] if self._calls else None

    def end(self, call: Call, inputs: AttentionInputs, result: Any) -> None:
        """Use the layer, then check each row's record and let go of what is not to be stored."""
        del call  # the first of these
        self.layer_done(self._calls, inputs, result[0])
        for number, (row, one) in enumerate(zip(self.rows, self._calls, strict=True)):
            row.end(one, inputs, (result[0][number : number + 1], None))

    def layer_done(self, calls: Sequence[Call], inputs: AttentionInputs, context: Tensor) -> None:
        """Use a layer's vectors before they are let go; nothing here.

        Args:
            calls: one for each row of the batch.
            inputs: what the library handed to its attention function, all rows in one.
            context: what that returned, [b, t, h, d_value].
        """

    def enter_attention(self, module: nn.Module, hidden_states: Tensor, arguments: Mapping[str, Any]) -> None:
        """Note that an attention module runs, for each row."""
        del arguments  # of all rows at once
        for number, row in enumerate(self.rows):
            row.enter_attention(module, hidden_states[number : number + 1], {})

    def leave_attention(self, module: nn.Module, output: Any) -> None:
        """Note each row of an attention module's output."""
        tensor = output[0] if isinstance(output, tuple | list) else output
        for number, row in enumerate(self.rows):
            row.leave_attention(module, tensor[number : number + 1] if isinstance(tensor, Tensor) else None)

    def enter_block(self, attention: nn.Module | None, hidden_states: Tensor) -> None:
        """Note each row of what a block received."""
        for number, row in enumerate(self.rows):
            row.enter_block(attention, hidden_states[number : number + 1])


def rows_of(inputs: AttentionInputs) -> list[AttentionInputs]:
    """Cut a batch's attention call into calls of one row each.

    Args:
        inputs: of the batch.

    Returns:
        One for each row, whose tensors are parts of the batch's.
    """
    count = len(inputs.query)

    def row(value: Any, number: int) -> Any:
        of_batch = isinstance(value, Tensor) and value.ndim == 4 and len(value) == count
        return value[number : number + 1] if of_batch else value

    return [
        replace(
            inputs,
            query=inputs.query[number : number + 1],
            key=inputs.key[number : number + 1],
            value=inputs.value[number : number + 1],
            mask=row(inputs.mask, number),
            options={name: row(value, number) for name, value in inputs.options.items()},
        )
        for number in range(count)
    ]

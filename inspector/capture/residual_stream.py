"""Record the residual stream around one layer's attention for one token, in one forward pass.

That is the token's embedding, what the block and the attention receive, what the attention returns, and where that is
added.

Only this token's vectors are stored, so that a prompt of any length costs no more than the pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from inspector.capture.listener import Listener

if TYPE_CHECKING:
    from inspector.capture.records import LayerInfo


@dataclass
class ResidualStream:
    """One token's vectors around one layer's attention, each [d_model], None where the pass did not show it.

    embedding: what the model's first block receives. residual: what this block receives. input: what its attention
    receives. output: the attention output. next_residual: what the next block receives, with attention or without.
    added_to: the part of the block that is called with exactly residual + output, in every element, which shows that
    the model adds the one to the other; empty where no part is (a norm or a factor stands between, or attention runs
    beside the rest of the block).
    """

    embedding: Tensor | None = None
    residual: Tensor | None = None
    input: Tensor | None = None
    output: Tensor | None = None
    next_residual: Tensor | None = None
    added_to: str = ""
    outcome: Tensor | None = None
    marks: Tensor | None = None


class ResidualStreamRecorder(Listener):
    """Fill a ResidualStream during one forward pass. `module` attends for `layer`; `position` is the token's."""

    def __init__(self, module: nn.Module, layer: LayerInfo, position: int) -> None:
        super().__init__()
        self.found = ResidualStream()
        self._module, self._position = module, position
        self._runs_to_go = layer.repeat  # of the module, before the one that is meant
        self._inside = False  # its block: attention has ended, the next block has not begun

    def _row(self, hidden_states: Tensor) -> Tensor:
        return hidden_states[0, self._position].clone()  # a model may add to it in place later

    def enter_block(self, attention: nn.Module | None, hidden_states: Tensor) -> None:
        """Note what the first block, this block and the next one receive."""
        found = self.found
        if found.embedding is None:
            found.embedding = self._row(hidden_states)
        if found.output is not None:
            self._inside = False
            if found.next_residual is None:
                found.next_residual = self._row(hidden_states)
        elif attention is self._module and self._runs_to_go == 0:
            found.residual = self._row(hidden_states)

    def enter_attention(self, module: nn.Module, hidden_states: Tensor, _: Mapping[str, Any]) -> None:
        """Note what the attention receives."""
        if module is self._module and self._runs_to_go == 0:
            self.found.input = self._row(hidden_states)

    def leave_attention(self, module: nn.Module, output: Any) -> None:
        """Note what the attention returns."""
        if module is not self._module:
            return
        tensor = output[0] if isinstance(output, tuple | list) else output
        if self._runs_to_go == 0 and isinstance(tensor, Tensor):
            self.found.output = self._row(tensor)
            self._inside = True
        self._runs_to_go -= 1

    def enter_part(self, attention: nn.Module | None, name: str, hidden_states: Tensor) -> None:
        """Note the part of the block that receives residual + output."""
        found = self.found
        if not self._inside or attention is not self._module or found.added_to:
            return
        if found.residual is None or found.output is None:
            return
        received = hidden_states[0, self._position]
        if received.shape == found.residual.shape and torch.equal(received, found.residual + found.output):
            found.added_to = name

"""Find what each layer's attention adds to the residual stream, in one forward pass.

That is the attention output, or what another part of the block makes of it (a norm) before it is added. It is found by
its sum with the residual, which must be what the block goes on with, in every element: no model is known by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from inspector.capture.recorder import Recorder
from inspector.capture.records import Call


class _Block:
    """One run of a block: copies of what its parts receive and return, since a model may add to them in place."""

    def __init__(self, residual: Tensor) -> None:
        self.residual = residual.clone()
        self.calls: list[Call] = []
        self.runs = 0  # of its attention
        self.made: list[Tensor] = []  # the attention output, and what parts make of that alone
        self.beside: list[Tensor] = []  # what parts make of anything else
        self.received: list[Tensor] = []  # what parts were called with after attention
        self.of_attention = False  # the part that runs now was called with one of `made`

    def added(self, module: nn.Module, result: Tensor) -> Tensor | None:
        """Return what was added to the residual for attention; None where no sum shows it."""
        if self.runs != 1:
            return None
        factors = [value for value in vars(module).values() if isinstance(value, float) and value != 1]
        for candidate in self._candidates(factors):
            if any(torch.equal(self.residual + candidate, total) for total in [*self.received, result]):
                return candidate
        # Attention beside the rest of the block: three are added up, in any order.
        for candidate in self._candidates(factors):
            for other in self.beside:
                a, b, c = self.residual, candidate, other
                if any(torch.equal(total, result) for total in ((a + b) + c, (a + c) + b, (b + c) + a)):
                    return candidate
        return None

    def _candidates(self, factors: list[float]) -> Iterator[Tensor]:
        """Yield what may be added: what was made of attention, then the same times one of the block's own numbers."""
        yield from self.made
        for factor in factors:
            yield from (tensor * factor for tensor in self.made)


class ResidualUpdateRecorder(Recorder):
    """Record, for each attention call, what is added to the residual stream for it, as `update`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._blocks: dict[int, _Block] = {}

    def enter_block(self, attention: nn.Module | None, hidden_states: Tensor) -> None:
        """Note the residual stream before the block."""
        super().enter_block(attention, hidden_states)
        if attention is not None:
            self._blocks[id(attention)] = _Block(hidden_states)

    def leave_attention(self, module: nn.Module, output: Any) -> None:
        """Note what the attention returns."""
        run = self._runs.get(id(module))
        super().leave_attention(module, output)
        tensor = output[0] if isinstance(output, tuple | list) else output
        if (block := self._blocks.get(id(module))) is not None and run is not None and isinstance(tensor, Tensor):
            block.runs += 1
            block.calls = run.calls
            block.made.append(tensor.clone())

    def enter_part(self, attention: nn.Module | None, name: str, hidden_states: Tensor) -> None:
        """Note what another part of the block receives."""
        super().enter_part(attention, name, hidden_states)
        if (block := self._blocks.get(id(attention))) is not None and block.runs:
            block.received.append(hidden_states.clone())
            block.of_attention = any(torch.equal(hidden_states, tensor) for tensor in block.made)

    def leave_part(self, attention: nn.Module | None, name: str, module: nn.Module, output: Any) -> None:
        """Note what that part returns."""
        super().leave_part(attention, name, module, output)
        tensor = output[0] if isinstance(output, tuple | list) and output else output
        if (block := self._blocks.get(id(attention))) is None or not isinstance(tensor, Tensor):
            return
        if tensor.shape == block.residual.shape:
            (block.made if block.of_attention else block.beside).append(tensor.clone())
        block.of_attention = False

    def leave_block(self, attention: nn.Module | None, module: nn.Module, output: Any) -> None:
        """Find what was added, now that all parts of the block have run."""
        super().leave_block(attention, module, output)
        tensor = output[0] if isinstance(output, tuple | list) and output else output
        if (block := self._blocks.pop(id(attention), None)) is None or not isinstance(tensor, Tensor):
            return
        found = block.added(module, tensor)
        for call in block.calls:
            if call.stored and found is not None:
                call.update = found[0]

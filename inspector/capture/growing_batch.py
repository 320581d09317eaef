"""Run many variants of one prompt as one batch that grows: a variant's row joins at the first layer that it changes.

Row 0 is the prompt as it is. Up to its first edited layer a variant is that row, so it is copied from it there; layers
before are computed once for all.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from inspector.capture.editor import Editor
from inspector.capture.listener import Listener


class GrowingBatch(Listener):
    """Let rows join the batch of a pass at the blocks of the layers that they first edit."""

    def __init__(self, editor: Editor, joining: Mapping[int, int]) -> None:
        """Prepare one pass.

        Args:
            editor: the edits of each row, bound to its number.
            joining: how many rows join at a layer.
        """
        super().__init__()
        self.editor = editor
        self._joining: dict[int, int] = {}
        for module, layers in editor.places.items():
            if count := sum(joining.get(layer, 0) for layer in layers):
                self._joining[module] = count

    def entering(self, attention: nn.Module | None, hidden_states: Tensor) -> Tensor | None:
        """Return the block's input with the rows that join here below it; None where none does."""
        count = self._joining.pop(id(attention), 0)
        return torch.cat((hidden_states, hidden_states[:1].expand(count, -1, -1))) if count else None

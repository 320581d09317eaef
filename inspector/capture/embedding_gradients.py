"""Keep what the first block receives in a pass, ready to be asked how a number at its end changes with it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from inspector.capture.listener import Listener


class EmbeddingGradients(Listener):
    """Put a copy in place of the first block's input, by which a gradient can be taken."""

    def __init__(self) -> None:
        """Prepare one pass."""
        super().__init__()
        self.embedding: Tensor | None = None  # [1, n, m]

    def entering(self, attention: nn.Module | None, hidden_states: Tensor) -> Tensor | None:
        """Return the copy at the first block; None at the others."""
        del attention  # whichever it is
        if self.embedding is not None:
            return None
        self.embedding = hidden_states.detach().clone().requires_grad_(True)
        return self.embedding

    def times_input(self, number: Tensor) -> Tensor:
        """Return the gradient of a number by each token's vector, times that vector [n].

        Args:
            number: a single number computed from the pass.

        Returns:
            One number a token, with its sign.
        """
        assert self.embedding is not None  # noqa: S101  (the pass has run)
        (slope,) = torch.autograd.grad(number, self.embedding)
        return (slope * self.embedding).sum(-1)[0].detach()

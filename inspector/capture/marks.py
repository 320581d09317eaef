"""Mark what a pass ends in by one number for each token: a later pass then shows whether the model is the same.

The logits after the last token alone do not show it: whatever changes an earlier token in the last block leaves them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

GOLDEN = 2.399963  # radians: no multiple of it lies near another's, or near a zero of the cosine, for long
STRIP = 512  # tokens at once, so that no copy in float32 is large


def token_marks(output: Any) -> Tensor | None:
    """Return each token's last hidden state times one fixed direction.

    Args:
        output: what the model without its head returned.

    Returns:
        Numbers [b, t] in float32; None where it holds no hidden states [b, t, m].
    """
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple) else [output]
    hidden = next((part for part in parts if isinstance(part, Tensor)), None)
    if hidden is None or hidden.ndim != 3 or not hidden.is_floating_point() or hidden.is_meta:
        return None
    direction = _direction(hidden.shape[-1]).to(hidden.device)
    return torch.cat([part.float() @ direction for part in hidden.detach().split(STRIP, dim=1)], dim=1)


def _direction(width: int) -> Tensor:
    """Return an irregular direction of length 1 without zeros: a change of any element moves the product."""
    found = torch.cos(torch.arange(1, width + 1, dtype=torch.float32) * GOLDEN)
    length: Tensor = found.norm()
    return found / length

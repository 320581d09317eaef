"""Hold what the library hands to its attention function, and call the module's own eager function with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from inspector.capture.masks import additive_mask, as_additive, read_mask

# (module, query, key, value, mask, **options) -> (context [b, t, h, d_value], weights [b, h, t, s] or None)
AttentionFunction = Callable[..., Any]


@dataclass(frozen=True)
class AttentionInputs:
    """What the library hands to its attention function, batch dimension included, and two functions to choose from."""

    configured: AttentionFunction  # what the model is set to attend with
    own_eager: AttentionFunction  # the module's own plain function
    module: nn.Module
    query: Tensor  # [1, h, t, d], rotated
    key: Tensor  # [1, g, s, d], rotated
    value: Tensor  # [1, g, s, d_value]
    mask: Tensor | None  # [1, h or 1, t, s or more], bool or added to scores
    options: Mapping[str, Any]  # scaling, softcap, sliding_window ...
    mask_edited: bool = False  # the mask is not the model's own

    def added_mask(self) -> Tensor:
        """Return the mask as the float tensor [1, h or 1, t, s] that eager functions add to scores."""
        mask = self.mask
        if mask is None:
            rule = read_mask(self.module, self.query, self.key, None, self.options)[0]
            return additive_mask(rule, self.query, self.key)
        return as_additive(mask, self.query)


def attend_eagerly(inputs: AttentionInputs) -> Any:
    """Call a module's own eager function, with the mask as a tensor that it can add to its scores.

    Args:
        inputs: what the library handed to its attention function.

    Returns:
        What it returns: context [1, t, h, d_value] and weights [1, h, t, s].
    """
    at = inputs
    return at.own_eager(at.module, at.query, at.key, at.value, at.added_mask(), **at.options)

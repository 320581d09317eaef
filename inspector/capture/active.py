"""Who listens in this thread: what the seam and the hooks tell of one forward pass, and to whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Protocol

from torch import Tensor, nn


class Listener(Protocol):
    """What the seam (attention_interface.py) and the hooks (hooks.py) call while a model runs in this thread."""

    def attend(
        self,
        configured: Callable[..., Any],
        own_eager: Callable[..., Any],
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Stand in for the attention function."""

    def enter_attention(self, module: nn.Module, hidden_states: Tensor, arguments: Mapping[str, Any]) -> None:
        """Learn that an attention module was called with these arguments, `hidden_states` among them."""

    def leave_attention(self, module: nn.Module, output: Any) -> None:
        """Learn what an attention module returned."""

    def enter_block(self, attention: nn.Module | None, hidden_states: Tensor) -> None:
        """Learn what the block around this attention (None: a block without attention) was called with."""

    def enter_part(self, attention: nn.Module, name: str, hidden_states: Tensor) -> None:
        """Learn what another part of that block was called with."""

    def watch(self, module: nn.Module) -> None:
        """Watch what a module that attends in its own code computes, until `unwatch`."""

    def unwatch(self, module: nn.Module) -> None:
        """Stop watching that module."""


active: ContextVar[Listener | None] = ContextVar("attention_listener", default=None)

"""Listen to one forward pass in one thread: what the seam and the hooks call while the library's model runs.

The seam (attention_interface.py) hands every attention call to `Listener.attend`; the hooks (hooks.py) say when a
block, an attention module or another part of a block begins and ends. A listener of its own kind overrides one step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from inspector.capture.records import Call, OnLayer
from inspector.capture.torch_functions import Watch

# (module, query, key, value, mask, **options) -> (context [1, t, h, d_value], weights [1, h, t, s] or None)
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


class Listener:
    """Let a forward pass run as it is, and report each of its attention calls.

    on_layer: called with (attention calls recorded so far, total) after each call; what it raises ends the pass.
    total:    how many calls there will be (0: it is not known).
    """

    def __init__(self, *, on_layer: OnLayer | None = None, total: int = 0) -> None:
        self.on_layer, self.total = on_layer, total
        self.stopped = False  # on_layer raised something
        self._watched: list[nn.Module] = []
        self._watch = contextlib.ExitStack()

    # -- one attention call ---------------------------------------------------------------------------------------

    def attend(
        self,
        configured: AttentionFunction,
        own_eager: AttentionFunction,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None = None,
        **options: Any,
    ) -> Any:
        """Stand in for the attention function during one pass.

        Args:
            configured: the function that the model is set to attend with.
            own_eager: the module's own plain function.
            module: the attention module that asks.
            query: [1, h, t, d], rotated.
            key: [1, g, s, d], rotated.
            value: [1, g, s, d_value].
            attention_mask: [1, h or 1, t, s or more], bool or added to scores; None where the rule needs no tensor.
            options: what else the module hands to the function (scaling, softcap, sliding_window ...).

        Returns:
            What the function returns: context [1, t, h, d_value], and weights or None.
        """
        inputs = AttentionInputs(configured, own_eager, module, query, key, value, attention_mask, options)
        # Edits of a head have their place around these steps. Edited queries, keys and values replace those of `inputs`
        # before anything is recorded. Whatever replaces the result does so in `edit`, after the record was held against
        # the function's own result: what the edit changes is then not taken for something the record leaves out.
        call = self.begin(inputs)
        result = self.compute(inputs)
        if call is not None:
            self.end(call, inputs, result)
        self.report()
        return self.edit(inputs, result)

    def edit(self, inputs: AttentionInputs, result: Any) -> Any:
        """Return what the model goes on with; here the result as it is."""
        del inputs  # for those who edit by layer
        return result

    def begin(self, inputs: AttentionInputs) -> Call | None:
        """Note an attention call before it is computed; nothing here."""

    def compute(self, inputs: AttentionInputs) -> Any:
        """Compute the attention, here with the configured function."""
        at = inputs
        return at.configured(at.module, at.query, at.key, at.value, at.mask, **at.options)

    def end(self, call: Call, inputs: AttentionInputs, result: Any) -> None:
        """Note what a call that was begun came to; nothing here."""

    @property
    def done(self) -> int:
        """How many attention calls have been recorded; none here."""
        return 0

    def report(self) -> None:
        """Tell `on_layer` that one more attention call is done."""
        if self.on_layer:
            try:
                self.on_layer(self.done, self.total)
            except BaseException:
                self.stopped = True
                raise

    # -- the modules around it ------------------------------------------------------------------------------------

    def enter_attention(self, module: nn.Module, hidden_states: Tensor, arguments: Mapping[str, Any]) -> None:
        """Learn that an attention module was called with these arguments, `hidden_states` among them."""

    def leave_attention(self, module: nn.Module, output: Any) -> None:
        """Learn what an attention module returned."""

    def enter_block(self, attention: nn.Module | None, hidden_states: Tensor) -> None:
        """Learn what the block of this attention (None: a block without attention) was called with."""

    def enter_part(self, attention: nn.Module, name: str, hidden_states: Tensor) -> None:
        """Learn what another part of that block was called with."""

    def leave_part(self, attention: nn.Module, name: str, output: Any) -> None:
        """Learn what that part returned."""

    def leave_block(self, attention: nn.Module, module: nn.Module, output: Any) -> None:
        """Learn what the block of this attention, `module`, returned."""

    # -- modules that attend in their own code --------------------------------------------------------------------

    def watch(self, module: nn.Module) -> None:
        """Watch what a module computes, until `unwatch`. The innermost module watched is the one that attends."""
        if not self._watched and (watch := self.new_watch()) is not None:
            self._watch.enter_context(watch)
        self._watched.append(module)

    def unwatch(self, module: nn.Module) -> None:
        """Stop watching a module: it has returned, or something was raised in it."""
        if not self._watched or self._watched[-1] is not module:
            return
        self._watched.pop()
        if not self._watched:
            self._watch.close()

    def new_watch(self) -> Watch | None:
        """Make what watches the torch functions that a module calls; None here: nobody does."""
        return None


active: ContextVar[Listener | None] = ContextVar("attention_listener", default=None)  # this thread's listener

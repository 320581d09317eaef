"""Listen to one forward pass in one thread: what the seam and the hooks call while the library's model runs.

The seam (attention_interface.py) hands every attention call to `Listener.attend`; the hooks (hooks.py) say when a
block, an attention module or another part of a block begins and ends. A listener of its own kind overrides one step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from torch import Tensor, nn

from inspector.capture.attention_inputs import AttentionFunction, AttentionInputs, attend_eagerly
from inspector.capture.edited_call import EditedCall
from inspector.capture.editor import Editor
from inspector.capture.records import Call, OnLayer
from inspector.capture.stopping import check_stop
from inspector.capture.torch_functions import Watch


class Listener:
    """Let a forward pass run as it is, and report each of its attention calls.

    on_layer: called with (attention calls recorded so far, total) after each call; what it raises ends the pass.
    total:    how many calls there will be (0: it is not known).
    editor:   what is changed as the pass runs; None (as made): nothing.
    marks:    one number for each token [b, t] of what the pass ended in (marks.py); None where that was not seen.
    """

    def __init__(self, *, on_layer: OnLayer | None = None, total: int = 0) -> None:
        self.on_layer, self.total = on_layer, total
        self.editor: Editor | None = None
        self.marks: Tensor | None = None
        self.stopped = False  # on_layer or this thread's check raised something
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
        # Edited queries, keys, values and masks replace those of `inputs` before anything is recorded. What replaces
        # the result does so after the record was held against the function's own: what an edit changes is then not
        # taken for something the record leaves out.
        edited = None if self.editor is None else self.editor.call(inputs)
        if edited is not None:
            inputs = edited.inputs
        call = self.begin(inputs)
        result = attend_eagerly(inputs) if edited is not None and edited.explicit else self.compute(inputs)
        if call is not None:
            self.end(call, inputs, result)
        if edited is not None:
            result = edited.finish(result)
            if call is not None:
                self.note_edit(call, edited, result)
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

    def note_edit(self, call: Call, edited: EditedCall, result: Any) -> None:
        """Note what an edit made of a call's result; nothing here."""

    @property
    def done(self) -> int:
        """How many attention calls have been recorded; none here."""
        return 0

    def report(self) -> None:
        """Tell `on_layer` that one more attention call is done, and make this thread's check."""
        try:
            if self.on_layer:
                self.on_layer(self.done, self.total)
            check_stop()
        except BaseException:
            self.stopped = True
            raise

    # -- the modules around it ------------------------------------------------------------------------------------

    def enter_attention(self, module: nn.Module, hidden_states: Tensor, arguments: Mapping[str, Any]) -> None:
        """Learn that an attention module was called with these arguments, `hidden_states` among them."""

    def leave_attention(self, module: nn.Module, output: Any) -> None:
        """Learn what an attention module returned."""

    def entering(self, attention: nn.Module | None, hidden_states: Tensor) -> Tensor | None:
        """Return what a block is to receive instead; None, as here: what it was called with."""
        del attention, hidden_states  # for those who put rows in
        return None

    def enter_block(self, attention: nn.Module | None, hidden_states: Tensor) -> None:
        """Learn what the block of this attention (None: a block without attention) was called with."""

    def enter_part(self, attention: nn.Module | None, name: str, hidden_states: Tensor) -> None:
        """Learn what a part of that block, beside its attention, was called with."""

    def leave_part(self, attention: nn.Module | None, name: str, module: nn.Module, output: Any) -> None:
        """Learn what that part, `module`, returned."""

    def leave_block(self, attention: nn.Module | None, module: nn.Module, output: Any) -> None:
        """Learn what the block of this attention, `module`, returned."""

    def leave_outside(self, name: str, module: nn.Module, hidden_states: Tensor, output: Any) -> None:
        """Learn what a module beside the list of blocks, or the output embeddings, received and returned."""

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

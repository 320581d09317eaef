"""What is judged: somebody's answers for each layer, however they are handed over, behind one small protocol."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_utils import AttentionInterface

from inspector.capture.rerun import run_as_configured
from inspector.errors import InspectorError
from inspector.judging.calls import Called
from inspector.judging.dumps import Dumps
from inspector.judging.library_modules import LibraryModules, has_library_signature, modules_of
from inspector.judging.signatures import form_of
from inspector.model.model import Model
from inspector.trace.trace import Trace
from inspector.trace.whole_numbers import whole_number


@runtime_checkable
class Handed(Protocol):
    """Answers that were handed over, of a function that is called or of files that are read.

    layers: those it has; None: all of the model's.
    said: sentences on how it was read, for the report.
    """

    layers: tuple[int, ...] | None
    said: tuple[str, ...]

    def answer(self, layer: int, x: Tensor) -> Mapping[str, Tensor]:
        """Return somebody's stages for one layer.

        Args:
            layer: the attention layer, from 0.
            x: the model's own attention input [n, m]; a copy, which may be written to.

        Returns:
            Any of the stages query_pre, key_pre, query, key, value, weights, context and output, by these names, in any
            layout that `layouts.read_layout` knows.
        """

    def input(self, layer: int) -> Tensor | None:
        """Return somebody's own attention input [n, m] of a layer, where it was handed over too."""


class Registered:
    """What the library's model computed while it attended by a registered function; `attach` before any answer.

    Args:
        name: the function's, in the library's table.
    """

    layers: tuple[int, ...] | None = None
    continues = ""

    def __init__(self, name: str) -> None:
        self.name = name
        self.said: tuple[str, ...] = (
            f"the registered attention function {name!r}, judged by what it made of the model's own queries, keys and "
            "values",
        )
        self._trace: Trace | None = None

    def attach(self, trace: Trace) -> None:
        """Take over a trace of the model attending by this function."""
        self._trace = trace

    def answer(self, layer: int, x: Tensor) -> Mapping[str, Tensor]:
        """Return the function's context vectors, the output, and its weights where it returned any."""
        del x
        assert self._trace is not None  # noqa: S101
        call = self._trace.stored[layer].call
        assert call is not None  # noqa: S101
        found = run_as_configured(call)
        stages = {"weights": found.weights, "context": found.context, "output": found.output}
        return {stage: tensor for stage, tensor in stages.items() if tensor is not None}

    def input(self, layer: int) -> Tensor | None:
        """Return None: it has the model's own."""
        del layer
        return None


def answers_of(mine: Any, model: Model | None = None) -> Handed | None:
    """Recognise what somebody handed over.

    Args:
        mine: whatever `inspector.judge` takes, or an object that follows `Handed` already.
        model: the model that is the reference, where a model object or a registered name may be handed over.

    Returns:
        The answers; None where it is a function of token ids, a whole model.

    Raises:
        InspectorError: it is nothing that can be judged; the sentence says what can.
    """
    if isinstance(mine, type):
        raise InspectorError(f"{mine.__name__} is a class: hand over an object of it, {mine.__name__}(...).")
    if isinstance(mine, Handed):
        return mine
    if model is not None and (isinstance(mine, Path) or (isinstance(mine, str) and Path(mine).exists())):
        return Dumps(mine, model)
    if isinstance(mine, str):
        return _named(mine)
    if isinstance(mine, Model):
        mine = mine.model
    if model is not None and isinstance(mine, PreTrainedModel):
        if mine is model.model:
            return _named(str(model.model.config._attn_implementation))
        return modules_of(mine, model)
    if has_library_signature(mine):
        layer = getattr(mine, "layer_idx", None)
        return LibraryModules(
            {layer if isinstance(layer, int) else 0: mine},
            ["one attention module, called as the library calls its own"],
        )
    if isinstance(mine, nn.ModuleList | list | tuple | dict) and len(mine):
        return _one_for_each(mine)
    if callable(mine):
        return None if form_of(mine).ids else Called(mine)
    raise InspectorError(
        f"An object of type {type(mine).__name__} cannot be judged: give a function of (attention input, "
        "layer), a module, a list of them, a model, the name of a registered attention function, or an object with "
        "answer(layer, x)."
    )


def _one_for_each(mine: Any) -> Handed:
    """Read a list or a mapping as one callable for each layer."""
    given = dict(mine) if isinstance(mine, dict) else dict(enumerate(mine))
    if unnumbered := [layer for layer in given if whole_number(layer) is None]:
        raise InspectorError(
            f"Among the attentions that you handed over is one for {unnumbered[0]!r:.60}, which is no layer: give them "
            "by the layers' numbers, from 0."
        )
    named = {number: each for layer, each in given.items() if (number := whole_number(layer)) is not None}
    if odd := [type(each).__name__ for each in named.values() if not callable(each)]:
        raise InspectorError(
            f"Among the attentions of this list is one of type {odd[0]}, which cannot be called: give one function or "
            "module for each layer."
        )
    if all(has_library_signature(each) for each in named.values()):
        return LibraryModules(named, [f"{len(named)} attention modules, called as the library calls its own"])
    return Called(named, [f"one attention for each of {len(named)} layers"])


def _named(name: str) -> Handed:
    """Return the judgement's side of a registered attention function."""
    known = sorted(AttentionInterface().valid_keys()) if hasattr(AttentionInterface(), "valid_keys") else []
    if name not in {*known, "eager"}:
        raise InspectorError(
            f"No attention function is registered as {name!r}: register it first, AttentionInterface.register(name, "
            f"function); registered are {', '.join(['eager', *known])}. "
            "Nor is there a folder or a file of dumps of this name."
        )
    return Registered(name)

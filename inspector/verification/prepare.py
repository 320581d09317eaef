"""What every verification begins with: the recorded prompt, our layers, remarks on them, and a count of steps."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

import reimpl
from inspector.capture.records import OnLayer
from inspector.errors import InspectorError
from inspector.model.config_reading import class_reading
from inspector.model.cost import refuse_verification
from inspector.model.matching import pair
from inspector.model.model import Model
from inspector.model.options import dtype_name
from inspector.trace.trace import Trace
from inspector.verification.releases import refuse_deviation
from reimpl.attention import CausalSelfAttention

Prompt = str | Sequence[int] | Tensor | Trace


class Steps:
    """Counts steps, and tells `on_layer` of each; what that raises ends the verification."""

    def __init__(self, on_layer: OnLayer | None, total: int) -> None:
        """Start at none of `total`."""
        self._on_layer, self._total, self._numbers = on_layer, total, itertools.count(1)

    def step(self) -> None:
        """Count one more."""
        if self._on_layer:
            self._on_layer(next(self._numbers), self._total)


def recorded_prompt(model: Model, prompt: Prompt) -> tuple[Trace, list[str]]:
    """Record the prompt, with the attention inputs, unless it comes as an exact trace.

    Args:
        model: the model to verify.
        prompt: a text, token ids, or a trace of it.

    Returns:
        The trace, and remarks for the report.

    Raises:
        InspectorError: `model` is no Model, the prompt cannot be taken, or the installed transformers itself computes
            this model otherwise than its config says.
        TooLarge: verifying so many tokens would not fit in memory.
    """
    refuse_no_model(model)
    tokens = prompt.tokens if isinstance(prompt, Trace) else model.tokenize(prompt)
    refuse_verification(model.layers, len(tokens), model.vocabulary)
    remarks = [*model.remarks, *model.config_remarks]
    if isinstance(prompt, Trace) and prompt.exact:
        trace = prompt
    else:
        trace = model.trace(prompt if isinstance(prompt, str) else list(tokens.ids), keep=("input",))
        if isinstance(prompt, Trace):
            remarks.append(
                "The trace holds rounded vectors or not all layers: the prompt was run again, for exact ones."
            )
    trace.input(0)  # a trace that did not store the attention inputs fetches them now
    return trace, remarks


def refuse_no_model(model: Any) -> None:
    """Raise InspectorError for what is no loaded model, and for one that this release computes otherwise."""
    if not isinstance(model, Model):
        name = repr(str(model)) if isinstance(model, str | Path) else "..."
        raise InspectorError(
            f"verify takes a model as inspector.load returns it, and this is a {type(model).__name__}: "
            f"call verify(inspector.load({name}), prompt)."
        )
    refuse_deviation(model)


def reimplemented_layers(model: Model, checkpoint: str | Path | None) -> list[CausalSelfAttention]:
    """Return our layer for each attention call, from the model's own checkpoint or from another folder's.

    Args:
        model: the model to verify.
        checkpoint: a folder with config.json and safetensors; None: the model's own.

    Returns:
        One of our layers for each of the model's.

    Raises:
        InspectorError: the family is not reimplemented, or the checkpoint cannot be read.
    """
    if checkpoint is None:
        return model.reimplementation
    try:
        config = reimpl.read_config(Path(checkpoint))
        loaded = reimpl.load_layers(
            checkpoint,
            dtype=model.dtype,
            device=model.device,
            known=model.model.state_dict().keys(),
            config=config,
            by_class=class_reading(model.model, config),
        )
        return pair(loaded, model.layers, model.name)
    except reimpl.CheckpointError as error:
        raise InspectorError(str(error)) from error


def remarks_on(ours: Sequence[CausalSelfAttention]) -> Iterator[str]:
    """Say what the reimplementation did not compute itself."""
    chosen = sum(layer.spec.mask.given for layer in ours)
    if chosen:
        yield (
            f"In {chosen} of {len(ours)} layers the model chooses the keys that a query may look at by a part that is "
            "not attention: that choice is the model's own, not reimplemented."
        )
    sharing = sum(layer.spec.shares is not None for layer in ours)
    if sharing:
        yield f"{sharing} of {len(ours)} layers use the keys and values of an earlier layer: compared with that one's."


def weights_remarks(model: Model, checkpoint: str | Path | None) -> Iterator[str]:
    """Say where our layers' weights come from, where that is not the model's files alone.

    Args:
        model: the model that is verified.
        checkpoint: the folder that they were read from instead, if any.

    Yields:
        Sentences for the report.
    """
    if checkpoint is None and model.weights_remark:
        yield model.weights_remark


def header(model: Model, trace: Trace, checkpoint: str | Path | None) -> dict[str, Any]:
    """Return the fields of a report that say what was verified."""
    return {
        "weights_from": "files" if checkpoint is not None else model.weights_from,
        "model": model.name,
        "note": model.source.note,
        "prompt": trace.prompt,
        "n": trace.n,
        "dtype": dtype_name(model.dtype),
        "device": str(model.device),
    }

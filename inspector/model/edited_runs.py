"""Let edits of attention meet a model and a prompt: check them, fetch values from elsewhere, make their Editors."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from inspector.capture.edit_places import BoundEdit
from inspector.capture.editor import Editor
from inspector.capture.edits import Edit, Source
from inspector.capture.listener import Listener
from inspector.capture.records import LayerInfo
from inspector.errors import InspectorError
from inspector.model.edit_checks import resolved
from inspector.model.forward import ForwardPasses
from inspector.model.mean_vectors import read_means
from inspector.model.memory import memory_budget
from inspector.trace.trace import Trace, open_trace

TABLES = 4  # tables [h, n, n] at once in a layer that attends explicitly: scores, mask, weights, a copy


class EditedRuns:
    """Edits that have met a model and a prompt of `n` tokens.

    Attributes:
        edits: with layers named and positions counted from the first token.
        explicit: the layers that attend by their module's own eager function, in experiment and baseline alike.
    """

    def __init__(
        self, passes: ForwardPasses, layers: Sequence[LayerInfo], edits: Iterable[Edit] | Edit, *, n: int
    ) -> None:
        """Check the edits.

        Args:
            passes: the model's.
            layers: all layers of the model.
            edits: what is to be changed.
            n: how many tokens the prompt has.

        Raises:
            InspectorError: an edit cannot be made in this model, or for a prompt of this length.
        """
        self._passes, self._layers, self.n = passes, layers, n
        self.edits = resolved(edits, passes, layers, n=n)
        self.explicit = frozenset(layer for edit in self.edits if edit.explicit for layer in edit.layers or ())
        self._values: list[Mapping[int, Tensor]] | None = None
        self._refuse_tables()

    def editor(self, *, laws: bool = False) -> Editor:
        """Return an Editor that makes the edits, for one run.

        Args:
            laws: measure by how much each edit's law is missed.

        Returns:
            The Editor.

        Raises:
            InspectorError: values from elsewhere cannot be had, or do not fit.
        """
        bound = [BoundEdit(edit, self.values(number)) for number, edit in enumerate(self.edits)]
        return self._editor(bound, laws=laws)

    def baseline(self) -> Editor:
        """Return an Editor that changes nothing and takes the same path, for one run.

        It collects what patches of the prompt by itself need: see `control`.
        """
        wanted: dict[int, set[str]] = {}
        for edit in self.edits:
            for layer in edit.layers or () if edit.kind == "patch" else ():
                wanted.setdefault(layer, set()).add(str(edit.what))
        return self._editor([], collect=wanted)

    def control(self, baseline: Editor) -> Editor:
        """Return an Editor that makes the edits such that nothing may change, for one run.

        They are made with strength 0, or replace values of this very prompt by themselves.

        Args:
            baseline: what `baseline` returned, after its run.

        Returns:
            The Editor.
        """
        bound = []
        for edit, values in zip(self.edits, self._values or [{}] * len(self.edits), strict=True):
            if edit.kind == "patch":
                itself = replace(edit, source_positions=edit.positions, strength=1.0)
                own = {layer: baseline.collected[layer][str(edit.what)] for layer in edit.layers or ()}
                bound.append(BoundEdit(itself, own))
            else:
                bound.append(BoundEdit(replace(edit, strength=0.0), values))
        return self._editor(bound)

    def values(self, number: int) -> Mapping[int, Tensor]:
        """Return an edit's values from elsewhere, by layer, fetched if need be.

        Args:
            number: which of `edits`.

        Returns:
            The tensors; none where the edit needs none.
        """
        if self._values is None:
            self._values = [self._fetched(edit) for edit in self.edits]
        return self._values[number]

    def of_rows(self, edits: Sequence[BoundEdit], *, past: int = 0) -> Editor:
        """Return an Editor of edits that are bound already, to the rows of a batch, for one run.

        Args:
            edits: parts of these edits, each bound to its row.
            past: how many tokens of the prompt the key/value cache has before the run.

        Returns:
            The Editor.
        """
        return self._editor(edits, past=past)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _editor(
        self,
        bound: Sequence[BoundEdit],
        *,
        laws: bool = False,
        collect: Mapping[int, Collection[str]] | None = None,
        past: int = 0,
    ) -> Editor:
        places = self._passes.places(self._layers)
        return Editor(bound, places, n=self.n, explicit=self.explicit, laws=laws, collect=collect, past=past)

    def _refuse_tables(self) -> None:
        """Refuse a prompt for which the explicit layers' n x n tables would not fit in memory."""
        heads = [self._layers[layer].heads for layer in self.explicit]
        needed, budget = TABLES * max(heads, default=0) * self.n**2 * 4, memory_budget()
        if needed > budget:
            raise InspectorError(
                f"{self.n:,} tokens would need about {needed / 1e9:.1f} GB for one layer's tables of weights, which "
                f"edits of masks or weights need, and {budget / 1e9:.1f} GB may be used: take a shorter prompt."
            )

    def _fetched(self, edit: Edit) -> Mapping[int, Tensor]:
        """Return an edit's values from elsewhere, by layer; none where it needs none."""
        if edit.source is None:
            return {}
        what, layers = edit.what or "context", edit.layers or ()
        if edit.source.means:
            return read_means(edit, self._passes.name, self._layers)
        if edit.source.trace:
            return _of_trace(edit, _opened(edit.source, self._passes.name, self._layers), what)
        found = [self._of_prompt(ids, what, layers) for ids in edit.source.prompts]
        if edit.kind != "mean":
            return found[0]
        means = {}
        for layer in layers:
            contexts = [one[layer].double() for one in found]
            if edit.by_position:
                mean = sum(one[:, : self.n] for one in contexts) / len(contexts)
            else:  # the first token's are several times shorter or longer than the others'
                mean = torch.cat([one[:, 1:] for one in contexts], dim=1).mean(1, keepdim=True)
            means[layer] = torch.as_tensor(mean).to(found[0][layer].dtype)
        return means

    def _of_prompt(self, ids: Sequence[int], what: str, layers: Sequence[int]) -> Mapping[int, Tensor]:
        listener = Listener()
        places = self._passes.places(self._layers)
        explicit = self.explicit | (set(layers) if what == "weights" else set())
        listener.editor = Editor([], places, n=len(ids), explicit=explicit, collect=dict.fromkeys(layers, (what,)))
        self._passes.run(ids, listener)
        return {layer: tensors[what] for layer, tensors in listener.editor.collected.items()}


def _of_trace(edit: Edit, trace: Trace, what: str) -> Mapping[int, Tensor]:
    """Return what a saved trace has of an edit's layers."""
    ask = {
        "query": trace.query, "key": trace.key, "value": trace.value, "weights": trace.weights, "context": trace.context
    }[what]  # fmt: skip
    return {layer: ask(layer) for layer in edit.layers or ()}


def _opened(source: Source, name: str, layers: Sequence[LayerInfo]) -> Trace:
    """Open the trace that an edit names."""
    path = Path(source.trace)
    trace = open_trace(path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != source.sha256:
        raise InspectorError(
            f"{path} is not the trace that this edit was made with: its hash begins with {found[:12]}, and the edit "
            f"names {source.sha256[:12]}; make the edit anew."
        )
    if [layer.heads for layer in trace.layers] != [layer.heads for layer in layers]:
        raise InspectorError(f"{path} is a trace of another kind of model than {name}: take one of the same.")
    return trace

"""Mistakes that laboratories make, planted one at a time: each must break a law. Not a test itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import torch
from lab_laws import LAWS, Bench, Law, hooked

from inspector.capture import attention_interface, edited_call, hooks
from inspector.capture.attention_inputs import AttentionInputs, attend_eagerly
from inspector.capture.edit_places import EditPlaces
from inspector.capture.edited_call import EditedCall
from inspector.capture.editor import Editor
from inspector.capture.listener import Listener
from inspector.model.edited_runs import EditedRuns
from inspector.model.forward import ForwardPasses


@dataclass(frozen=True)
class Mistake:
    """One mistake: in which family it is planted, and how."""

    name: str
    meaning: str
    plant: Callable[[Bench], AbstractContextManager[Any]]
    family: str = "llama"


def broken(mistake: Mistake, b: Bench) -> Iterator[Law]:
    """The laws that notice a mistake while it is planted, by a number; one that ends in an error is not counted."""
    for law in LAWS:
        with mistake.plant(b):
            try:
                missed = law.measure(b)
            except Exception:  # noqa: S112  (an error is no number, and is not counted)
                continue
        if not missed <= law.tolerance:
            yield law


MISTAKES: list[Mistake] = []


def mistake(meaning: str, family: str = "llama") -> Callable[[Any], Any]:
    def add(plant: Callable[[Bench], Any]) -> Any:
        MISTAKES.append(Mistake(plant.__name__.replace("_", " "), meaning, contextmanager(plant), family))
        return plant

    return add


@mistake("heads are sliced after W_o, where they are already mixed")
def sliced_after_the_output_projection(b: Bench) -> Iterator[None]:
    def sliced(self: EditedCall, context: Any, one: Any) -> None:
        info, part = b.model.layers[self.layer], []
        for head in one.edit.heads or range(info.heads):
            part += range(head * info.d_value, (head + 1) * info.d_value)

        def after(_: Any, __: Any, output: Any) -> Any:
            changed = output.clone()
            changed[..., part] = 0
            return changed

        handles.append(b.projection(self.layer).register_forward_hook(after))

    handles: list[Any] = []
    with mock.patch.object(EditedCall, "_edit_context", sliced):
        try:
            yield
        finally:
            with hooked(*handles):
                pass


@mistake("query head h is taken to read group h % G instead of h // (H / G)")
def groups_by_remainder(b: Bench) -> Iterator[None]:
    right = EditPlaces.heads

    def wrong(self: EditPlaces, edit: Any, count: int, *, groups_of: int | None = None) -> Any:
        if groups_of is None or edit.heads is None:
            return right(self, edit, count, groups_of=groups_of)
        return torch.tensor(sorted({head % count for head in edit.heads}))

    with mock.patch.object(EditPlaces, "heads", wrong):
        yield


@mistake("an edge is cut after the softmax, so that its share is missing instead of taken over")
def cut_after_the_softmax(b: Bench) -> Iterator[None]:
    right = Editor.__init__

    def wrong(self: Editor, edits: Any, *args: Any, **options: Any) -> None:
        late = [replace(one, edit=replace(one.edit, kind="drop")) if one.edit.kind == "cut" else one for one in edits]
        right(self, late, *args, **options)

    with mock.patch.object(Editor, "__init__", wrong):
        yield


@mistake("a row whose every key is cut goes into the softmax")
def a_row_with_nothing_left(b: Bench) -> Iterator[None]:
    with mock.patch.object(EditedCall, "_refuse_empty_rows"):
        yield


@mistake("positions with a gap are given to the model without a mask: the library takes them for two packed texts")
def packed_positions_without_a_mask(b: Bench) -> Iterator[None]:
    right = ForwardPasses._pass

    def wrong(self: ForwardPasses, ids: Any, recorder: Listener, **arguments: Any) -> Any:
        editor = recorder.editor
        edits = [] if editor is None else [edit for mine in editor.rotations._by_layer.values() for edit in mine]
        placed = next((edit for edit in edits if edit.positions is not None), None)
        if editor is not None and placed is not None:
            editor.rotations._by_layer.clear()
            arguments["position_ids"] = torch.tensor([placed.positions])
        return right(self, ids, recorder, **arguments)

    with mock.patch.object(ForwardPasses, "_pass", wrong):
        yield


@mistake("scores of an explicit pass are not soft-capped", family="gemma2")
def soft_cap_ignored(b: Bench) -> Iterator[None]:
    def wrong(inputs: AttentionInputs) -> Any:
        return attend_eagerly(replace(inputs, options={**inputs.options, "softcap": None}))

    with mock.patch("inspector.capture.listener.attend_eagerly", wrong):
        yield


@mistake("an edit is made while the prompt is read, and forgotten at the steps that write")
def forgotten_at_decode_steps(b: Bench) -> Iterator[None]:
    right = Editor.call

    def wrong(self: Editor, inputs: AttentionInputs) -> Any:
        prefill = inputs.query.shape[-2] == inputs.key.shape[-2]
        return right(self, inputs) if prefill else None

    with mock.patch.object(Editor, "call", wrong):
        yield


@mistake("the baseline runs through the fused kernel, the experiment through explicit tables")
def baseline_through_another_path(b: Bench) -> Iterator[None]:
    def wrong(self: EditedRuns) -> Editor:
        made = right(self)
        made._explicit = frozenset()
        return made

    right = EditedRuns.baseline
    with mock.patch.object(EditedRuns, "baseline", wrong):
        yield


@mistake("a patch takes the source's vectors from the position before")
def patched_from_the_wrong_position(b: Bench) -> Iterator[None]:
    right = EditPlaces.patched

    def wrong(self: EditPlaces, one: Any, positions: Any, layer: int) -> Any:
        rows, new = right(self, one, positions, layer)
        return rows, new.roll(1, dims=1) if new.shape[1] > 1 else one.values[layer][:, :1]

    with mock.patch.object(EditPlaces, "patched", wrong):
        yield


@mistake("a mean is taken over heads instead of tokens")
def mean_over_the_wrong_axis(b: Bench) -> Iterator[None]:
    right = EditedRuns._fetched

    def wrong(self: EditedRuns, edit: Any) -> Any:
        found = right(self, edit)
        if edit.kind != "mean":
            return found
        return {layer: mean.mean(0, keepdim=True).expand_as(mean) for layer, mean in found.items()}

    with mock.patch.object(EditedRuns, "_fetched", wrong):
        yield


@mistake("strength is ignored: half an edit is a whole one, and no edit too")
def strength_ignored(b: Bench) -> Iterator[None]:
    with mock.patch.object(edited_call, "blend", lambda old, new, strength: new.to(old).expand_as(old)):
        yield


@mistake("edits are held by the process, so that another thread's run is edited")
def another_threads_edit(b: Bench) -> Iterator[None]:
    class Shared:
        """A slot that all threads share."""

        held: Any = None
        main = threading.main_thread()

        def get(self) -> Any:
            return self.held

        def set(self, listener: Any) -> Any:
            before = self.held
            if threading.current_thread() is self.main or before is None:
                self.held = listener
            return before

        def reset(self, before: Any) -> None:
            self.held = before

    shared = Shared()
    with mock.patch.object(attention_interface, "active", shared), mock.patch.object(hooks, "active", shared):
        yield


@mistake("queries and keys change places: the cut edge looks from the key to the query")
def edges_the_wrong_way_round(b: Bench) -> Iterator[None]:
    right = EditPlaces.cut_edges

    def wrong(self: EditPlaces, edit: Any, rows: Any) -> Any:
        edges = right(self, edit, rows)
        return edges.T if edges.shape[0] == edges.shape[1] else edges

    with mock.patch.object(EditPlaces, "cut_edges", wrong):
        yield


@mistake("RoPE is edited for the prompt's layers but with the factors of the wrong planes")
def planes_of_rope_reversed(b: Bench) -> Iterator[None]:
    from inspector.capture import rotation_edits

    right = rotation_edits._frequencies

    def wrong(per_position: Any, edit: Any, made: Any) -> Any:
        return right(per_position.flip(-1), edit, made)

    with mock.patch.object(rotation_edits, "_frequencies", wrong):
        yield

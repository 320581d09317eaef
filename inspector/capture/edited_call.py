"""Edit one attention call: its queries, keys, values and mask before the function, weights and context after it."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from inspector.capture.attention_inputs import AttentionInputs, attend_eagerly
from inspector.capture.edit_places import BoundEdit, EditPlaces, blend
from inspector.capture.edits import Edit
from inspector.capture.masks import FORBIDS
from inspector.errors import InspectorError


class EditedCall:
    """One attention call under edits: `inputs` are edited already, `finish` edits the function's result."""

    def __init__(
        self,
        inputs: AttentionInputs,
        edits: Sequence[tuple[int, BoundEdit]],
        *,
        layer: int,
        past: int,
        n: int,
        explicit: bool,
        wanted: Collection[str] = (),
    ) -> None:
        """Take a call as the library made it.

        Args:
            inputs: what the library hands to its attention function.
            edits: those of this layer, each with its number.
            layer: which attention call of a pass.
            past: how many tokens of the text came before this pass.
            n: how many tokens the prompt has.
            explicit: the module's own eager function computes it.
            wanted: names of tensors to collect.
        """
        self.inputs, self.layer, self.explicit = inputs, layer, explicit
        self.remainders: dict[int, float] | None = None  # by how much laws are missed; None: not measured
        self.collected: dict[int, dict[str, Tensor]] = {}
        self._edits, self._wanted = edits, wanted
        self._before: AttentionInputs | None = None  # with the mask as it was
        t, s = inputs.query.shape[-2], inputs.key.shape[-2]
        self._at = EditPlaces(past=past, t=t, s=s, n=n, device=inputs.query.device)

    @property
    def weights_edited(self) -> bool:
        """Whether weights are no longer what queries, keys and mask make them."""
        return any(one.edit.stage == "weights" for _, one in self._edits)

    @property
    def context_edited(self) -> bool:
        """Whether the context is no longer the sum of weighted values that queries, keys and mask make."""
        return any(one.edit.stage in ("weights", "context") for _, one in self._edits)

    # -- before the function --------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Edit queries, keys, values and the mask."""
        for _, one in self._staged("vectors"):
            self._edit_vectors(one)
        if masked := self._staged("mask"):
            self._before = self.inputs
            mask = self.inputs.added_mask()
            saw = (mask > FORBIDS).any(-1)
            mask = self._own_mask(mask, [one for _, one in masked])
            for _, one in masked:
                self._edit_mask(mask, one)
            self._refuse_empty_rows(saw, mask)
            self.inputs = replace(self.inputs, mask=mask, mask_edited=True)
        for name in {"query", "key", "value"} & set(self._wanted):
            self._collect(name, getattr(self.inputs, name)[0])

    def _staged(self, stage: str) -> list[tuple[int, BoundEdit]]:
        return [(number, one) for number, one in self._edits if one.edit.stage == stage]

    def _edit_vectors(self, one: BoundEdit) -> None:
        edit, at = one.edit, self.inputs
        name = {"zero_value": "value", "temperature": "query", "scale_off": "query"}.get(edit.kind, str(edit.what))
        vectors = getattr(at, name)
        of_keys = name in ("key", "value")
        positions = self._at.columns if of_keys else self._at.rows
        if edit.kind == "patch":
            rows, new = self._at.patched(one, positions, self.layer)
        elif edit.kind == "zero_value":
            rows, new = (
                self._at.chosen(positions, edit.keys),
                torch.zeros((), dtype=vectors.dtype, device=vectors.device),
            )
        else:
            scale = at.options.get("scaling")
            scale = vectors.shape[-1] ** -0.5 if scale is None else float(scale)
            rows, new = self._at.chosen_rows(edit), None
            factor = 1 / scale if edit.kind == "scale_off" else float(edit.factor or 0)
        heads = self._at.heads(edit, vectors.shape[1], groups_of=at.query.shape[1] if of_keys else None)
        place = self._at.place(one, heads, rows, vectors)
        old = vectors[place]
        target = old * factor if new is None else self._at.of_heads(new, heads)
        changed = vectors.clone()
        changed[place] = blend(old, target, edit.strength)
        self.inputs = replace(at, **{name: changed})

    def _own_mask(self, mask: Tensor, edits: Sequence[BoundEdit]) -> Tensor:
        """Copy the mask once, [b or 1, h or 1, t, s]: a table for each row and head that some edit tells apart."""
        batch, heads = self.inputs.query.shape[:2]
        return mask.expand(
            batch if any(one.row is not None for one in edits) else mask.shape[0],
            heads if any(one.edit.heads is not None for one in edits) else mask.shape[1],
            len(self._at.rows),
            -1,
        ).clone()

    def _edit_mask(self, mask: Tensor, one: BoundEdit) -> None:
        """Make one edit in a mask [b or 1, h or 1, t, s] of one's own."""
        edit = one.edit
        mine = torch.zeros(len(self._at.rows), dtype=torch.bool, device=mask.device)
        mine[self._at.chosen_rows(edit)] = True
        low = torch.finfo(mask.dtype).min
        chosen = self._at.heads(edit, mask.shape[1])
        part = mask[:, chosen] if one.row is None else mask[one.row : one.row + 1, chosen]
        if edit.kind == "mask_off":
            opened = (part <= FORBIDS) & mine[:, None]
            part = torch.where(opened, torch.log(torch.tensor(edit.strength)).clamp_min(low).to(mask), part)
        else:
            gone = self._at.cut_edges(edit, mine)
            part = torch.where(
                gone, low if edit.strength == 1 else part + torch.log1p(torch.tensor(-edit.strength)).to(mask), part
            )
        if one.row is None:
            mask[:, chosen] = part
        else:
            mask[one.row : one.row + 1, chosen] = part

    def _refuse_empty_rows(self, saw: Tensor, mask: Tensor) -> None:
        left = (mask > FORBIDS).any(-1)
        if bool((saw & ~left).any()):
            row = int((saw & ~left).flatten(0, -2).any(0).nonzero()[0])
            raise InspectorError(
                f"Nothing is left for token {int(self._at.rows[row])} to look at in layer {self.layer}: a softmax "
                "needs a key, so leave it one, such as itself."
            )

    # -- after it -------------------------------------------------------------------------------------------------

    def finish(self, result: Any) -> Any:
        """Edit weights and context, measure laws, and collect what was asked for.

        Args:
            result: the function's: context [b, t, h, d_value], and weights [b, h, t, s] or None.

        Returns:
            What the model goes on with.

        Raises:
            InspectorError: weights were to be edited, and this function's context is not weights times values.
        """
        context, weights = result[0], result[1] if len(result) > 1 else None
        if self.remainders is not None and self._before is not None:
            self._measure_cuts(weights)
        if self._staged("weights"):
            context, weights = self._edit_weights(context, weights)
        if staged := self._staged("context"):
            context = context.clone()
            for number, one in staged:
                before = context.clone() if self._measured(one.edit) else None
                self._edit_context(context.transpose(1, 2), one)
                if before is not None:
                    self._measure_replaced(number, one, before.transpose(1, 2), context.transpose(1, 2))
        for name, tensor in (
            ("context", context[0].transpose(0, 1)),
            ("weights", None if weights is None else weights[0]),
        ):
            if name in self._wanted and tensor is not None:
                self._collect(name, tensor)
        return (context, weights, *result[2:])

    def _edit_weights(self, context: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
        kind = type(self.inputs.module).__name__
        value = self.inputs.value
        value = value.repeat_interleave(self.inputs.query.shape[1] // value.shape[1], dim=1)
        summed = None if weights is None else (weights.to(value.dtype) @ value).transpose(1, 2)
        # A row's weights add up to 1: both sums are off by few roundings of the largest value.
        room = 32 * torch.finfo(value.dtype).eps * float(value.abs().max())
        if weights is None or summed is None or float((summed - context).abs().max()) > room:
            raise InspectorError(
                f"{kind} (layer {self.layer}) does more than sum values by its weights, so weights cannot be edited "
                "there; edit its head outputs or its mask instead."
            )
        edited = weights.clone()
        for number, one in self._staged("weights"):
            edit = one.edit
            heads = self._at.heads(edit, edited.shape[1])
            if edit.kind == "patch":
                rows, new = self._at.patched(one, self._at.rows, self.layer)
                new = self._at.by_key(new)
                place = self._at.place(one, heads, rows, edited)
                before = edited.clone() if self._measured(edit) else None
                edited[place] = blend(edited[place], self._at.of_heads(new, heads), edit.strength)
                if before is not None:
                    self._measure_replaced(number, one, before, edited)
                continue
            mine = torch.zeros(len(self._at.rows), dtype=torch.bool, device=edited.device)
            mine[self._at.chosen_rows(edit)] = True
            gone = self._at.cut_edges(edit, mine)
            place = self._at.place(one, heads, torch.arange(len(self._at.rows), device=edited.device), edited)
            edited[place] = torch.where(gone, edited[place] * (1 - edit.strength), edited[place])
            if len(self._edits) == 1 and self._measured(
                edit
            ):  # the law: what is left is the old sum without the dropped keys' part
                lost = (
                    torch.zeros_like(edited).index_put(place, weights[place] * gone).to(value.dtype) @ value
                ).transpose(1, 2)
                left = (edited.to(value.dtype) @ value).transpose(1, 2)
                self._note(number, edit, (summed - lost - left).abs().max() / value.abs().max())
        mixed = (edited.to(value.dtype) @ value).transpose(1, 2)
        # Where the function's own sum is rounded otherwise, heads that no edit changes keep it.
        same = (edited == weights).all(-1).transpose(1, 2)[..., None]
        return torch.where(same, context, mixed), edited

    def _edit_context(self, context: Tensor, one: BoundEdit) -> None:
        """Edit context [b, h, t, d_value] in its place."""
        edit = one.edit
        heads = self._at.heads(edit, context.shape[1])
        if edit.kind == "patch":
            rows, new = self._at.patched(one, self._at.rows, self.layer)
        elif edit.kind == "mean":
            rows, new = self._at.chosen_rows(edit), one.values[self.layer]
            if edit.by_position:  # there is a mean for the prompt's tokens only
                rows = rows[self._at.rows[rows] < new.shape[1]]
                new = new[:, self._at.rows[rows]]
        else:
            rows, new = self._at.chosen_rows(edit), None
        place = self._at.place(one, heads, rows, context)
        old = context[place]
        factor = 0.0 if edit.kind == "zero" else edit.factor
        target = self._at.of_heads(new, heads) if new is not None else old * float(factor or 0)
        context[place] = blend(old, target, edit.strength)

    # -- laws -----------------------------------------------------------------------------------------------------

    def _measured(self, edit: Edit) -> bool:
        """Whether an edit's law is measured in this run: it says what the whole edit leaves."""
        return self.remainders is not None and edit.strength == 1

    def _measure_replaced(self, number: int, one: BoundEdit, before: Tensor, after: Tensor) -> None:
        """Measure the law of what replaces rows of heads [b, h, t, width]: they are as meant, and all others untouched.

        Which heads and rows are meant is read off the edit here, and not asked of what made the edit.
        """
        edit, due = one.edit, before.clone()
        source = one.values[self.layer] if edit.kind in ("mean", "patch") else None
        from_where = dict(zip(edit.positions or (), edit.source_positions or edit.positions or (), strict=True))
        for row, position in enumerate(self._at.rows.tolist()):
            prompts = position < self._at.n
            if edit.kind == "patch":
                acts = position in from_where if edit.positions is not None else position < source.shape[1]  # type: ignore[union-attr]
            else:
                acts = (edit.queries is None or position in edit.queries) and edit.when in (
                    "both", "prompt" if prompts else "new",
                )  # fmt: skip
            if edit.by_position and source is not None:
                acts = acts and position < source.shape[1]
            for head in (edit.heads or range(before.shape[1])) if acts else ():
                if source is None:
                    due[:, head, row] = before[:, head, row] * float(edit.factor or 0) if edit.kind == "scale" else 0
                elif edit.kind == "patch":
                    due[:, head, row] = source[head, from_where.get(position, position)].to(before)
                else:
                    due[:, head, row] = source[head, position if edit.by_position else 0].to(before)
        self._note(number, edit, torch.where(after == due, 0.0, (after - due).abs().double()).max())

    def _measure_cuts(self, weights: Tensor | None) -> None:
        """Measure the law of a cut before the softmax: what is left shares what was cut, in its old proportions."""
        staged = self._staged("mask")
        whole = all(one.edit.kind != "mask_off" and one.edit.strength == 1 for _, one in staged)
        if weights is None or self._before is None or not whole:
            return
        was = attend_eagerly(self._before)[1].double()
        low = self.inputs.added_mask() <= FORBIDS
        taken = (was * low).sum(-1, keepdim=True)
        kept = torch.where(low, 0.0, was / (1 - taken))
        solid = (taken < 0.99).expand_as(kept)  # where nearly all was cut, the rest is rounding, and may round to none
        miss = torch.where(solid, weights.double() - kept, 0.0).abs().max()
        miss = torch.maximum(miss, (weights * low).abs().max().double())
        for number, one in staged:
            self._note(number, one.edit, miss)

    def _note(self, number: int, edit: Edit, miss: Tensor) -> None:
        if self.remainders is not None and edit.strength == 1:
            found = float(miss)  # what is no number is no law that held
            self.remainders[number] = max(self.remainders.get(number, 0.0), math.inf if math.isnan(found) else found)

    def _collect(self, name: str, tensor: Tensor) -> None:
        self.collected.setdefault(self.layer, {})[name] = tensor.clone()

"""Find which heads, rows and keys of an attention call an edit acts on, by their positions in the whole text."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from inspector.capture.edits import Edit


@dataclass(frozen=True)
class BoundEdit:
    """An edit that has met its model and prompt.

    Attributes:
        edit: with layers named and no negative position.
        values: what comes from elsewhere, by layer: queries [h, t, d], keys [g, s, d], values [g, s, d_value], weights
            [h, t, s], context [h, t, d_value]; a mean [h, 1 or t, d_value].
        row: of a batch in which each row has edits of its own, the one that this is for; None: all.
    """

    edit: Edit
    values: Mapping[int, Tensor] = field(default_factory=dict)
    row: int | None = None


class EditPlaces:
    """Where the rows and keys of one call stand in the whole text: a pass with a cache sees a part of them."""

    def __init__(self, *, past: int, t: int, s: int, n: int, device: torch.device) -> None:
        """Give each row and key its position.

        Args:
            past: how many tokens of the text came before this pass.
            t: how many query rows it has.
            s: how many keys, the last of which is the last row's own.
            n: how many tokens the prompt has.
            device: of the call's tensors.
        """
        self.n = n
        self.rows = torch.arange(past, past + t, device=device)
        self.columns = torch.arange(past + t - s, past + t, device=device)

    def chosen(self, positions: Tensor, wanted: Collection[int] | None) -> Tensor:
        """Return the indices of these positions that are wanted."""
        if wanted is None:
            return torch.arange(len(positions), device=positions.device)
        return torch.isin(positions, torch.tensor(sorted(wanted), device=positions.device)).nonzero()[:, 0]

    def chosen_rows(self, edit: Edit) -> Tensor:
        """Return the indices of this pass's rows that an edit acts on."""
        rows = self.chosen(self.rows, edit.queries)
        if edit.when == "both":
            return rows
        return rows[(self.rows[rows] < self.n) == (edit.when == "prompt")]

    def patched(self, one: BoundEdit, positions: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Return the indices that a patch replaces here, and what takes their place, [heads, tokens, width]."""
        source, edit = one.values[layer], one.edit
        targets = list(range(source.shape[1])) if edit.positions is None else list(edit.positions)
        origins = targets if edit.source_positions is None else list(edit.source_positions)
        here: Mapping[int, int] = {int(position): index for index, position in enumerate(positions)}
        pairs = [(here[target], origin) for target, origin in zip(targets, origins, strict=True) if target in here]
        rows = torch.tensor([index for index, _ in pairs], dtype=torch.long, device=positions.device)
        return rows, source[:, [origin for _, origin in pairs]]

    def by_key(self, weights: Tensor) -> Tensor:
        """Return a source's weights [heads, rows, its tokens] as this pass has keys: 0 for those written since."""
        known = (self.columns >= 0) & (self.columns < weights.shape[-1])
        found = weights.new_zeros(*weights.shape[:-1], len(self.columns))
        found[..., known] = weights[..., self.columns[known]]
        return found

    def heads(self, edit: Edit, count: int, *, groups_of: int | None = None) -> Tensor:
        """Return the heads (or key/value heads, of so many query heads) that an edit acts on, out of `count`."""
        if edit.heads is None or count == 1:
            return torch.arange(count, device=self.rows.device)
        heads = edit.heads if groups_of is None else sorted({head // (groups_of // count) for head in edit.heads})
        return torch.tensor(heads, device=self.rows.device)

    def place(self, one: BoundEdit, heads: Tensor, rows: Tensor, tensor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the index of some heads and rows of a tensor [b, heads, rows, width]."""
        batch = torch.arange(tensor.shape[0], device=tensor.device) if one.row is None else torch.tensor([one.row])
        return batch[:, None, None], heads[None, :, None], rows[None, None, :]

    def of_heads(self, new: Tensor, heads: Tensor) -> Tensor:
        """Return the part of new values [heads, tokens, width] that is of these heads; a single number stays."""
        return new if new.ndim == 0 else new[heads]

    def cut_edges(self, edit: Edit, rows: Tensor) -> Tensor:
        """Return which edges [t, s] an edit takes away, of the rows (bool [t]) it acts on."""
        back = self.rows[:, None] - self.columns[None, :]
        if edit.kind == "window":
            return rows[:, None] & (back >= int(edit.window or 1))
        gone = torch.zeros(len(self.columns), dtype=torch.bool, device=rows.device)
        gone[self.chosen(self.columns, edit.keys)] = True
        edges = rows[:, None] & gone
        return edges if edit.queries is not None else edges & (back != 0)  # a token keeps itself


def blend(old: Tensor, new: Tensor, strength: float) -> Tensor:
    """Return what lies between old and new: the new at strength 1, and at 0 the old to the last bit.

    Args:
        old: any shape.
        new: of a shape that spreads over it.
        strength: 0 to 1.

    Returns:
        In the dtype and shape of the old.
    """
    new = new.to(old).expand_as(old)
    return new if strength == 1 else old + strength * (new - old)

"""Run many variants of one prompt and measure the next token of each: as rows of a batch, or one by one.

A row joins at the first layer that its variant changes (a growing batch), or begins at the first token that it changes:
what stands before comes from the prompt's key/value cache.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from inspector.capture.edit_places import BoundEdit
from inspector.capture.edits import Edit
from inspector.capture.growing_batch import GrowingBatch
from inspector.capture.listener import Listener
from inspector.errors import NotRun
from inspector.lab.effects import Readout, bits_between, token_rank
from inspector.lab.report import Control
from inspector.model.edited_runs import TABLES, EditedRuns
from inspector.model.model import Model
from inspector.model.prefix_cache import PrefixCache

ROWS_AT_MOST = 90  # of one pass: long enough for whole matrices, short enough to be cancelled between
BYTES_AT_MOST = 600 * 2**20  # of what one pass holds for its rows
FEW_ROWS = 4  # of a pass that begins at a later token, at least: fewer take nearly as long
ROOM = 1e-4  # of the largest logit: sums of a batch run in another order than those of one row, in every layer


@dataclass(frozen=True)
class Agreement:
    """How variants of the largest effects, run one by one, agree with their rows of the batch."""

    variants: int
    elements: int
    differing: int
    max_abs: float
    tolerance: float

    @property
    def held(self) -> bool:
        """Whether they do, to rounding."""
        return self.max_abs <= self.tolerance


class Variants:
    """The variants of one prompt, each with one edit, in the order of the layers that they change first.

    Attributes:
        base: [vocabulary], the baseline's logits after the last token.
        measured: of each variant that has run: the readout, KL in bits from the baseline, the token's rank.
        way: how they were run, in words.
    """

    def __init__(self, model: Model, ids: Sequence[int], runs: EditedRuns, edits: Sequence[Edit]) -> None:
        """Run the baseline.

        Args:
            model: the model.
            ids: the prompt's n token ids.
            runs: the edit that these are parts of.
            edits: one for each variant.
        """
        self._model, self._ids, self._runs, self._edits = model, ids, runs, edits
        self.base = self._logits(None)
        self.measured: list[tuple[float, float, int]] = []
        self.way = "as rows of a batch"
        self._largest: dict[int, Tensor] = {}  # logits of the variants of the largest effects

    def measure(self, readout: Readout, *, on_part: Callable[[int], None], check: int) -> Agreement | None:
        """Run all variants.

        Args:
            readout: the token that is looked at.
            on_part: called with how many are done, after each part; what it raises ends the run.
            check: how many of the largest effects, the last pass's largest among them, are run one by one as well.

        Returns:
            How these agree; None where all were run one by one.
        """
        firsts = [first_changed(edit) for edit in self._edits]
        ways = {"as rows of a batch, each from the first token on that it changes": self._from_first(firsts)}
        early = min(min(edit.layers or (0,)) for edit in self._edits) < len(self._model.layers) / 2
        ways = {**(ways if early and all(firsts) else {}), "as rows of a batch": self._batched()}
        for way, parts in ways.items():
            self.way = way
            try:
                self._run(parts, readout, on_part, keep=check)
                agreement = self._agreement()
                if agreement.held:
                    return agreement
                why = f"for as rows of a batch they were off by {agreement.max_abs:.2g}"
            except NotRun as error:
                why = f"for they do not run as rows of a batch ({error.__cause__})"
            self.measured.clear()
            self._largest.clear()
        self.way = f"one by one, {why}"
        self._run(self._one_by_one(), readout, on_part, keep=0)
        return None

    def control(self) -> Control:
        """Run the variant of the largest effect at strength 0, which may change no logit."""
        largest = max(range(len(self.measured)), key=lambda number: self.measured[number][1])
        still = self._logits(replace(self._edits[largest], strength=0.0))
        return Control(
            differing=int((still != self.base).sum()),
            elements=still.numel(),
            max_abs=float((still.double() - self.base.double()).abs().max()),
        )

    # -- inside ---------------------------------------------------------------------------------------------------

    def _run(self, parts: Iterator[Tensor], readout: Readout, on_part: Callable[[int], None], *, keep: int) -> None:
        before = self.base.double().log_softmax(-1)
        for part in parts:
            bits = bits_between(before, part.double().log_softmax(-1)).tolist()
            values = readout.value(part.double()).tolist()
            for row, value, size in zip(part, values, bits, strict=True):
                self._largest[len(self.measured)] = row
                self.measured.append((value, size, token_rank(row, readout.token)))
            best = sorted(self._largest, key=lambda number: -self.measured[number][1])[:keep]
            last = max(range(len(self.measured) - len(part), len(self.measured)), key=lambda i: self.measured[i][1])
            if keep > 1 and last not in best:  # rows that ran in another pass than the largest are looked at too
                best[-1] = last
            self._largest = {number: self._largest[number].clone() for number in best}
            on_part(len(self.measured))

    def _batched(self) -> Iterator[Tensor]:
        values, start = self._runs.values(0), 0
        while start < len(self._edits):
            part = self._edits[start : start + self._rows_at_once()]
            bound = [BoundEdit(edit, values, row=1 + number) for number, edit in enumerate(part)]
            joining = Counter(min(edit.layers or (0,)) for edit in part)
            batch = GrowingBatch(self._runs.of_rows(bound), joining)
            found = self._model.passes.rows(self._ids, batch)
            if len(found) != 1 + len(part):
                raise NotRun("The batch did not grow.") from RuntimeError("its blocks take no further rows")
            yield found[1:]
            start += len(part)

    def _from_first(self, firsts: Sequence[int]) -> Iterator[Tensor]:
        """Run variants that first change nearly the same token together, from there on."""
        listener = Listener()
        listener.editor = self._runs.of_rows([])
        cache, values = PrefixCache(self._model.passes, self._ids, listener), self._runs.values(0)
        start, room = 0, max(FEW_ROWS, len(self._ids) // 8)
        while start < len(firsts):
            near = firsts[start : start + self._rows_at_once()]
            rows = next((i for i, first in enumerate(near) if abs(first - near[0]) >= room), len(near))
            first = min(near[:rows])
            edits = self._edits[start : start + rows]
            listener = Listener()
            bound = [BoundEdit(edit, values, row=number) for number, edit in enumerate(edits)]
            listener.editor = self._runs.of_rows(bound, past=first)
            yield cache.rows(first, rows, listener)
            start += rows

    def _one_by_one(self) -> Iterator[Tensor]:
        for edit in self._edits:
            yield self._logits(edit)[None]

    def _logits(self, edit: Edit | None) -> Tensor:
        """Return the logits [vocabulary] after the last token, of one variant or (None) of the baseline."""
        listener = Listener()
        bound = [] if edit is None else [BoundEdit(edit, self._runs.values(0))]
        listener.editor = self._runs.of_rows(bound)
        return self._model.passes.rows(self._ids, listener)[0]

    def _agreement(self) -> Agreement:
        pairs = [(row, self._logits(self._edits[number])) for number, row in self._largest.items()]
        off = max(float((row.double() - alone.double()).abs().max()) for row, alone in pairs)
        return Agreement(
            variants=len(pairs),
            elements=sum(row.numel() for row, _ in pairs),
            differing=sum(int(torch.ne(row, alone).sum()) for row, alone in pairs),
            max_abs=off,
            tolerance=ROOM * float(self.base.abs().max()),
        )

    def _rows_at_once(self) -> int:
        """Return how many rows one pass may have, as memory allows."""
        sizes, n = self._model.sizes, len(self._ids)
        tables = max((self._model.layers[layer].heads for layer in self._runs.explicit), default=0)
        cached = n * sum(info.kv_heads * (info.d_head + info.d_value) for info in self._model.layers)
        numbers = n * (8 * sizes.width + 3 * sizes.inner_width) + sizes.vocabulary + TABLES * tables * n**2 + cached
        return max(1, min(ROWS_AT_MOST, BYTES_AT_MOST // (4 * numbers)))


def first_changed(edit: Edit) -> int:
    """Return the first token in whose rows an edit can change anything: those before it do not look that far.

    Args:
        edit: with positions counted from the first token.
    """
    if edit.kind not in ("cut", "drop") or edit.keys is None:
        return 0
    return min(edit.keys) + 1 if edit.queries is None else min(edit.queries)

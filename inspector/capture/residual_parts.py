"""Record everything that the blocks add to the residual stream of some tokens, and what makes logits of it.

A block's result is what it received plus what its attention and its other parts made. Which of them are added, and
times which factor, is found by their sum, which must be the block's result in every element: no model is known by name.
Where a block has no attention and no such sum is seen, what it added is its result less what it received.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from inspector.capture.listener import Listener

MOST_OTHERS = 2  # what a block adds beside its attention: mostly one MLP, or two experts' sums


@dataclass(frozen=True)
class Passed:
    """A module that was called with vectors [p, m] of the p tokens and returned others."""

    name: str
    module: nn.Module
    received: Tensor
    returned: Tensor


@dataclass(frozen=True)
class Addition:
    """What may be added to the residual stream: `vectors` [p, m], made by `steps` of what was first, times `factor`."""

    vectors: Tensor
    steps: tuple[Passed, ...] = ()
    factor: float = 1.0


@dataclass
class BlockParts:
    """One run of a block: what it received, what it added, and how its attention was called.

    output: what the attention returned [p, m]. input: what it received. input_step: what made that of the residual;
    None where it is the residual itself, or where no one part made it (`input_known` tells these apart).
    attention_added, others: what was added; None where no sum shows it, and `why_not` says so.
    number: of all blocks, in the order of their runs. before: the blocks without attention that ran just before.
    difference: `others` is the result less the residual: no sum was seen in this block without attention.
    """

    attention: nn.Module | None
    residual: Tensor
    input: Tensor | None = None
    input_step: Passed | None = None
    input_known: bool = False
    output: Tensor | None = None
    attention_added: Addition | None = None
    others: tuple[Addition, ...] = ()
    result: Tensor | None = None
    why_not: str = ""
    runs: int = 0
    number: int = 0
    before: tuple[BlockParts, ...] = ()
    difference: bool = False
    _made: list[Addition] = field(default_factory=list)  # of the attention output
    _beside: list[Addition] = field(default_factory=list)  # of anything else

    def part(self, passed: Passed) -> None:
        """Note a part of the block that has run."""
        for earlier in self._made:
            if _same(earlier.vectors, passed.received):
                self._made.append(Addition(passed.returned, (*earlier.steps, passed)))
                return
        self._beside.append(Addition(passed.returned, (passed,)))

    def unseen(self, returned: Tensor) -> None:
        """Note what a part returned whose input was not one vector a token in the block's own form."""
        self._beside.append(Addition(returned))

    def attention_ran(self, output: Tensor) -> None:
        """Note the attention output, and find what made the attention input of the residual."""
        self.runs += 1
        self.output = output
        self._made.append(Addition(output))
        if self.input is None:
            return
        if _same(self.input, self.residual):
            self.input_known = True
            return
        for step in (made.steps[0] for made in self._beside if made.steps):
            if _same(step.received, self.residual) and _same(step.returned, self.input):
                self.input_step, self.input_known = step, True

    def finish_without_attention(self, module: nn.Module, result: Tensor) -> None:
        """Find what was added by a block without attention, now that it has returned."""
        self.result = result
        beside = [_times(one, factor) for factor in self._factors(module) for one in reversed(self._beside)]
        for count in range(1, MOST_OTHERS + 1):
            for others in combinations(beside, count):
                if any(_same(total, result) for total in self._sums(None, others, result)):
                    self.others = others[::-1]  # in the order of their runs
                    return
        self.difference, self.others = True, (Addition(result.double() - self.residual.double()),)

    def finish(self, module: nn.Module, result: Tensor) -> None:
        """Find what was added, now that the block has returned."""
        self.result = result
        if self.runs != 1:
            self.why_not = f"its attention runs {self.runs} times"
        elif not self._find(module, result):
            self.why_not = (
                "it goes on with no sum of what it received and what its parts made (the nearest misses it by "
                f"{self._nearest(module, result):.2g} of its largest number)"
            )
        self._made, self._beside = [], []

    def _find(self, module: nn.Module, result: Tensor) -> bool:
        for added, others in self._candidates(module):
            if any(_same(total, result) for total in self._sums(added, others, result)):
                self.attention_added, self.others = added, others
                return True
        return False

    def _nearest(self, module: nn.Module, result: Tensor) -> float:
        """Return by how much the nearest sum misses the result in its last token, over its largest number."""
        found, due = [1.0], result[-1].double()
        for added, others in self._candidates(module):
            parts = [self.residual[-1], *(one.vectors[-1] for one in (added, *others))]
            if all(part.shape == due.shape for part in parts):
                total = torch.stack([part.double() for part in parts]).sum(0)
                found.append(float((total - due).abs().max() / due.abs().max().clamp_min(1e-30)))
        return min(found)

    def _candidates(self, module: nn.Module) -> Iterator[tuple[Addition, tuple[Addition, ...]]]:
        factors = self._factors(module)
        attention = [_times(one, factor) for factor in factors for one in reversed(self._made)]
        beside = [_times(one, factor) for factor in factors for one in reversed(self._beside)]
        for count in range(MOST_OTHERS + 1):
            for added in attention:
                for others in combinations(beside, count):
                    yield added, others

    def _factors(self, module: nn.Module) -> list[float]:
        return [1.0, *(value for value in vars(module).values() if isinstance(value, float) and value != 1)]

    def _sums(self, added: Addition | None, others: Sequence[Addition], result: Tensor) -> Iterator[Tensor]:
        """Yield the sums of residual, attention (None: there is none) and others in every order that a block may take.

        Of the last token alone first: where that is another, no more is summed.
        """
        parts = [one.vectors for one in (added, *others) if one is not None]
        if any(part.shape != result.shape for part in (self.residual, *parts)):
            return
        for rows in (slice(-1, None), slice(None)):
            r, a, *o = (x[rows] for x in (self.residual, *parts))
            if not o:
                found = [r + a]
            elif len(o) == 1:
                found = [(r + a) + o[0], (r + o[0]) + a, (a + o[0]) + r]
            else:
                found = [((r + a) + o[0]) + o[1], ((r + a) + o[1]) + o[0], (r + a) + (o[0] + o[1])]
                found += [(r + (a + o[0])) + o[1], (r + (a + o[1])) + o[0]]
            if rows.start is None:
                yield from found
            elif not any(_same(total, result[rows]) for total in found):
                return


class ResidualPartsRecorder(Listener):
    """Record the parts of the residual stream of the tokens at `positions`.

    Attributes:
        embedding: what the first block received [p, m].
        blocks: those with attention, in the order of their runs.
        after: the blocks without attention that ran after the last of these.
        outside: of one token, the modules that ran after the last block, the output embeddings last.
        why_not: why the blocks do not form a sum from the first to the last; empty: they do.
    """

    def __init__(self, positions: Sequence[int], n: int, attention: Collection[int]) -> None:
        """Prepare one pass over n tokens; `attention` has the id() of each attention module."""
        super().__init__()
        self.positions, self.n, self._attention = list(positions), n, attention
        self.embedding: Tensor | None = None
        self.blocks: list[BlockParts] = []
        self.after: list[BlockParts] = []
        self.outside: list[Passed] = []
        self._open: BlockParts | None = None
        self._received: Tensor | None = None
        self._last: Tensor | None = None  # what the last block returned
        self._count = 0  # blocks so far
        self.why_not = ""

    def _rows(self, x: Any) -> Tensor | None:
        """Return the rows of these tokens, a copy: a model may add to its tensors in place later."""
        x = x[0] if isinstance(x, tuple | list) and x else x
        if not isinstance(x, Tensor) or x.ndim not in (2, 3) or x.shape[-2] != self.n:
            return None
        return (x if x.ndim == 2 else x[0])[self.positions]  # some experts drop the batch

    def enter_block(self, attention: nn.Module | None, hidden_states: Tensor) -> None:
        """Note what a block received, which must be what the one before returned."""
        # Something else in a block may compute a softmax, such as a router of experts or a recurrence.
        attends = attention is not None and id(attention) in self._attention
        rows = self._rows(hidden_states)
        if not attends and (self._open is not None or rows is None or not self._goes_on(rows)):
            return
        if rows is None:
            self.why_not = self.why_not or f"block {self._count} does not receive one vector for each token"
            return
        if self._open is not None:  # the same block, by way of something else in it
            self._count -= 1
        if not self._goes_on(rows):
            self.why_not = self.why_not or f"block {self._count} does not receive what block {self._count - 1} returned"
        if self.embedding is None:
            self.embedding = rows
        self._open = BlockParts(attention, rows, number=self._count)
        self._count += 1
        self.outside = []
        if attends:
            self._open.before, self.after = tuple(self.after), []
            self.blocks.append(self._open)

    def _goes_on(self, rows: Tensor) -> bool:
        """Whether a block that receives these rows is the first, or receives what the one before returned."""
        return self.embedding is None or self._last is None or _same(rows, self._last)

    def enter_attention(self, module: nn.Module, hidden_states: Tensor, arguments: Any) -> None:
        """Note the attention input."""
        del arguments
        if self._open is not None and self._open.attention is module:
            self._open.input = self._rows(hidden_states)

    def leave_attention(self, module: nn.Module, output: Any) -> None:
        """Note the attention output."""
        if self._open is None or self._open.attention is not module or (rows := self._rows(output)) is None:
            return
        if id(module) in self._attention:
            self._open.attention_ran(rows)
        else:
            self._open.unseen(rows)

    def enter_part(self, attention: nn.Module | None, name: str, hidden_states: Tensor) -> None:
        """Note what another part of the block receives."""
        del name
        if self._open is not None and self._open.attention is attention:
            self._received = self._rows(hidden_states)

    def leave_part(self, attention: nn.Module | None, name: str, module: nn.Module, output: Any) -> None:
        """Note what that part returns."""
        if self._open is None or self._open.attention is not attention:
            return
        rows, received, self._received = self._rows(output), self._received, None
        if rows is None:
            return
        if rows.shape == self._open.residual.shape and received is not None:
            self._open.part(Passed(name, module, received, rows))
        elif rows.shape == self._open.residual.shape:
            self._open.unseen(rows)

    def leave_block(self, attention: nn.Module | None, module: nn.Module, output: Any) -> None:
        """Find what the block added."""
        attends = id(attention) in self._attention
        if not attends and (self._open is None or self._open.attention is not attention):
            return
        block, self._open = self._open, None
        rows = self._rows(output)
        if block is None or block.attention is not attention or rows is None or rows.shape != block.residual.shape:
            self.why_not = self.why_not or f"block {self._count - 1} does not return one vector for each token"
            return
        if attends:
            block.finish(module, rows)
        else:
            block.finish_without_attention(module, rows)
            self.after.append(block)
        self._last = rows
        if block.why_not:
            self.why_not = self.why_not or f"in block {block.number}, {block.why_not}"

    def leave_outside(self, name: str, module: nn.Module, hidden_states: Tensor, output: Any) -> None:
        """Note a module after the blocks; where logits of some tokens alone are computed, of the first of these."""
        if not self.blocks or self._open is not None or not isinstance(output, Tensor) or output.ndim != 3:
            return
        if len(self.positions) > 1:  # logits are not asked for then, and would be n x vocabulary
            return
        received, returned = (
            x[0, self.positions] if x.shape[1] == self.n else x[0, :1] for x in (hidden_states, output)
        )
        self.outside.append(Passed(name, module, received, returned))


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


def _times(one: Addition, factor: float) -> Addition:
    return one if factor == 1 else Addition(one.vectors * factor, one.steps, factor)

"""Find which changes of settings give somebody's numbers: one mistake, a measured value, or two mistakes at once.

Each stage is tried from somebody's own numbers of the steps before, where these were handed over, so that a second
mistake is not hidden by the first. A change counts only where it brings the numbers to rounding, from far away.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inspector.judging.chain import PARENTS, Chain
from inspector.judging.change import Change
from inspector.judging.changes import every_change
from inspector.judging.distances import apart, far_from, golden, nice
from inspector.judging.numbers_measured import Number, numbers
from inspector.judging.settings import Settings
from inspector.verification.compare import STAGES

OWN_PARTS: dict[str, frozenset[str]] = {
    "query_pre": frozenset({"query"}),
    "key_pre": frozenset({"key"}),
    "value": frozenset({"value"}),
    "query": frozenset({"turn_query"}),
    "key": frozenset({"turn_key"}),
    "weights": frozenset({"weighing"}),
    "context": frozenset({"mixing"}),
    "output": frozenset({"joining"}),
}
PROMISING = 0.8  # of the difference: a value on the grid that leaves more is not followed further
CLOSER = 0.05  # a cause leaves a twentieth of the difference at most
# Of the largest number: a cause need only come so near. Their own second mistake, or the rounding of many steps that no
# limit of one step knows, may stand on top; that it leaves a twentieth (CLOSER) is asked as well.
NEAR = {torch.float32: 2e-4, torch.float64: 2e-4, torch.bfloat16: 3e-2, torch.float16: 4e-3}  # of the largest number


@dataclass(frozen=True)
class Cause:
    """What gives somebody's numbers at a stage: one change or two, and the difference with and without."""

    changes: tuple[Change, ...]
    stage: str
    settings: Settings
    before: float
    after: float
    instead: str = ""  # another mistake that gives the same numbers, which nothing handed over tells apart

    @property
    def what(self) -> str:
        """The mistakes, in words."""
        return ", and ".join(change.what for change in self.changes)


class Search:
    """The search for causes in one layer.

    Args:
        chain: the layer, with somebody's stages given.
        found: these stages, all that were handed over.
        limits: how far each may be off by rounding: stage -> numbers that broadcast to it.
        dtype: what somebody's code computes in.
    """

    def __init__(
        self, chain: Chain, found: Mapping[str, Tensor], limits: Mapping[str, Tensor], dtype: torch.dtype
    ) -> None:
        self.chain, self.found, self.limits, self.near = chain, found, limits, NEAR[dtype]
        self.all = every_change(chain)
        self.handed = [stage for stage in STAGES if stage in found]

    def causes(self, *, deep: bool = True) -> list[Cause]:
        """Explain every stage that does not follow from somebody's own numbers before it.

        Args:
            deep: also try two mistakes at once.
        """
        settings, found = self.chain.right, []
        for stage in self.handed:
            if self.holds(stage, settings):
                continue
            cause = self.explain(stage, settings, deep=deep)
            if cause is not None:
                found.append(cause)
                settings = cause.settings
        return found

    def holds(self, stage: str, settings: Settings) -> bool:
        """Tell whether a stage follows from somebody's own numbers before it, to rounding."""
        made, target = self.chain.stage(stage, settings), self.found[stage]
        if made.shape != target.shape or not torch.isfinite(target).all():
            return False
        return bool(((made - target).abs() <= self.limits[stage]).all())

    def explain(self, stage: str, settings: Settings, *, deep: bool = True) -> Cause | None:
        """Find the change, or the two, under which a stage comes out."""
        target = self.found[stage]
        finite = torch.isfinite(target)
        if not finite.any():
            return None
        before = self._far(stage, settings, target)
        between = parts_between(stage, self.chain.given)
        fitting = [change for change in self.all if change.parts & between]
        singles = self._matches(stage, settings, target, before, ((c,) for c in fitting))
        deep = deep and bool(finite.all())  # where it is not, one mistake alone is tried: a value cannot be measured
        if not singles and finite.all():
            singles = self._matches(
                stage, settings, target, before, ((c,) for c in self._fits(stage, settings, target, between))
            )
        if not singles and deep:
            common = [change for change in fitting if change.common]
            pairs = ((a, b) for i, a in enumerate(common) for b in common[i + 1 :] if together(a, b))
            singles = self._matches(stage, settings, target, before, pairs, enough=3)
        if not singles and deep:
            mixed = self._single_and_fit(stage, settings, target, [c for c in fitting if c.common], between)
            singles = self._matches(stage, settings, target, before, mixed, enough=1)
        return self._best(stage, singles, before) if singles else None

    def _matches(
        self,
        stage: str,
        settings: Settings,
        target: Tensor,
        before: float,
        tried: Iterable[tuple[Change, ...]],
        *,
        enough: int = 10**6,
    ) -> list[tuple[float, tuple[Change, ...], Settings]]:
        found: list[tuple[float, tuple[Change, ...], Settings]] = []
        for group in tried:
            new = settings
            for change in group:
                new = change.apply(new)
            if new == settings:
                continue
            after = self._far(stage, new, target)
            if after <= CLOSER * before and self._near_enough(stage, new, target, after):
                found.append((after, group, new))
                if len(found) >= enough:
                    break
        return found

    def _best(self, stage: str, matches: list[tuple[float, tuple[Change, ...], Settings]], before: float) -> Cause:
        """Choose among changes that give the same numbers: most other stages right, nearest, first in the list."""
        least = min(after for after, _, _ in matches)
        near = [match for match in matches if match[0] <= 3 * least + 1e-12][:8]
        later = [one for one in self.handed if one != stage]
        wrong = [sum(not self.holds(one, settings) for one in later) for _, _, settings in near]
        best = wrong.index(min(wrong))
        after, group, settings = near[best]
        mine = group[0]
        same = [other[0] for at, (_, other, _) in enumerate(near) if wrong[at] == wrong[best] and len(other) == 1]
        others = [one for one in same if one.what != mine.what]  # another value of the same number is no other mistake
        others = [one for one in others if one.parts != mine.parts or not set(one.measured) & set(mine.measured)]
        instead = others[0].what if others else ""
        return Cause(group, stage, settings, before, after, instead)

    def _far(self, stage: str, settings: Settings, target: Tensor) -> float:
        return apart(self.chain.stage(stage, settings), target)

    def _near_enough(self, stage: str, settings: Settings, target: Tensor, after: float) -> bool:
        size = float(target.nan_to_num(0.0, 0.0, 0.0).abs().max())
        if after <= self.near * max(size, 1e-30):
            return True
        limit = self.limits[stage]
        return bool(((self.chain.stage(stage, settings) - target).abs() <= limit).all())

    # -- values that may be any number ------------------------------------------------------------------------------

    def _fits(self, stage: str, settings: Settings, target: Tensor, between: frozenset[str]) -> Iterator[Change]:
        """Measure the values that may be any number, each by itself, and yield the changes to them."""
        for number in numbers(between, settings, self.chain.layer.spec):
            value = self._measured(stage, settings, target, number)
            if value is not None:
                for candidate in (*nice(value), value):
                    yield number.change(candidate)

    def _measured(
        self,
        stage: str,
        settings: Settings,
        target: Tensor,
        number: Number,
        *,
        points: int = 41,
        thorough: bool = True,
    ) -> float | None:
        """Return the number that brings a stage nearest: a grid, then golden sections; None where it brings nothing."""

        def far(log: float) -> float:
            return far_from(self.chain.stage(stage, number.change(math.exp(log)).apply(settings)), target)

        grid = torch.linspace(math.log(number.least), math.log(number.most), points).tolist()
        sizes = [far(at) for at in grid]
        least = sizes.index(min(sizes))
        if not thorough and sizes[least] > PROMISING * far_from(self.chain.stage(stage, settings), target):
            return None
        if not math.isfinite(sizes[least]):
            return None
        low, high = grid[max(0, least - 1)], grid[min(points - 1, least + 1)]
        return math.exp(golden(far, low, high))

    def _single_and_fit(
        self,
        stage: str,
        settings: Settings,
        target: Tensor,
        common: Sequence[Change],
        between: frozenset[str],
    ) -> Iterator[tuple[Change, ...]]:
        """Yield each common mistake together with a measured number that it leaves to be measured."""
        for change in common:
            new = change.apply(settings)
            if self._far(stage, new, target) == math.inf:
                continue
            for number in numbers(between, new, self.chain.layer.spec):
                if not number.often:
                    continue
                value = self._measured(stage, new, target, number, points=25, thorough=False)
                if value is not None and together(change, number.change(value)):
                    yield from ((change, number.change(candidate)) for candidate in (*nice(value), value))


def parts_between(stage: str, given: Iterable[str]) -> frozenset[str]:
    """Return the fields of Settings that act between the given stages and this one."""
    known = set(given) - {stage}
    found = set(OWN_PARTS[stage])
    waiting = list(PARENTS[stage])
    while waiting:
        one = waiting.pop()
        if one not in known:
            found |= OWN_PARTS[one]
            waiting += PARENTS[one]
    return frozenset(found)


def together(a: Change, b: Change) -> bool:
    """Tell whether two changes may be made at once: not two values of one thing."""
    return not (set(a.measured) & set(b.measured))

"""Say before a run of an atlas how much there is to do and about how long it takes, from a short timed pass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inspector.atlas.plan import Plan
from inspector.atlas.worker import part_path
from inspector.model.model import Model

STATISTICS = 1.34  # times a plain pass, as measured (docs/atlas.md)


@dataclass(frozen=True)
class Estimate:
    """What is still to be done.

    Attributes:
        rows: of the whole corpus.
        tokens: of a row, at most.
        shards: of the whole corpus.
        missing: shards that are not there yet.
        seconds: that these take in one process here, roughly; None: it is not known.
    """

    rows: int
    tokens: int
    shards: int
    missing: int
    seconds: float | None

    def in_words(self, workers: int = 1) -> str:
        """Say it in one sentence.

        Args:
            workers: processes that share the work.
        """
        there = f"{self.rows:,} rows of up to {self.tokens} tokens in {self.shards:,} shards"
        if not self.missing:
            return f"{there}, all computed."
        takes = "" if self.seconds is None else f", about {_duration(self.seconds / workers)} on this machine"
        left = "" if self.missing == self.shards else f"; {self.missing:,} shards are still to do"
        return f"{there}{left}{takes}. Ctrl+C stops it; the same command goes on."


def estimated(model: Model, folder: Path) -> Estimate:
    """Estimate what an atlas whose rows are written still takes.

    Args:
        model: the plan's.
        folder: the atlas's.
    """
    plan = Plan.load(folder)
    missing = sum(not part_path(folder, number).exists() for number in range(plan.shards))
    a_row = model.cost([1] * plan.tokens).seconds if missing else 0.0
    seconds = None if a_row is None else STATISTICS * a_row * plan.rows * missing / max(plan.shards, 1)
    return Estimate(plan.rows, plan.tokens, plan.shards, missing, seconds)


def _duration(seconds: float) -> str:
    """Return a duration as people read it."""
    if seconds < 120:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.0f} hours"

"""A next token explained in three levels, as data: its logit by head, a head by source token, a score by part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from inspector.reports import Report
from inspector.trace.tokens import Tokens

CANCELS = 10.0  # times the score: then single parts say little
DIRECT = (
    "Shares are direct, with norms held at the scale that they had: what a part does by way of later parts is not in "
    "them."
)
CANCELLING = "Where parts cancel, read sums of parts, not single ones."


@dataclass(frozen=True)
class Line:
    """One summand: its name and share, and where it was written or looked at; of what was left over, how many.

    `kind` is, of a logit's lines, what wrote it: "head", "mlp", "embedding", "bias", or, of blocks without
    attention, "mixer" or "difference".
    """

    name: str
    share: float
    layer: int | None = None
    head: int | None = None
    source: int | None = None
    count: int = 1  # summands that are summed up in this line
    kind: str = ""
    below: Level | None = None

    @property
    def rest(self) -> bool:
        """Whether this line sums up several that are not listed."""
        return self.count != 1


@dataclass(frozen=True)
class Level:
    """A number and the lines that add up to it, but for `remainder`, which rounding leaves.

    `of` says what the number is, `unit` in what; `note` is a sentence to be read with it, or why nothing is below its
    lines. `cancellation` is the sum of all summands' magnitudes over the number's, where that was computed.
    """

    of: str
    unit: str
    value: float
    lines: tuple[Line, ...]
    remainder: float = 0.0
    note: str = ""
    cancellation: float = 1.0


@dataclass(frozen=True, repr=False)
class Explanation(Report):
    """What `lab.explain` found.

    `verdict` is one of:
        "adds up"          the logit's lines miss it, and heads' tokens their head's share, by no more than `limit`
        "does not add up"  one of them misses by more
    """

    kind: ClassVar[str] = "explanation"

    model: str
    note: str
    prompt: str | None
    tokens: Tokens
    query: int
    token: int
    label: str
    against: int | str | None
    against_label: str | None
    probability: float
    cap: float | None
    after_cap: float | None
    limit: float  # of what rounding may leave, as `attribution` has it
    logit: Level

    @property
    def verdict(self) -> str:
        """What came of it: see the class."""
        return "adds up" if self.ok else "does not add up"

    @property
    def ok(self) -> bool:
        """Whether the shares add up."""
        sums = [level for level in self._levels(self.logit) if level.unit == "logit"]
        return all(abs(level.remainder) <= self.limit for level in sums)

    @property
    def table(self) -> pd.DataFrame:
        """One row a line: level 1 the logit's, 2 a head's by source token, 3 a score's by part of the key."""
        frame = pd.DataFrame(list(self._rows(self.logit, 1, "")))
        return frame.astype(dict.fromkeys(("layer", "head", "source"), "Int64"))

    def _rows(self, level: Level, number: int, under: str) -> Iterator[dict[str, Any]]:
        for line in level.lines:
            values = {name: getattr(line, name) for name in ("name", "share", "layer", "head", "source", "count")}
            yield {"level": number, "under": under, **values, "unit": level.unit}
            if line.below is not None:
                yield from self._rows(line.below, number + 1, f"{under} > {line.name}".removeprefix(" > "))

    def summary(self) -> str:
        """Return what came of it as one sentence."""
        heads = [line for line in self.logit.lines if line.head is not None]
        first = max(heads, key=lambda line: line.share, default=None)
        text = f"{self._of()} is {self.logit.value:+.2f}"
        if first is not None:
            text += f"; of the heads, {first.name} adds most, {first.share:+.2f}"
            sources = [] if first.below is None else [line for line in first.below.lines if not line.rest]
            if sources:
                best = max(sources, key=lambda line: line.share)
                text += f" ({best.share:+.2f} by looking at {best.name})"
        return f"{text[0].upper()}{text[1:]}. {DIRECT}"

    def _of(self) -> str:
        other = f"“{self.against_label}”" if isinstance(self.against, int) else self.against_label
        foil = "" if self.against is None else f" against {other}"
        cap = "" if self.cap is None else " before the soft-cap"
        return f"the logit of “{self.label}”{foil}{cap} after “{self.tokens.labels[self.query]}”"

    def _record(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "note": self.note,
            "prompt": self.prompt,
            "ids": list(self.tokens.ids),
            "query": self.query,
            "token": {"id": self.token, "label": self.label},
            "against": None if self.against is None else {"id": self.against, "label": self.against_label},
            "probability": self.probability,
            "cap": self.cap,
            "after_cap": self.after_cap,
            "logit": self.logit.value,
            "remainder": self.logit.remainder,
            "limit": self.limit,
            "rows": self.table.astype(object).where(self.table.notna(), None).to_dict("records"),
            "notes": sorted({level.note for level in self._levels(self.logit) if level.note}),
        }

    def _levels(self, level: Level) -> Iterator[Level]:
        yield level
        for line in level.lines:
            if line.below is not None:
                yield from self._levels(line.below)

    def _about(self) -> str:
        return f"{self.model}, {len(self.tokens)} tokens"

    def __str__(self) -> str:
        lines = [f"{self.model}: {self.note}", f"{self._of()}: {self.logit.value:+.4f} (p = {self.probability:.3f})"]
        if self.cap is not None and self.after_cap is not None:
            lines.append(f"after the soft-cap at {self.cap:.4g}: {self.after_cap:+.4f}")
        lines += self._text(self.logit, "  ")
        lines += [f"{self.logit.remainder:+.1e} is left by rounding."]
        cancelling = any(level.cancellation > CANCELS for level in self._levels(self.logit))
        return "\n".join([*lines, self.summary(), *([CANCELLING] if cancelling else [])])

    def _text(self, level: Level, indent: str) -> Iterator[str]:
        for line in level.lines:
            yield f"{indent}{line.share:+9.3f}  {line.name}"
            if line.below is not None:
                below = line.below
                if below.unit == "score":
                    parts = (
                        f" (parts cancel: {below.cancellation:.0f} times that)" if below.cancellation > CANCELS else ""
                    )
                    yield f"{indent}           by its score, {below.of}: {below.value:+.3f}{parts}"
                elif below.note:
                    yield f"{indent}           {below.note}"
                yield from self._text(below, indent + "    ")

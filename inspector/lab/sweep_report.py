"""What a sweep found, as data: a row for each head, layer, token or edge; nothing is run here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from inspector.lab.cells import Cell
from inspector.lab.effects import Readout
from inspector.lab.report import STAND_IN, Control
from inspector.lab.variants import Agreement
from inspector.reports import Report
from inspector.trace.tokens import Tokens


@dataclass(frozen=True)
class SweepRow:
    """One thing that was edited, and what it did: the readout after it, KL in bits, the token's rank."""

    layer: int | None
    head: int | None
    query: int | None
    key: int | None
    after: float
    kl_bits: float
    rank: int

    @classmethod
    def of(cls, cell: Cell, after: float, kl_bits: float, rank: int) -> SweepRow:
        """Make a row of a cell and its numbers."""
        return cls(cell.layer, cell.head, cell.query, cell.key, after, kl_bits, rank)


@dataclass(frozen=True, repr=False)
class SweepReport(Report):
    """What `lab.sweep` found.

    `verdict` is one of:
        "measured"     every variant ran, and those of the largest effects, run one by one, agree to rounding
        "one by one"   every variant ran by itself, since this model's do not as rows of a batch; `ok` is True, too
        "not proven"   the control, the edit of the largest effect at strength 0, changed a logit: `ok` is False
    """

    kind: ClassVar[str] = "sweep"

    model: str
    note: str
    prompt: str | None
    tokens: Tokens
    edited: str  # what was done to each
    over: str
    readout: Readout
    labels: tuple[str, ...]
    before: float
    source_value: float | None  # the readout of the prompt that a patch takes its values from
    rows: tuple[SweepRow, ...]
    estimates: tuple[float, ...] | None  # of the change of the readout, by attribution patching
    way: str
    agreement: Agreement | None
    control: Control
    no_estimates: str = ""  # why attribution patching could not be run

    @property
    def verdict(self) -> str:
        """What came of it, in a word or two: see the class."""
        if not self.ok:
            return "not proven"
        return "one by one" if self.agreement is None else "measured"

    @property
    def ok(self) -> bool:
        """Whether the control changed nothing, and rows of a batch agree with what is run one by one."""
        return self.control.differing == 0 and (self.agreement is None or self.agreement.held)

    @property
    def table(self) -> pd.DataFrame:
        """One row for each thing that was edited, the largest KL first.

        `times_median` is its KL over the median of all rows, which is what one drawn at random does; `recovered`, of
        patches, how much of the way from the prompt's readout to the source's it went; `estimate` is attribution
        patching's guess of `change`.
        """
        frame = pd.DataFrame([asdict(row) for row in self.rows]).dropna(axis=1, how="all")
        for name in ("query", "key"):
            if name in frame:
                labels = [self.tokens.labels[position] for position in frame[name]]
                frame.insert(frame.columns.get_loc(name) + 1, f"{name}_token", labels)
        frame.insert(frame.columns.get_loc("after") + 1, "change", frame["after"] - self.before)
        median = frame["kl_bits"].median()
        frame["times_median"] = frame["kl_bits"] / median if median > 0 else np.nan
        if self.source_value is not None:
            frame["recovered"] = frame["change"] / (self.source_value - self.before or np.nan)
        if self.estimates is not None:
            frame["estimate"] = list(self.estimates)
        return frame.sort_values("kl_bits", ascending=False, kind="stable", ignore_index=True)

    @property
    def correlation(self) -> float | None:
        """Pearson's correlation of attribution patching's estimates with the changes measured; None without either."""
        changes = np.array([row.after - self.before for row in self.rows])
        if self.estimates is None or len(changes) < 3 or np.std(changes) == 0 or np.std(self.estimates) == 0:
            return None
        return float(np.corrcoef(changes, np.array(self.estimates))[0, 1])

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader of these numbers should know beside them."""
        return tuple(filter(None, (STAND_IN if self.over == "heads" else "", self.no_estimates)))

    def summary(self) -> str:
        """Return what came of it as one sentence."""
        table = self.table
        first = table.iloc[0]
        median = float(table["kl_bits"].median())
        text = f"Of {len(table)} {self.over}, {self.named(first)} has the largest effect"
        text += f": KL {first['kl_bits']:.3g} bits"
        text += f" (median {median:.2g}), change of the logit {first['change']:+.3f}"
        if (found := self.correlation) is not None:
            text += f"; attribution patching's estimates correlate with the changes by {found:.2f}"
        text += f"; at strength 0 it changes {self.control.differing} of {self.control.elements} logits"
        if self.control.differing:
            return f"{text}, and may change none: this proves nothing."
        if self.agreement is None:
            return f"{text}; run {self.way}."
        at = self.agreement
        return (
            f"{text}; run {self.way}, and of the {at.elements} logits of {at.variants} run one by one as well "
            f"{at.differing} differ, by at most {at.max_abs:.2g} (sums in another order)."
        )

    def named(self, row: Any) -> str:
        """Return what a row of the table is called, such as "layer 3 head 1".

        Args:
            row: one row of `table`.

        Returns:
            Its place in the model in words.
        """
        names = [name for name in ("layer", "head", "query", "key") if name in row and row[name] == row[name]]
        return " ".join(f"{name} {int(row[name])}" for name in names)

    def named_first(self) -> str:
        """Return what the row of the largest effect is called."""
        return self.named(self.table.iloc[0])

    def _record(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "note": self.note,
            "prompt": self.prompt,
            "ids": list(self.tokens.ids),
            "edited": self.edited,
            "over": self.over,
            "token": {"id": self.readout.token, "label": self.labels[0]},
            "against": None if self.readout.against is None else {"id": self.readout.against, "label": self.labels[1]},
            "before": self.before,
            "source_value": self.source_value,
            "rows": self.table.to_dict("records"),
            "correlation": self.correlation,
            "way": self.way,
            "control": asdict(self.control),
            "agreement": None if self.agreement is None else asdict(self.agreement),
            "remarks": list(self.remarks),
        }

    def _about(self) -> str:
        n = len(self.tokens)
        return f"{self.model}, {n} token{'s' * (n != 1)}, {self.edited} over {self.over}"

    def __str__(self) -> str:
        shown = self.table.head(20).to_string(index=False, float_format="{:.4f}".format)
        return "\n".join([f"{self.model}: {self.note}", shown, self.summary(), *self.remarks])

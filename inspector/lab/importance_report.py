"""Whether attention says which tokens matter, as data: the effect of cutting each off, beside cheaper measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from inspector.lab.sweep_report import SweepReport
from inspector.reports import Report
from inspector.trace.tokens import Tokens

# column -> what it is called in a sentence
MEASURES = {
    "attention": "attention, mean of all heads",
    "last_layer": "attention in the last layer",
    "weight_times_value": "weight times length of value",
    "weight_times_output": "weight times length of output (Kobayashi)",
    "direct_share": "direct share of the logit",
    "gradient_times_input": "gradient times input",
    "rollout": "attention rollout",
}
MUCH, LITTLE = 0.7, 0.3  # rank correlations: from here on, and below
FEW = 6  # tokens, with which a rank correlation says nothing


@dataclass(frozen=True, repr=False)
class ImportanceReport(Report):
    """What `lab.token_importance` found.

    `verdict` is one of:
        "much"       attention ranks the tokens much as cutting them off does (rank correlation 0.7 or more)
        "in part"    between
        "hardly"     below 0.3, or the other way round
        "too few"    too few tokens to say; `ok` is whether the truth column's numbers are those of the edits
    """

    kind: ClassVar[str] = "importance"

    model: str
    note: str
    prompt: str | None
    tokens: Tokens
    sweep: SweepReport
    measures: pd.DataFrame  # a row a token but the last: position, the columns of MEASURES

    @property
    def verdict(self) -> str:
        """What came of it, in a word or two: see the class."""
        if len(self.measures) < FEW:
            return "too few"
        found = self.correlations["attention"]
        return "much" if found >= MUCH else "in part" if found >= LITTLE else "hardly"

    @property
    def ok(self) -> bool:
        """Whether the effects of cutting are those of the edits."""
        return self.sweep.ok

    @property
    def table(self) -> pd.DataFrame:
        """One row a token, in order: position, token, cut_kl_bits (the truth), and each measure."""
        truth = {row.key: row.kl_bits for row in self.sweep.rows}
        frame = self.measures.copy()
        frame.insert(1, "token", [self.tokens.labels[position] for position in frame["position"]])
        frame.insert(2, "cut_kl_bits", [truth[position] for position in frame["position"]])
        return frame

    @property
    def correlations(self) -> Mapping[str, float]:
        """Each measure's rank correlation (Spearman) with the effect of cutting tokens off; NaN where all are alike."""
        table = self.table
        truth = table["cut_kl_bits"].rank()
        return {name: float(table[name].rank().corr(truth)) for name in MEASURES if name in table}

    def summary(self) -> str:
        """Return what came of it as one sentence."""
        table, found = self.table, self.correlations
        first = table.loc[table["cut_kl_bits"].idxmax()]
        text = f"Cutting off {first['token']} ({first['position']}) changes the next token most, by "
        text += f"{first['cut_kl_bits']:.3g} bits"
        if self.verdict == "too few":
            return f"{text}; {len(table)} tokens are too few to compare ranks."
        says = {
            "much": "attention ranks the tokens much as cutting them off does",
            "in part": "attention says only in part which tokens matter",
            "hardly": "attention does not say which tokens matter",
        }[self.verdict]
        best = max(found, key=lambda name: found[name])
        text += f"; here {says} (rank correlation {found['attention']:.2f} over {len(table)} tokens)"
        if best != "attention":
            text += f"; nearest is {MEASURES[best]}, {found[best]:.2f}"
        return f"{text}. One prompt: no benchmark of these measures."

    def _record(self) -> dict[str, Any]:
        readout = self.sweep.readout
        return {
            "model": self.model,
            "note": self.note,
            "prompt": self.prompt,
            "ids": list(self.tokens.ids),
            "token": {"id": readout.token, "label": self.sweep.labels[0]},
            "rows": self.table.to_dict("records"),
            "correlations": dict(self.correlations),
            "way": self.sweep.way,
        }

    def _about(self) -> str:
        return f"{self.model}, {len(self.tokens)} tokens"

    def __str__(self) -> str:
        shown = self.table.to_string(index=False, float_format="{:.3f}".format)
        lines = [f"{value:+.2f}  {MEASURES[name]}" for name, value in self.correlations.items()]
        return "\n".join([shown, "rank correlation with cutting the token off:", *lines, self.summary()])

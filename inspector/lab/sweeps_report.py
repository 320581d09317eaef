"""What a sweep over several prompts found, as data: means over them with intervals; nothing is run here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import pandas as pd

from inspector.lab.report import asked_for
from inspector.lab.statistics import mean_of
from inspector.lab.sweep_report import SweepReport
from inspector.reports import Report

PLACES = ("layer", "head", "query", "key")
AVERAGED = ("change", "kl_bits", "recovered", "estimate")


@dataclass(frozen=True, repr=False)
class SweepsReport(Report):
    """What `lab.sweep` found of several prompts.

    `verdict` is one of:
        "measured"     every prompt's sweep was measured; `ok` is True
        "not proven"   the control of at least one of them changed a logit: `ok` is False
    """

    kind: ClassVar[str] = "sweeps"

    sweeps: tuple[SweepReport, ...]  # one a prompt

    @property
    def verdict(self) -> str:
        """What came of it, in a word or two: see the class."""
        return "measured" if self.ok else "not proven"

    @property
    def ok(self) -> bool:
        """Whether every prompt's control changed nothing, and rows of a batch agree with what is run one by one."""
        return all(one.ok for one in self.sweeps)

    @property
    def table(self) -> pd.DataFrame:
        """One row for each thing that was edited, the largest mean KL first.

        `change` and `kl_bits` are means over the prompts, between `_low` and `_high` lie 95 % of means of resampled
        prompts, and `n` is how many there are. `times_median` is the mean KL over the median of all rows, which is
        what one drawn at random does. `recovered` and `estimate` are means of the same columns of one prompt's sweep.
        """
        tables = [one.table for one in self.sweeps]
        places = [name for name in PLACES if name in tables[0]]
        columns = [name for name in AVERAGED if all(name in one for one in tables)]
        joined = pd.concat([one[[*places, *columns]] for one in tables], ignore_index=True)
        rows = []
        for place, group in joined.groupby(places, sort=False):
            row: dict[str, Any] = dict(zip(places, map(int, place), strict=True))
            for name in columns:
                found = mean_of(group[name].to_list())
                row[name] = found.mean
                if name in ("change", "kl_bits"):
                    row |= {f"{name}_low": found.low, f"{name}_high": found.high}
            rows.append({**row, "n": len(group)})
        frame = pd.DataFrame(rows)
        median = frame["kl_bits"].median()
        frame["times_median"] = frame["kl_bits"] / median if median > 0 else float("nan")
        return frame.sort_values("kl_bits", ascending=False, kind="stable", ignore_index=True)

    @property
    def prompts(self) -> pd.DataFrame:
        """One row a prompt: its token and the readout of it, what has the largest effect, the median, the control."""
        return pd.DataFrame([_row(one) for one in self.sweeps])

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader of these numbers should know beside them."""
        return tuple(dict.fromkeys(remark for one in self.sweeps for remark in one.remarks))

    def summary(self) -> str:
        """Return what came of it as one sentence."""
        first = self.sweeps[0]
        elements = sum(one.control.elements for one in self.sweeps)
        if wrong := sum(one.control.differing for one in self.sweeps):
            changed = f"changed {wrong} of {elements} logits"
            return f"At strength 0 the edits {changed}, and may change none: this proves nothing."
        if not self.ok:
            return "Rows of a batch do not agree with what is run one by one: this proves nothing."
        row = self.table.iloc[0]
        largest = sum(one.named_first() == first.named(row) for one in self.sweeps)
        text = f"Over {len(self.sweeps)} prompts, {first.named(row)} has the largest effect of {len(first.rows)} "
        text += f"{first.over}: KL {_with_interval(row, 'kl_bits')} bits, "
        text += f"change of the logit {_with_interval(row, 'change')}"
        return f"{text}; it is the largest in {largest} of them; at strength 0, 0 of {elements} logits change."

    def _record(self) -> dict[str, Any]:
        first = self.sweeps[0]
        return {
            "model": first.model,
            "note": first.note,
            "edited": first.edited,
            "over": first.over,
            "rows": self.table.to_dict("records"),
            "prompts": self.prompts.to_dict("records"),
            "remarks": list(self.remarks),
        }

    def _about(self) -> str:
        first = self.sweeps[0]
        return f"{first.model}, {len(self.sweeps)} prompts, {first.edited} over {first.over}"

    def __str__(self) -> str:
        first, shown = self.sweeps[0], self.table.head(20).to_string(index=False, float_format="{:.4f}".format)
        prompts = self.prompts.to_string(index=False, float_format="{:.4f}".format)
        return "\n".join([f"{first.model}: {first.note}", shown, "", prompts, self.summary(), *self.remarks])


def _row(one: SweepReport) -> dict[str, Any]:
    table = one.table
    return {
        **asked_for(one.prompt, one.tokens, one.labels),
        "before": one.before,
        "largest": one.named_first(),
        "change": table["change"].iloc[0],
        "kl_bits": table["kl_bits"].iloc[0],
        "median_kl_bits": table["kl_bits"].median(),
        "correlation": one.correlation,
        **{f"control_{name}": value for name, value in asdict(one.control).items() if name != "max_abs"},
    }


def _with_interval(row: Any, name: str) -> str:
    interval = "" if pd.isna(row[f"{name}_low"]) else f" [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"
    return f"{row[name]:.3f}{interval}"

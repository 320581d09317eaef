"""What the finder found, as data: a row for each head, its labels, and the score behind each with its null."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import pandas as pd

from inspector.heads.labels import DEVIATIONS, FAR, LABELS, NULLS, STREAMS_BELOW, Score
from inspector.reports import Report


@dataclass(frozen=True)
class HeadFindings:
    """What is known of one head.

    Attributes:
        layer: from 0.
        head: from 0.
        scores: by label.
        far: mean weight outside of what a cache for streaming keeps, in longer English.
        far_sd: its standard deviation over the texts.
    """

    layer: int
    head: int
    scores: dict[str, Score]
    far: float
    far_sd: float

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that the head gets, the highest score first; often none."""
        given = [label.name for label in LABELS if self.scores[label.name].earns(label)]
        return tuple(sorted(given, key=lambda name: -self.scores[name].score))

    @property
    def streaming(self) -> bool:
        """Whether a cache for streaming would keep nearly all that the head looks at."""
        return self.far < STREAMS_BELOW


@dataclass(frozen=True)
class Evidence:
    """The texts of one kind that heads were tried on; `first` are the token ids of the first of them."""

    name: str
    texts: int
    tokens: int
    first: tuple[int, ...]


@dataclass(frozen=True, repr=False)
class HeadReport(Report):
    """What `heads.find` found.

    `verdict` is one of:
        "labelled"      the rule labels nothing where there is nothing to find; `ok` is this alone
        "not reliable"  it labels heads there too, so its labels say nothing of this model
    """

    kind: ClassVar[str] = "heads"

    model: str
    note: str
    provenance: dict[str, Any]
    findings: tuple[HeadFindings, ...]
    evidence: tuple[Evidence, ...]
    control_labelled: int  # labels given where nulls stand in the place of scores

    @property
    def verdict(self) -> str:
        """What came of it, in a word or two: see the class."""
        return "labelled" if self.ok else "not reliable"

    @property
    def ok(self) -> bool:
        """Whether the rule gives no label where nulls stand in the place of scores."""
        return self.control_labelled == 0

    @property
    def table(self) -> pd.DataFrame:
        """A row for each head: layer, head, its labels, the score of each label, `far`, streaming or retrieval."""
        rows = []
        for one in self.findings:
            row: dict[str, Any] = {"layer": one.layer, "head": one.head, "labels": ", ".join(one.labels)}
            row |= {label.name: one.scores[label.name].score for label in LABELS}
            rows.append(row | {FAR.name: one.far, "cache": "streaming" if one.streaming else "retrieval"})
        return pd.DataFrame(rows)

    @property
    def scores(self) -> pd.DataFrame:
        """A row for each head and label: the score with its spread, its null, both without the first token, given."""
        rows = []
        for one in self.findings:
            for label in LABELS:
                score = one.scores[label.name]
                rows.append(
                    {"layer": one.layer, "head": one.head, "label": label.name, **asdict(score)}
                    | {"given": score.earns(label), "evidence": label.text}
                )
        return pd.DataFrame(rows)

    def of(self, layer: int, head: int) -> HeadFindings:
        """Return what is known of one head.

        Args:
            layer: from 0.
            head: from 0.

        Returns:
            Its findings.

        Raises:
            KeyError: there is no such head among those that were measured.
        """
        for one in self.findings:
            if (one.layer, one.head) == (layer, head):
                return one
        raise KeyError(f"There is no head {head} of layer {layer} among the {len(self.findings)} that were measured.")

    def strongest(self, label: str, count: int = 5) -> list[HeadFindings]:
        """Return the heads with a label, the highest score first.

        Args:
            label: its name, such as "Induction".
            count: how many at most.

        Returns:
            The heads; empty where none has it.
        """
        having = [one for one in self.findings if label in one.labels]
        return sorted(having, key=lambda one: -one.scores[label].score)[:count]

    def summary(self) -> str:
        """Return what came of it as one sentence."""
        parts = []
        for label in LABELS:
            count = sum(label.name in one.labels for one in self.findings)
            parts.append(f"{label.name} {count}")
        none = sum(not one.labels for one in self.findings)
        control = (
            "with nulls in the place of scores the rule gives no label"
            if self.ok
            else f"with nulls in the place of scores the rule still gives {self.control_labelled} labels"
        )
        return f"Of {len(self.findings)} heads {none} have no label; {', '.join(parts)}; {control}."

    def _record(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "note": self.note,
            "source": self.provenance,
            "deviations": DEVIATIONS,
            "labels": [
                {
                    "label": label.name,
                    "score": label.measure.meaning,
                    "text": label.text,
                    "null": NULLS[label.null],
                    "threshold": label.threshold,
                    "source": label.source,
                }
                for label in LABELS
            ],
            "evidence": [asdict(one) for one in self.evidence],
            "control_labelled": self.control_labelled,
            "heads": [
                {
                    "layer": one.layer,
                    "head": one.head,
                    "labels": list(one.labels),
                    "scores": {name: asdict(score) for name, score in one.scores.items()},
                    "far": one.far,
                    "far_sd": one.far_sd,
                    "cache": "streaming" if one.streaming else "retrieval",
                }
                for one in self.findings
            ],
        }

    def _about(self) -> str:
        return f"{self.model}, {len(self.findings)} heads"

    def _short_table(self) -> pd.DataFrame:
        table = self.table
        return table[table["labels"] != ""].head(40)

    def __str__(self) -> str:
        lines = [f"{self.model}: {self.note}"]
        for label in LABELS:
            named = ", ".join(
                f"L{one.layer}H{one.head} {one.scores[label.name].score:.2f} "
                f"(null {one.scores[label.name].null:.2f} ± {one.scores[label.name].null_sd:.2f})"
                for one in self.strongest(label.name)
            )
            count = sum(label.name in one.labels for one in self.findings)
            lines.append(f"{label.name}: {count}" + (f", first {named}" if named else ""))
        streaming = sum(one.streaming for one in self.findings)
        lines.append(
            f"Streaming heads: {streaming} of {len(self.findings)} have less than {STREAMS_BELOW:.0%} of their "
            "attention beyond the first 4 and the last 64 tokens."
        )
        return "\n".join([*lines, self.summary()])

"""What all reports share: a verdict in a word, a sentence, a table, JSON, and short forms for notebooks."""

from __future__ import annotations

import html
import json
import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import pandas as pd

from inspector.text import SCHEMA

ROWS_SHOWN = 40  # of a table in a notebook, fewer where they would take more than
MOST_HTML = 40_000  # letters: what a notebook stores of a report that was not asked for more


class Report(ABC):
    """A comparison and what came of it: of a verification, a judgement, an experiment.

    A report says `verdict`, one of a few words that its class lists; `ok`, whether that is the good one; `summary()`,
    one sentence; `table`, a frame with one row a comparison; and `to_json()`, everything. Printed, it is a page; its
    repr is one line.
    """

    kind: ClassVar[str]  # what the JSON calls it, such as "verification"

    @property
    @abstractmethod
    def verdict(self) -> str:
        """What came of it, in a word or two."""

    @property
    @abstractmethod
    def ok(self) -> bool:
        """Whether everything passed."""

    @property
    @abstractmethod
    def table(self) -> pd.DataFrame:
        """One row a comparison."""

    @abstractmethod
    def summary(self) -> str:
        """Return what came of it as one sentence."""

    @abstractmethod
    def _record(self) -> dict[str, Any]:
        """Return what else belongs into the JSON."""

    @abstractmethod
    def _about(self) -> str:
        """Return what was looked at, in a few words: the model, the prompt's length."""

    def _short_table(self) -> pd.DataFrame:
        """Return the table for a notebook, of a few rows."""
        return self.table.head(ROWS_SHOWN)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, ready for JSON; infinities and NaN as None."""
        head = {"schema": SCHEMA, "kind": self.kind, "ok": self.ok, "verdict": self.verdict, "summary": self.summary()}
        return dict(_finite({**head, **self._record()}))

    def to_json(self) -> str:
        """Return everything as JSON."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.verdict}: {self._about()}. {self.summary()}>"

    def _repr_html_(self) -> str:
        colour = "#1a7f37" if self.ok else "#c62828"
        head = f'<p style="color:{colour}"><b>{html.escape(self.verdict)}</b>: {html.escape(self.summary())}</p>'
        shown = self._short_table()
        table = shown.to_html(index=False, border=0, escape=True)
        while len(table) > MOST_HTML and len(shown):
            shown = shown.head(len(shown) // 2)
            table = shown.to_html(index=False, border=0, escape=True)
        more = len(self.table) - len(shown)
        rest = f"<p>{more:,} more rows: <code>.table</code> has them all.</p>" if more > 0 else ""
        return f"{head}<p>{html.escape(self._about())}</p>{table}{rest}"


def _finite(value: Any) -> Any:
    """Replace infinities and NaN, which JSON has not, by None."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

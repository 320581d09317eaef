"""Writes what the finder finds in the packaged model into docs/heads.md: `python -m tests.heads_document`. No test."""

from __future__ import annotations

import re
from pathlib import Path

import torch

import inspector
from inspector import heads
from inspector.heads.labels import LABELS, NULLS, STREAMS_BELOW
from inspector.heads.report import HeadReport

PAGE = Path(__file__).resolve().parents[1] / "docs" / "heads.md"
RULES, RULES_END = "<!-- labels: python -m tests.heads_document -->", "<!-- end of labels -->"
BEGIN, END = "<!-- measured: python -m tests.heads_document -->", "<!-- end of what is measured -->"
SHOWN = 5


def rule_rows() -> list[str]:
    """A line for each label: its score, text, null and threshold."""
    lines = ["| label | score | measured on | null | from | after |", "| --- " * 6 + "|"]
    for label in LABELS:
        cells = [
            label.name,
            label.measure.meaning,
            label.text,
            NULLS[label.null],
            f"{label.threshold:.1f}",
            label.source,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def found_rows(report: HeadReport) -> list[str]:
    """A line for each label: how many heads have it, and the strongest with score, null and score beside the sink."""
    lines = [
        "| label | heads | strongest: score ± sd over texts (null ± sd; without the first token) |",
        "| --- " * 3 + "|",
    ]
    for label in LABELS:
        count = sum(label.name in one.labels for one in report.findings)
        parts = []
        for one in report.strongest(label.name, SHOWN):
            at = one.scores[label.name]
            beside = f"; {at.beside_first:.2f}" if label.beside_first else ""
            parts.append(
                f"L{one.layer}H{one.head} {at.score:.2f} ± {at.sd:.2f} ({at.null:.3f} ± {at.null_sd:.3f}{beside})"
            )
        lines.append(f"| {label.name} | {count} | {', '.join(parts)} |")
    return lines


def block(report: HeadReport) -> str:
    """What stands between the marks."""
    none = sum(not one.labels for one in report.findings)
    several = sum(len(one.labels) > 1 for one in report.findings)
    streaming = sum(one.streaming for one in report.findings)
    return "\n".join(
        [
            f"{report.model}, float32 on the CPU, torch {torch.__version__.partition('+')[0]}: of "
            f"{len(report.findings)} heads {none} have no label and {several} have several. With nulls in the place of "
            f"scores the same rule gives {report.control_labelled} labels.",
            "",
            *found_rows(report),
            "",
            f"{streaming} of {len(report.findings)} heads have less than {STREAMS_BELOW:.0%} of their attention beyond "
            "the first 4 and the last 64 tokens of longer English, and are called streaming heads.",
        ]
    )


def put(text: str, begin: str, end: str, inner: str) -> str:
    """The page with this between two of its marks."""
    return re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: f"{begin}\n{inner}\n{end}", text, flags=re.S)


def main() -> None:
    """Find the packaged model's heads and write them."""
    report = heads.find(inspector.load())
    text = put(PAGE.read_text(encoding="utf-8"), RULES, RULES_END, "\n".join(rule_rows()))
    PAGE.write_text(put(text, BEGIN, END, block(report)), encoding="utf-8")


if __name__ == "__main__":
    main()

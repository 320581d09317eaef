"""Measures what a batch changes into docs/batches.md: `python -m tests.batches_document`. Not a test itself."""

from __future__ import annotations

import re
import time
from pathlib import Path

import torch

import inspector
from inspector.model.model import Model

PAGE = Path(__file__).resolve().parents[1] / "docs" / "batches.md"
BEGIN, END = "<!-- measured: python -m tests.batches_document -->", "<!-- end of what is measured -->"
TEXTS, LENGTHS, BATCHES = 8, (12, 48), (2, 4, 8)


def drawn(model: Model, n: int) -> list[list[int]]:
    """Token ids of TEXTS texts of n random tokens."""
    generator = torch.Generator().manual_seed(n)
    return torch.randint(1000, model.vocabulary, (TEXTS, n), generator=generator).tolist()


def rows(model: Model) -> list[str]:
    """A line for each length and batch: what is bit-equal to single runs, the largest difference, the time."""
    lines = [
        "| tokens | texts a batch | texts with equal logits | equal queries, keys and values | largest difference of a "
        "logit | CPU seconds against one by one |",
        "| --- " * 6 + "|",
    ]
    for n in LENGTHS:
        ids = drawn(model, n)
        start = time.process_time()
        alone = list(model.traces(ids, batch=1))
        single = time.process_time() - start
        for batch in BATCHES:
            start = time.process_time()
            found = list(model.traces(ids, batch=batch))
            took = time.process_time() - start
            pairs = list(zip(alone, found, strict=True))
            equal = sum(torch.equal(a.last_logits, b.last_logits) for a, b in pairs)
            tensors = [
                torch.equal(one, other)
                for a, b in pairs
                for x, y in zip(a.stored, b.stored, strict=True)
                for (_, one), (_, other) in zip(x.tensors(), y.tensors(), strict=True)
            ]
            off = max(float((a.last_logits - b.last_logits).abs().max()) for a, b in pairs)
            counts = f"{equal} of {TEXTS} | {sum(tensors)} of {len(tensors)}"
            lines.append(f"| {n} | {batch} | {counts} | {off:.1g} | {took / single:.2f} |")
    return lines


def main() -> None:
    """Measure and write."""
    model = inspector.load()
    model.trace([0, 0])
    about = (
        f"{model.name}, {model.provenance['dtype']} on the CPU, {torch.get_num_threads()} thread, torch "
        f"{torch.__version__.partition('+')[0]}, {TEXTS} texts of random tokens:"
    )
    block = "\n".join([about, "", *rows(model)])
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(
        re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: f"{BEGIN}\n{block}\n{END}", text, flags=re.S),
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()

"""Make the table of examples: each with its row of tokens as people read them, and as text to open again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from inspector.atlas.corpus import Rows
from inspector.atlas.part import Part
from inspector.atlas.plan import ROWS, Plan
from inspector.capture.records import LayerInfo
from inspector.model.model import Model
from inspector.trace.tokens import tokenize

Frames = Iterator[pd.DataFrame]


def example_frames(whole: Part, layers: tuple[LayerInfo, ...], folder: Path, plan: Plan, model: Model) -> Frames:
    """Yield each layer's examples with their rows of tokens, and text that is cut into the same tokens (else none).

    Args:
        whole: all parts together.
        layers: the model's.
        folder: the atlas's, with its rows.
        plan: the atlas's.
        model: the plan's.
    """
    wanted = sorted({int(row) for kind in (whole.top, whole.sample) for row in kind["row"].ravel() if row >= 0})
    known: dict[int, tuple[int, int, tuple[int, ...], list[str], str | None]] = {}
    for number in range(plan.shards):
        mine = [row for row in wanted if row // plan.rows_per_shard == number]
        if mine:
            rows = Rows.load(folder / ROWS / f"{number:05d}.safetensors")
            for row in mine:
                at = row - rows.first
                known[row] = rows.texts[at], rows.starts[at], rows.ids[at], *_as_text(rows.ids[at], model)
    for info, heads in by_layer(layers):
        rows_of = []
        for kind, table in (("top", whole.top), ("sample", whole.sample)):
            for head, place in enumerate(heads):
                for rank in range(table["row"].shape[1]):
                    row = int(table["row"][place, rank])
                    if row < 0:
                        continue
                    text, start, ids, tokens, prompt = known[row]
                    n = min(len(ids), table["keys"].shape[2])
                    rows_of.append(
                        {
                            "layer": info.index,
                            "head": head,
                            "of": kind,
                            "rank": rank,
                            "largest": float(table["score"][place, rank]) if kind == "top" else np.nan,
                            "row": row,
                            "text": text,
                            "start": start,
                            "query": int(table["query"][place, rank]),
                            "ids": np.array(ids, dtype=np.int32),
                            "tokens": tokens,
                            "prompt": prompt,
                            "keys": table["keys"][place, rank][:n],
                            "weights": table["weights"][place, rank][:n].astype(np.float32),
                        }
                    )
        yield pd.DataFrame(rows_of)


def _as_text(ids: tuple[int, ...], model: Model) -> tuple[list[str], str | None]:
    """Return each token as people read it, and the text that is cut into just these tokens (None: there is none)."""
    labels = list(tokenize(list(ids), model.tokenizer, vocabulary=model.vocabulary, limit=None).labels)
    text = model.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)
    return labels, text if tuple(model.tokenizer(text)["input_ids"]) == tuple(ids) else None


def by_layer(layers: tuple[LayerInfo, ...]) -> Iterator[tuple[LayerInfo, range]]:
    """Yield each layer with the places of its heads among all.

    Args:
        layers: the model's.
    """
    start = 0
    for info in layers:
        yield info, range(start, start + info.heads)
        start += info.heads

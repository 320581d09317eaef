"""Add up the parts of an atlas, and write its tables, its means and its manifest."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
from pyarrow import parquet
from safetensors.numpy import save_file

from inspector.atlas.checking import Found
from inspector.atlas.example_rows import by_layer, example_frames
from inspector.atlas.part import BITS_A_BIN, COLUMN, DISTANCES, ENTROPIES, SUMMED, Part, merge
from inspector.atlas.plan import MANIFEST, Plan, made_with
from inspector.atlas.worker import part_path
from inspector.capture.records import LayerInfo
from inspector.files import written_whole
from inspector.heads.labels import STREAMS_BELOW
from inspector.model.model import Model
from inspector.trace.tokens import tokenize

TOKENS_LISTED = 50  # of each head, those that receive most and those that give most
MASSIVE_ABOVE, MASSIVE_TIMES = 100.0, 1000.0  # magnitude, and times the median (Sun et al. 2024, arXiv 2402.17762)
RUN = ("shard", "seconds", "cpu_seconds", "host", "process")  # of each shard, and no result
Frames = Iterator[pd.DataFrame]


def finish(model: Model, folder: Path, plan: Plan, *, seconds: float) -> None:
    """Merge the parts in the order of shards and write what people read.

    Args:
        model: the plan's.
        folder: the atlas's, with a part of every shard.
        plan: the atlas's.
        seconds: that computing took just now.
    """
    facts: list[dict[str, Any]] = []

    def parts() -> Iterator[Part]:
        for number in range(plan.shards):
            part = Part.load(part_path(folder, number))
            facts.append({"shard": number, **part.facts})
            yield part

    whole = reduce(merge, parts())
    layers = model.layers
    heads = _heads(whole, layers)
    _write(folder / "heads.parquet", (heads[heads["layer"] == info.index] for info in layers))
    _write(folder / "histograms.parquet", _histograms(whole, layers))
    _write(folder / "tokens.parquet", _tokens(whole, layers, model))
    _write(folder / "examples.parquet", example_frames(whole, layers, folder, plan, model))
    _write(folder / "massive.parquet", iter([_massive(whole, layers)]))
    _means(whole, layers, folder)
    _cache_heads(heads, folder)
    verification = reduce(Found.plus, (Found(**fact["verification"]) for fact in facts))
    manifest = {
        "schema": 1,
        "kind": "atlas",
        "model": plan.model,
        "source": plan.source,
        "model_files": plan.model_files,
        "made_with": made_with(),
        "corpus": plan.corpus,
        "settings": {name: getattr(plan, name) for name in ("tokens", "rows_per_shard", "batch", "threads", "seed")},
        "rows": plan.rows,
        "shards": plan.shards,
        "layers": [
            {"layer": info.index, "name": info.name, "heads": info.heads, "d_value": info.d_value} for info in layers
        ],
        "followed_tokens": "all" if plan.followed is None else len(plan.followed),
        "verification": {"ok": verification.ok, **_finite(asdict(verification))},
        "result": {**whole.digests(), "query_tokens": int(whole.seen[0]), "rows": int(whole.seen[2])},
        "run": {"finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "seconds": round(seconds, 1)}
        | {"shards": [{name: fact.get(name) for name in RUN} for fact in facts]},
    }
    with written_whole(folder / MANIFEST) as part:
        part.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _finite(record: dict[str, Any]) -> dict[str, Any]:
    """Replace infinities, which JSON has not, by None: where no mistake could be planted nothing was shifted."""
    return {name: None if isinstance(value, float) and math.isinf(value) else value for name, value in record.items()}


def _places(layers: tuple[LayerInfo, ...]) -> list[tuple[LayerInfo, int, int]]:
    """Return each head's layer, its number there, and its place among all heads."""
    pairs = [(info, head) for info in layers for head in range(info.heads)]
    return [(info, head, place) for place, (info, head) in enumerate(pairs)]


def _heads(whole: Part, layers: tuple[LayerInfo, ...]) -> pd.DataFrame:
    """Return a row for each head: the mean of each score over query tokens, and its standard error over rows."""
    table: dict[str, Any] = {
        "layer": [info.index for info, _, _ in _places(layers)],
        "head": [head for _, head, _ in _places(layers)],
    }
    for name in SUMMED:
        column = COLUMN[name]
        count, rows = int(whole.counts[column]), int(whole.windows[column])
        mean = whole.sums[:, column] / count if count else np.full(len(whole.sums), np.nan)
        if name != "distance squared":
            table[name] = mean
            table[f"{name} error"] = _error(whole, column, rows)
        else:
            table["distance variance"] = mean - (table["distance"]) ** 2
    table["largest weight"] = np.where(whole.top["row"][:, 0] >= 0, whole.top["score"][:, 0], np.nan)
    frame = pd.DataFrame(table)
    kinds = np.where(frame["far"] < STREAMS_BELOW, "streaming", "retrieval")
    frame["cache"] = pd.Series(kinds).where(frame["far"].notna(), "")  # empty: no row is long enough to tell
    return frame


def _error(whole: Part, column: int, rows: int) -> np.ndarray:
    """Return the standard error of a mean over rows, each row weighing the same (NaN of a single row)."""
    if rows < 2:
        return np.full(len(whole.sums), np.nan)
    variance = np.maximum(whole.squares[:, column] - whole.row_means[:, column] ** 2 / rows, 0) / (rows - 1)
    found: np.ndarray = np.sqrt(variance / rows)
    return found


def _histograms(whole: Part, layers: tuple[LayerInfo, ...]) -> Frames:
    """Yield each layer's histograms: weight by distance in tokens, query tokens by entropy in bits."""
    edges = [0, *(2**k for k in range(DISTANCES))]
    for info, heads in by_layer(layers):
        rows = []
        for head, place in enumerate(heads):
            for k in range(DISTANCES):
                value = float(whole.distances[place, k])
                rows.append((info.index, head, "distance", float(edges[k]), float(edges[k + 1]), value))
            for k in range(ENTROPIES):
                value = float(whole.entropies[place, k])
                rows.append((info.index, head, "entropy", k * BITS_A_BIN, (k + 1) * BITS_A_BIN, value))
        yield pd.DataFrame(rows, columns=["layer", "head", "of", "from", "below", "value"])


def _tokens(whole: Part, layers: tuple[LayerInfo, ...], model: Model) -> Frames:
    """Yield each layer's tokens that receive most weight as keys, and that give most to others than the first."""
    labels: dict[int, str] = {-1: "(all others)"}
    for info, heads in by_layer(layers):
        rows = []
        for head, place in enumerate(heads):
            for row, (kind, table) in enumerate((("key", whole.key_mass), ("query", whole.query_mass))):
                order = np.lexsort((whole.ids, -table[place]))[:TOKENS_LISTED]
                for column in order.tolist():
                    token = int(whole.ids[column])
                    rows.append(
                        (
                            info.index,
                            head,
                            kind,
                            token,
                            float(table[place, column]),
                            int(whole.occurrences[row, column]),
                        )
                    )
        unknown = sorted({token for _, _, _, token, _, _ in rows} - labels.keys())
        if unknown:
            named = tokenize(unknown, model.tokenizer, vocabulary=model.vocabulary, limit=None).labels
            labels |= dict(zip(unknown, named, strict=True))
        frame = pd.DataFrame(rows, columns=["layer", "head", "of", "id", "mass", "occurrences"])
        frame.insert(4, "token", [labels[token] for token in frame["id"]])
        frame["mean"] = frame["mass"] / frame["occurrences"].clip(lower=1)
        yield frame


def _massive(whole: Part, layers: tuple[LayerInfo, ...]) -> pd.DataFrame:
    """Return for each layer the residual's largest magnitude before its block, and the mean of batches' medians."""
    frame = pd.DataFrame(whole.massive, columns=["largest", "dimension", "row", "position"])
    frame.insert(0, "layer", [info.index for info in layers])
    for name in ("dimension", "row", "position"):
        frame[name] = frame[name].astype(np.int64)
    frame["median"] = whole.medians / max(int(whole.seen[1]), 1)
    frame["times"] = frame["largest"] / frame["median"]
    frame["massive"] = (frame["largest"] > MASSIVE_ABOVE) & (frame["times"] > MASSIVE_TIMES)
    return frame


def _means(whole: Part, layers: tuple[LayerInfo, ...], folder: Path) -> None:
    """Write each layer's mean context vectors [h, d_value], over all tokens but rows' first."""
    count, start, arrays = max(int(whole.seen[0]), 1), 0, {}
    for info in layers:
        width = info.heads * info.d_value
        mean = whole.contexts[start : start + width].reshape(info.heads, info.d_value) / count
        arrays[f"context.{info.index}"] = mean.astype(np.float32)
        start += width
    with written_whole(folder / "means.safetensors") as part:
        save_file(
            arrays, part, metadata={"tokens": str(count), "of": "context vectors, without each row's first token"}
        )


def _cache_heads(heads: pd.DataFrame, folder: Path) -> None:
    """Write which heads a streaming cache serves, as CSV and as JSON, for those who shrink caches."""
    table = heads[["layer", "head", "far", "far error", "first", "cache"]]
    with written_whole(folder / "cache_heads.csv") as part:
        table.to_csv(part, index=False)
    with written_whole(folder / "cache_heads.json") as part:
        record = {"schema": 1, "kind": "cache heads", "streaming_below": STREAMS_BELOW}
        rows = json.loads(table.to_json(orient="records"))
        part.write_text(json.dumps(record | {"heads": rows}, indent=1) + "\n", encoding="utf-8")


def _write(path: Path, frames: Frames) -> None:
    """Write frames to one Parquet file, a row group each, so that one layer is read without the others."""
    with written_whole(path) as part:
        writer: parquet.ParquetWriter | None = None
        for frame in frames:
            table = pyarrow.Table.from_pandas(frame, preserve_index=False)
            if writer is None:
                writer = parquet.ParquetWriter(part, table.schema, compression="zstd")
            writer.write_table(table.cast(writer.schema))
        if writer is not None:
            writer.close()

"""Write an atlas in the JSON layout of HeadVis, which its front end and Neuronpedia read."""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from inspector.atlas.corpus import Rows
from inspector.atlas.finished import Atlas
from inspector.atlas.headvis_scores import BINS, METRICS, HeadVisSums
from inspector.atlas.plan import ROWS
from inspector.errors import InspectorError
from inspector.files import written_whole
from inspector.model.model import Model
from inspector.text import Progress, no_progress

INTERVALS, IN_EACH, IN_THE_TOP = 5, 3, 10  # sequences kept, by their largest weight
KEYS, LEAST = 8, 0.005  # of a query token, those with the largest weights of at least so much
TOKENS = 50  # listed as queries and as keys
EDGES = [0, *(2**k for k in range(13))]  # of distances


def write_headvis(made: Atlas, model: Model, out: str | Path, *, progress: Progress = no_progress) -> Path:
    """Run an atlas's rows again, and write HeadVis' scores, histograms and sequences of every head.

    Its definitions are not an atlas's, so the numbers differ from `made.heads`. Sequences follow from the rows alone:
    in each fifth of rows by a head's largest weight the 3 with the largest, in the highest fifth 10.

    Args:
        made: the atlas, whose rows are still there.
        model: the atlas's.
        out: a new folder.
        progress: called as progress(message, fraction); what it raises ends the run.

    Returns:
        The folder: `config.json`, `scatter_data.json`, and `heads/L0H0.json` and so on.

    Raises:
        InspectorError: the model is another, the rows are gone, or the folder has files in it.
    """
    folder = Path(out)
    if model.provenance != made.manifest["source"]:
        raise InspectorError(f"The atlas is of another model or version than {model.name}: load the one that made it.")
    shards = sorted((made.folder / ROWS).glob("*.safetensors"))
    rows = [ids for shard in shards for ids in Rows.load(shard).ids]
    if len(rows) != made.manifest["rows"]:
        raise InspectorError(f"{made.folder / ROWS} no longer has the atlas's rows: build the atlas again.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InspectorError(f"{folder} exists and has something in it: give the name of a new folder.")
    places = [(info.index, head) for info in model.layers for head in range(info.heads)]
    sums = HeadVisSums(len(places))
    for number, ids, layers in _run(model, dict(enumerate(rows))):
        sums.add(ids, layers)
        progress("HeadVis' scores", (number + 1) / len(rows))
    wanted = _kept(np.stack(sums.largest))
    needed = sorted({row for kept in wanted for row, _ in kept})
    sequences: list[list[dict[str, Any]]] = [[] for _ in places]
    by_row: dict[int, list[tuple[int, int]]] = {}
    for place, kept in enumerate(wanted):
        for row, interval in kept:
            by_row.setdefault(row, []).append((place, interval))
    for done, (number, ids, layers) in enumerate(_run(model, {row: rows[row] for row in needed})):
        words = [model.tokenizer.decode([token]) for token in ids]
        starts = np.cumsum([0, *(len(weights) for weights in layers)])
        for place, interval in by_row[number]:
            layer = int(np.searchsorted(starts, place, side="right")) - 1
            found = _sequence(layers[layer][place - int(starts[layer])])
            facts = {"sequence_id": number, "interval": interval, "tokens": words, "seq_len": len(ids)}
            sequences[place].append(facts | found | {"max_activation": round(float(sums.largest[number][place]), 4)})
        progress("HeadVis' sequences", (done + 1) / len(needed))
    _write(folder, made, places, sums, sequences)
    return folder


def _run(model: Model, rows: dict[int, tuple[int, ...]]) -> Iterator[tuple[int, tuple[int, ...], list[Tensor]]]:
    """Yield each row's number, token ids and weights by layer."""
    traces = model.traces([list(ids) for ids in rows.values()])
    for (number, ids), trace in zip(rows.items(), traces, strict=True):
        yield number, ids, [trace.weights(info.index) for info in model.layers]


def _kept(largest: np.ndarray) -> list[list[tuple[int, int]]]:
    """Return for each head the rows that are kept with their interval, from 1: of [rows, N] largest weights."""
    ordered = np.sort(largest, axis=0)
    cuts = [min(round(k * len(ordered) / INTERVALS), len(ordered) - 1) for k in range(1, INTERVALS)]
    found = []
    for place in range(largest.shape[1]):
        bounds = ordered[cuts, place].tolist()
        kept: list[tuple[int, int]] = []
        room = {interval: IN_THE_TOP if interval == INTERVALS else IN_EACH for interval in range(1, INTERVALS + 1)}
        for row in np.lexsort((np.arange(len(largest)), -largest[:, place])).tolist():
            interval = 1 + bisect_right(bounds, float(largest[row, place]))
            if room[interval]:
                room[interval] -= 1
                kept.append((row, interval))
        found.append(sorted(kept, key=lambda one: one[1]))
    return found


def _sequence(weights: Tensor) -> dict[str, Any]:
    """Return the largest weights of each query token, as places query * n + key and values."""
    n = len(weights)
    top = weights.float().topk(min(KEYS, n), dim=-1)
    pairs = sorted(
        (query * n + key, round(value, 4))
        for query, (keys, values) in enumerate(zip(top.indices.tolist(), top.values.tolist(), strict=True))
        for key, value in zip(keys, values, strict=True)
        if value >= LEAST
    )
    return {"attention_indices": [at for at, _ in pairs], "attention_values": [value for _, value in pairs]}


def _write(
    folder: Path, made: Atlas, places: list[tuple[int, int]], sums: HeadVisSums, sequences: list[list[dict[str, Any]]]
) -> None:
    scores = {name: [_rounded(value) for value in values] for name, values in sums.scores().items()}
    (folder / "heads").mkdir(parents=True, exist_ok=True)
    for place, (layer, head) in enumerate(places):
        kept = sequences[place]
        most = np.mean([row[place] for row in sums.largest])
        record = {
            "sequences": kept,
            "qk_distance_histogram": {"bin_edges": EDGES, "bin_values": _distances(kept)},
            "top_query_tokens": _tokens(kept, query=True),
            "top_key_tokens": _tokens(kept, query=False),
            "histogram": {
                "bin_edges": [round(edge, 4) for edge in np.linspace(0, 1, BINS + 1).tolist()],
                "bin_values": sums.histogram[place].tolist(),
            },
            "statistics": {"n_samples": len(kept), "mean_max_activation": _rounded(float(most))},
        }
        _json(folder / "heads" / f"L{layer}H{head}.json", record)
    rows = [
        {"layer": layer, "head": head} | {name: values[place] for name, values in scores.items()}
        for place, (layer, head) in enumerate(places)
    ]
    _json(folder / "scatter_data.json", rows)
    layers = made.manifest["layers"]
    config = {
        "model_name": made.manifest["model"],
        "dataset_name": made.manifest["corpus"]["from"],
        "heads": [list(one) for one in places],
        "n_layers": len(layers),
        "n_heads": max(one["heads"] for one in layers),
        "n_intervals": INTERVALS,
        "metrics": list(METRICS),
        "metric_descriptions": METRICS,
        "head_data_pattern": "L{layer}H{head}.json",
        "has_umap": False,
        "umap_heads": [],
        "custom_plots": [
            {"key": "qk_distance_histogram", "label": "Q-K distance"},
            {"key": "histogram", "label": "Largest weights"},
        ],
        "custom_tables": [
            {"key": "top_query_tokens", "label": "Top query tokens"},
            {"key": "top_key_tokens", "label": "Top key tokens"},
        ],
        "statistics_display": {
            "n_samples": {"label": "Sequences kept", "format": "default"},
            "mean_max_activation": {"label": "Mean largest weight", "format": "default"},
        },
        "pipeline_config": {name: made.manifest[name] for name in ("corpus", "settings", "made_with", "model_files")},
    }
    _json(folder / "config.json", config)
    _json(folder / "server_config.json", {})
    (folder / "attributions").mkdir(exist_ok=True)
    _json(folder / "attributions" / "manifest.json", {})


def _distances(sequences: list[dict[str, Any]]) -> list[float]:
    """Return the weight of kept sequences by distance, in bins between EDGES."""
    found = [0.0] * (len(EDGES) - 1)
    for one in sequences:
        for at, value in zip(one["attention_indices"], one["attention_values"], strict=True):
            query, key = divmod(at, one["seq_len"])
            place = bisect_right(EDGES, query - key) - 1
            if place < len(found):
                found[place] += value
    return [round(value, 4) for value in found]


def _tokens(sequences: list[dict[str, Any]], *, query: bool) -> list[dict[str, Any]]:
    """Return the tokens of the most weight in kept sequences, as queries or as keys."""
    found: dict[str, float] = {}
    for one in sequences:
        for at, value in zip(one["attention_indices"], one["attention_values"], strict=True):
            token = one["tokens"][divmod(at, one["seq_len"])[0 if query else 1]]
            found[token] = found.get(token, 0.0) + value
    ranked = sorted(found.items(), key=lambda one: -one[1])[:TOKENS]
    return [{"token": token, "weight": round(weight, 4)} for token, weight in ranked]


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None


def _json(path: Path, record: Any) -> None:
    with written_whole(path) as part:
        part.write_text(json.dumps(record) + "\n", encoding="utf-8")

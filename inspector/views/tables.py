"""Put one head's numbers into a long table (CSV, Parquet) or named vectors (safetensors)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from safetensors.numpy import save

from inspector.analysis.vectors import head_vectors
from inspector.errors import InspectorError
from inspector.files import written_whole
from inspector.views import provenance

if TYPE_CHECKING:
    from inspector.trace.trace import Trace

MOST_PAIRS = 2_000_000  # what the app puts in one file: an 8000-token head has 32 million pairs


def frame(trace: Trace, layer: int, head: int, *, most_pairs: int | None = None) -> pd.DataFrame:
    """Return every (query, key) pair of one head that the mask allows, one row each.

    Args:
        trace: whose numbers these are.
        layer: from 0.
        head: a query head, from 0.
        most_pairs: how many rows at most: whole query tokens from the first on, as many as fit; None: all.

    Returns:
        A frame with the columns query position, query token, key position, key token, weight, scaled score (the last
        two float32, to the last bit the trace's).
    """
    rows = trace.n if most_pairs is None else queries_within(trace, layer, head, most_pairs)
    queries: list[npt.NDArray[np.int64]] = []
    keys: list[npt.NDArray[np.int64]] = []
    weights, scores = [], []
    for some, seen in trace.strips(layer, head):
        strip = slice(some.start, min(some.stop, rows))
        if queries and strip.start >= rows:
            break
        may = trace.allowed(layer, head, queries=strip, keys=seen).cpu().numpy()
        query, key = np.nonzero(may)
        queries.append(query + strip.start)
        keys.append(key + seen.start)
        weights.append(trace.weights(layer, head, queries=strip, keys=seen).detach().float().cpu().numpy()[may])
        scores.append(trace.scaled_scores(layer, head, queries=strip, keys=seen).detach().float().cpu().numpy()[may])
    query, key = np.concatenate(queries), np.concatenate(keys)
    labels = pd.Series(list(trace.tokens.labels), dtype="str")
    return pd.DataFrame(
        {
            "query position": query,
            "query token": labels.take(query).array,
            "key position": key,
            "key token": labels.take(key).array,
            "weight": np.concatenate(weights),
            "scaled score": np.concatenate(scores),
        }
    )


def queries_within(trace: Trace, layer: int, head: int, most_pairs: int) -> int:
    """Count the query tokens, from the first on, that have no more than `most_pairs` pairs together."""
    total = 0
    for rows, keys in trace.strips(layer, head):
        counts: npt.NDArray[np.int64] = (
            trace.allowed(layer, head, queries=rows, keys=keys).sum(-1).cpu().numpy().cumsum()
        )
        fit = int(np.searchsorted(counts, most_pairs - total, side="right"))
        if fit < len(counts):
            return int(rows.start) + fit
        total += int(counts[-1])
    return trace.n


@dataclass(frozen=True)
class HeadVectors:
    """One head's vectors by name, each [n, d] float32, and what they are: `metadata` travels in the file."""

    arrays: dict[str, npt.NDArray[np.float32]]
    metadata: dict[str, str]

    @property
    def safetensors(self) -> bytes:
        """The file's bytes. Names have underscores: query_before_rope."""
        plain = {name.lower().replace(" ", "_"): np.ascontiguousarray(a) for name, a in self.arrays.items()}
        written: bytes = save(plain, self.metadata)
        return written

    def save(self, path: str | Path) -> Path:
        """Write them to a .safetensors file, whole or not at all.

        Args:
            path: the file to write; one that is there is replaced.

        Returns:
            The path.

        Raises:
            InspectorError: the name ends otherwise, or the file could not be written.
        """
        path = Path(path)
        if path.suffix != ".safetensors":
            raise InspectorError(f'{path.name} ends in "{path.suffix}"; vectors are saved as .safetensors.')
        with written_whole(path) as part:
            part.write_bytes(self.safetensors)
        return path


def vectors(trace: Trace, layer: int, head: int) -> HeadVectors:
    """Return one head's query and key vectors before and after rotation, and its value vectors.

    A trace that was opened from a file has those before rotation only where they were saved with it; they are left out
    otherwise.

    Args:
        trace: whose vectors these are.
        layer: from 0.
        head: a query head, from 0; key and value are its group's.

    Returns:
        The vectors by name, each [n, d_head] float32.

    Raises:
        InspectorError: there is no such head, or its vectors cannot be computed.
    """
    trace.query(layer, head)  # refuses, in a sentence, a head that does not exist
    info = trace.layers[layer]
    try:
        arrays = head_vectors(trace, layer, head)
    except InspectorError:
        if trace.model is not None:
            raise
        after = {"query after RoPE": trace.query(layer, head), "key after RoPE": trace.key(layer, head)}
        found = {**after, "value": trace.value(layer, head)}
        arrays = {name: values.detach().float().cpu().numpy() for name, values in found.items()}
    metadata = {
        "format": "attention-inspector head vectors 1",
        "model": provenance.model_name(trace),
        "prompt": trace.prompt or "",
        "layer": str(layer),
        "head": str(head),
        "key_value_head": str(info.kv_head(head)),
        "module": info.name,
        "scale": repr(info.scale),
        "tokens": json.dumps(list(trace.tokens.labels)),
        "token_ids": json.dumps(list(trace.tokens.ids)),
        "source": json.dumps(provenance.source(trace), default=str),
    }
    return HeadVectors(arrays, metadata)

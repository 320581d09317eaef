"""Read one head's query, key and value vectors, and measure and compare them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from inspector.analysis.maps import EXACT_UP_TO, Picture

if TYPE_CHECKING:
    import torch

    from inspector.trace.trace import Trace


def head_vectors(trace: Trace, layer: int, head: int) -> dict[str, npt.NDArray[np.float32]]:
    """Return query and key before and after rotation, and value, of one head.

    In a layer without RoPE there is no "before", and where rotation cannot be switched off it is not known: query and
    key come once.

    Args:
        trace: the prompt's trace.
        layer: counted from 0.
        head: a query head, counted from 0; key and value are its group's.

    Returns:
        Name -> vectors of all tokens, [n, d_head] float32 (the value's width may differ).
    """
    found: dict[str, torch.Tensor] = {}
    if trace.layers[layer].rope:
        found["query before RoPE"] = trace.query(layer, head, rope=False)
        found["query after RoPE"] = trace.query(layer, head)
        found["key before RoPE"] = trace.key(layer, head, rope=False)
        found["key after RoPE"] = trace.key(layer, head)
    else:
        found["query"] = trace.query(layer, head)
        found["key"] = trace.key(layer, head)
    found["value"] = trace.value(layer, head)
    return {name: values.detach().float().cpu().numpy() for name, values in found.items()}


def vector_frame(values: npt.NDArray[np.float32], labels: Sequence[str]) -> pd.DataFrame:
    """Return one kind of vector as a table: a row per token.

    Args:
        values: [n, d].
        labels: the n tokens' labels.

    Returns:
        Columns token, "0", "1", ... d - 1.
    """
    frame = pd.DataFrame(values.astype(np.float64))
    frame.columns = pd.Index([str(d) for d in range(values.shape[1])])
    frame.insert(0, "token", list(labels))
    return frame


def lengths(found: Mapping[str, npt.NDArray[np.float32]], labels: Sequence[str]) -> pd.DataFrame:
    """Return the Euclidean length of each token's vectors.

    Args:
        found: kind of vector -> [n, d].
        labels: the n tokens' labels.

    Returns:
        A row per token: token, and a column per kind of vector.
    """
    columns = {name: np.linalg.norm(values.astype(np.float64), axis=1) for name, values in found.items()}
    return pd.DataFrame({"token": list(labels), **columns})


def cosines(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the cosine of the angle between every two tokens' vectors: 1 the same direction, 0 at right angles.

    Args:
        values: [n, d].

    Returns:
        [n, n] float32; 0 for a vector of zeros.
    """
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    turned = values / np.maximum(lengths, np.finfo(np.float32).tiny)
    found: npt.NDArray[np.float32] = np.clip(turned @ turned.T, -1, 1).astype(np.float32)
    return found


def projection(
    queries: npt.NDArray[np.float32], keys: npt.NDArray[np.float32], labels: Sequence[str]
) -> tuple[pd.DataFrame, float]:
    """Project queries and keys on the plane in which they differ most: their first two principal components.

    Args:
        queries: [n, d].
        keys: [n, d].
        labels: the n tokens' labels.

    Returns:
        A row per vector: vector (query or key), position, token, x, y; and the share of all variance in that plane.
    """
    both = np.concatenate([queries, keys]).astype(np.float64)
    centred = both - both.mean(axis=0)
    _, spread, directions = np.linalg.svd(centred, full_matrices=False)
    at = centred @ directions[:2].T
    if at.shape[1] < 2:
        at = np.pad(at, ((0, 0), (0, 2 - at.shape[1])))
    whole = float((spread**2).sum())
    n = len(labels)
    frame = pd.DataFrame(
        {
            "vector": ["query"] * n + ["key"] * n,
            "position": [*range(n), *range(n)],
            "token": [*labels, *labels],
            "x": at[:, 0],
            "y": at[:, 1],
        }
    )
    return frame, float((spread[:2] ** 2).sum()) / whole if whole else 1.0


def pool_rows(values: npt.NDArray[np.float32], *, exact_up_to: int = EXACT_UP_TO) -> Picture:
    """Prepare vectors of all tokens for a canvas; of a long prompt, pool them to fewer rows.

    Args:
        values: [n, d].
        exact_up_to: rows, at most; of a longer prompt each row has the numbers farthest from zero of k tokens.

    Returns:
        The picture [rows, d].
    """
    n = len(values)
    k = -(-n // exact_up_to)
    if k > 1:
        padded = np.zeros((-(-n // k) * k, values.shape[1]), dtype=np.float32)
        padded[:n] = values
        blocks = padded.reshape(-1, k, values.shape[1])
        farthest = np.abs(blocks).argmax(axis=1)
        values = np.take_along_axis(blocks, farthest[:, None], axis=1)[:, 0]
    return Picture(np.ascontiguousarray(values), k, n)

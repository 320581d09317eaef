"""Hold what is known of every head after some rows, add it up in a fixed order, and write it to one file.

`work(shard) -> Part` and `merge(Part, Part) -> Part` are all there is to an atlas. Parts are merged in the order of
shards, so that the sums are the same to the last bit whoever computed which.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from inspector.analysis.score_definitions import EVERY
from inspector.files import written_whole

Array = NDArray[Any]
# What is summed of each head: the scores of the one table (the entropy once), and the squared distance.
SUMMED = (*(name for name in EVERY if name != "narrow"), "distance squared")
COLUMN = {name: number for number, name in enumerate(SUMMED)}
DISTANCES = 16  # bins of distances: 0, 1, 2-3, 4-7 ... tokens
ENTROPIES, BITS_A_BIN = 24, 0.5  # bins of a row's entropy
KEPT = 20  # examples of each head with the largest weights, and as many rows chosen by hash
KEYS = 8  # of an example, those with the largest weights
ADDED = ("sums", "row_means", "squares", "counts", "windows", "distances", "entropies", "contexts", "medians", "seen")
EXAMPLES = ("score", "row", "query", "keys", "weights")


@dataclass
class Part:
    """What some rows came to, for all heads of all layers in one axis [N].

    Attributes:
        sums: [N, K], of each of SUMMED over query tokens.
        row_means: [N, K], of the rows' own means, each row weighing the same.
        squares: [N, K], of these means squared.
        counts: [K], query tokens that count.
        windows: [K], rows in which any does.
        distances: [N, DISTANCES], weight by distance, the first token aside.
        entropies: [N, ENTROPIES], query tokens by their row's entropy.
        contexts: [all heads' d_value one after the other], sums of context vectors.
        medians: [layers], sums of medians of the residual's magnitudes, one for each batch.
        seen: [4]: query tokens, batches, rows, tokens.
        massive: [layers, 4]: the residual's largest magnitude, its dimension, its row, its position.
        ids: [U], token ids seen; -1 stands for all that are not followed one by one.
        key_mass: [N, U], weight that these tokens received, the first of all aside.
        query_mass: [N, U], weight that these gave to others than the first token.
        occurrences: [2, U], as keys and as queries.
        top: examples with the largest weight, by EXAMPLES: [N, KEPT, ...], the largest first.
        sample: the rows with the smallest hashes, likewise.
        facts: what is no result: seconds, host, verification.
    """

    sums: Array
    row_means: Array
    squares: Array
    counts: Array
    windows: Array
    distances: Array
    entropies: Array
    contexts: Array
    medians: Array
    seen: Array
    massive: Array
    ids: Array
    key_mass: Array
    query_mass: Array
    occurrences: Array
    top: dict[str, Array]
    sample: dict[str, Array]
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def empty(cls, heads: int, layers: int, width: int) -> Part:
        """Return the part of no rows.

        Args:
            heads: N, of all layers.
            layers: how many.
            width: the sum of all heads' d_value.

        Returns:
            The part.
        """
        k = len(SUMMED)
        return cls(
            sums=np.zeros((heads, k)),
            row_means=np.zeros((heads, k)),
            squares=np.zeros((heads, k)),
            counts=np.zeros(k, dtype=np.int64),
            windows=np.zeros(k, dtype=np.int64),
            distances=np.zeros((heads, DISTANCES)),
            entropies=np.zeros((heads, ENTROPIES), dtype=np.int64),
            contexts=np.zeros(width),
            medians=np.zeros(layers),
            seen=np.zeros(4, dtype=np.int64),
            massive=np.full((layers, 4), -1.0),
            ids=np.zeros(0, dtype=np.int64),
            key_mass=np.zeros((heads, 0)),
            query_mass=np.zeros((heads, 0)),
            occurrences=np.zeros((2, 0), dtype=np.int64),
            top=no_examples(heads),
            sample=no_examples(heads),
        )

    def arrays(self) -> dict[str, Array]:
        """Return every array of the result by name."""
        plain = (*ADDED, "massive", "ids", "key_mass", "query_mass", "occurrences")
        found = {name: getattr(self, name) for name in plain}
        for kind in ("top", "sample"):
            found |= {f"{kind}.{name}": array for name, array in getattr(self, kind).items()}
        return found

    def save(self, path: Path) -> None:
        """Write the part to one file, whole.

        Args:
            path: the file.
        """
        arrays = {name: np.ascontiguousarray(array) for name, array in self.arrays().items()}
        with written_whole(path) as part:
            save_file(arrays, part, metadata={"facts": json.dumps(self.facts)})

    @classmethod
    def load(cls, path: Path) -> Part:
        """Read a file that `save` wrote.

        Args:
            path: the file.

        Returns:
            The part.
        """
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no dictionary)
            facts = json.loads(file.metadata()["facts"])
        tops, samples = ({name: arrays.pop(f"{kind}.{name}") for name in EXAMPLES} for kind in ("top", "sample"))
        return cls(**arrays, top=tops, sample=samples, facts=facts)

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of each kind of array, which two equal results share."""
        kinds = {
            "sums": ("sums", "row_means", "squares", "counts", "windows", "seen"),
            "histograms": ("distances", "entropies"),
            "tokens": ("ids", "key_mass", "query_mass", "occurrences"),
            "means": ("contexts",),
            "massive": ("massive", "medians"),
            "examples": tuple(f"{kind}.{name}" for kind in ("top", "sample") for name in EXAMPLES),
        }
        arrays = self.arrays()
        return {kind: _digest(arrays[name] for name in names) for kind, names in kinds.items()}


def merge(a: Part, b: Part) -> Part:
    """Add up two parts; what the first was stands first in every sum.

    Args:
        a: of earlier shards.
        b: of the next.

    Returns:
        The part of both.
    """
    ids = np.union1d(a.ids, b.ids)
    tables: dict[str, Any] = {}
    for name in ("key_mass", "query_mass", "occurrences"):
        first, second = getattr(a, name), getattr(b, name)
        both = np.zeros((first.shape[0], len(ids)), dtype=first.dtype)
        both[:, np.searchsorted(ids, a.ids)] += first
        both[:, np.searchsorted(ids, b.ids)] += second
        tables[name] = both
    return Part(
        **{name: getattr(a, name) + getattr(b, name) for name in ADDED},
        massive=np.where((b.massive[:, :1] > a.massive[:, :1]), b.massive, a.massive),
        ids=ids,
        **tables,
        top=best_of(a.top, b.top),
        sample=best_of(a.sample, b.sample),
    )


def no_examples(heads: int) -> dict[str, Array]:
    """Return places for KEPT examples of each head; a row of -1 marks an empty one."""
    return {
        "score": np.full((heads, KEPT), -np.inf),
        "row": np.full((heads, KEPT), -1, dtype=np.int64),
        "query": np.zeros((heads, KEPT), dtype=np.int32),
        "keys": np.zeros((heads, KEPT, KEYS), dtype=np.int32),
        "weights": np.zeros((heads, KEPT, KEYS), dtype=np.float16),
    }


def best_of(a: dict[str, Array], b: dict[str, Array]) -> dict[str, Array]:
    """Return the KEPT examples of the largest scores of each head; of equal ones the earlier rows.

    Args:
        a: examples by EXAMPLES.
        b: other examples, of any number.

    Returns:
        The best of both, the largest first.
    """
    both = {name: np.concatenate((a[name], b[name]), axis=1) for name in EXAMPLES}
    order = np.lexsort((both["row"], -both["score"]), axis=1)[:, :KEPT]
    return {
        name: np.take_along_axis(array, order.reshape(*order.shape, *[1] * (array.ndim - 2)), axis=1)
        for name, array in both.items()
    }


def _digest(arrays: Iterable[Array]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()

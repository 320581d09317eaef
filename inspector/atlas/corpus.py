"""Cut a corpus into rows of tokens and shards of rows, and write both down, so that any worker can run any shard.

A text is cut into stretches of `tokens` tokens, one after the other, and what remains; each is a row, run by itself. A
shard is a fixed range of rows: what a shard comes to does not depend on who runs it.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from inspector.atlas.texts import Source, TextCounts, read_texts
from inspector.errors import InspectorError
from inspector.files import written_whole
from inspector.model.model import Model

SHORTEST = 2  # tokens of a row: a single token has no choice where to look


@dataclass(frozen=True)
class Rows:
    """The rows of a shard.

    Attributes:
        first: the number of its first row in the corpus.
        ids: token ids of each row.
        texts: which text each row is from.
        starts: where in its text it begins, in tokens.
    """

    first: int
    ids: tuple[tuple[int, ...], ...]
    texts: tuple[int, ...]
    starts: tuple[int, ...]

    def save(self, path: Path) -> None:
        """Write the rows to one file, whole.

        Args:
            path: the file.
        """
        offsets = np.cumsum([0, *map(len, self.ids)]).astype(np.int64)
        arrays = {
            "first": np.array([self.first], dtype=np.int64),
            "ids": np.array([one for row in self.ids for one in row], dtype=np.int32),
            "offsets": offsets,
            "texts": np.array(self.texts, dtype=np.int64),
            "starts": np.array(self.starts, dtype=np.int64),
        }
        with written_whole(path) as part:
            save_file(arrays, part)

    @classmethod
    def load(cls, path: Path) -> Rows:
        """Read a file that `save` wrote.

        Args:
            path: the file.

        Returns:
            The rows.
        """
        at = load_file(path)
        pieces = itertools.pairwise(at["offsets"].tolist())
        ids = tuple(tuple(at["ids"][a:b].tolist()) for a, b in pieces)
        return cls(int(at["first"][0]), ids, tuple(at["texts"].tolist()), tuple(at["starts"].tolist()))


@dataclass(frozen=True)
class Corpus:
    """What a corpus came to.

    Attributes:
        counts: of its texts, odd ones included.
        rows: how many there are.
        tokens: in all rows.
        shards: how many files of rows were written.
        sha256: of all rows' token ids, in order.
        occurrences: how often each token id stands in the rows, [vocabulary].
    """

    counts: TextCounts
    rows: int
    tokens: int
    shards: int
    sha256: str
    occurrences: np.ndarray


def write_corpus(
    model: Model, texts: Source, folder: Path, *, tokens: int, rows_per_shard: int, column: str, most_rows: int | None
) -> Corpus:
    """Tokenize a corpus and write its shards' rows into a folder.

    Args:
        model: whose tokenizer is used.
        texts: where the texts come from.
        folder: one file a shard is written there.
        tokens: of a row, at most.
        rows_per_shard: rows of a shard.
        column: of tables, the column that holds the text.
        most_rows: stop after so many rows; None: the whole corpus.

    Returns:
        What it came to.

    Raises:
        InspectorError: there is no text that can be used.
    """
    counts, digest = TextCounts(), hashlib.sha256()
    occurrences = np.zeros(model.vocabulary, dtype=np.int64)
    rows = islice_rows(_rows(model, read_texts(texts, counts, column=column), counts, tokens), most_rows)
    total = in_rows = shards = 0
    while stretch := list(itertools.islice(rows, rows_per_shard)):
        ids = tuple(row for _, _, row in stretch)
        for row in ids:
            at = np.array(row, dtype=np.int32)
            digest.update(at.tobytes() + b"|")
            np.add.at(occurrences, at, 1)
            in_rows += len(row)
        shard = Rows(total, ids, tuple(text for text, _, _ in stretch), tuple(start for _, start, _ in stretch))
        shard.save(folder / f"{shards:05d}.safetensors")
        total, shards = total + len(stretch), shards + 1
    if not total:
        raise InspectorError(
            f"There is no text to make an atlas of: {counts.in_words()} Give texts of two tokens or more."
        )
    return Corpus(counts, total, in_rows, shards, digest.hexdigest(), occurrences)


def islice_rows(rows: Iterator[tuple[int, int, tuple[int, ...]]], most: int | None) -> Iterator:  # type: ignore[type-arg]
    """Return the rows, or the first of them."""
    return rows if most is None else itertools.islice(rows, most)


def _rows(
    model: Model, texts: Iterable[str], counts: TextCounts, tokens: int
) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Yield each row: the number of its text, where it begins there, its token ids."""
    for number, text in enumerate(texts):
        ids = model.tokenizer(text, verbose=False)["input_ids"]
        if len(ids) < SHORTEST:
            counts.too_short += 1
            continue
        counts.used += 1
        for start in range(0, len(ids), tokens):
            row = tuple(ids[start : start + tokens])
            if len(row) >= SHORTEST:
                yield number, start, row

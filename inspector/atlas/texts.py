"""Read the texts of a corpus from files, folders, tables or a data set, and count each that cannot be used.

A text file holds one text a line, a folder one text a file, Parquet and JSON lines one text a row, in a column named
"text". Without a source it is `pydoc_data.topics`, about 0.5 MB of English that every Python carries.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from inspector.errors import InspectorError
from inspector.text import first_sentence

COLUMN = "text"
PIECE = 100_000  # characters; a longer text is cut into pieces of so many, which bounds what tokenizing needs
LINE_BYTES = 4 * 2**20  # of a line at once
REMEMBERED = 1_000_000  # texts among which copies are noticed: so memory stays constant
Source = str | Path | Iterable[str] | None


@dataclass
class TextCounts:
    """How many texts there were, and how many of each odd kind.

    Attributes:
        texts: that were found.
        used: that have tokens to look at.
        empty: with nothing but spaces.
        binary: with a zero byte, as files that are no text have.
        not_utf8: with bytes that are no UTF-8.
        not_text: rows whose column holds no text.
        too_short: of a single token, which has no choice where to look.
        copies: equal to an earlier one; they are used.
        cut: longer than a piece, and cut into several; all of them are used.
    """

    texts: int = 0
    used: int = 0
    empty: int = 0
    binary: int = 0
    not_utf8: int = 0
    not_text: int = 0
    too_short: int = 0
    copies: int = 0
    cut: int = 0
    _seen: set[bytes] = field(default_factory=set, repr=False)

    def to_dict(self) -> dict[str, int]:
        """Return the counts, ready for JSON."""
        return {name: value for name, value in asdict(self).items() if not name.startswith("_")}

    def in_words(self) -> str:
        """Say what was found, odd kinds only where there are any."""
        words = {
            "empty": "empty",
            "binary": "binary",
            "not_utf8": "not UTF-8",
            "not_text": "no text",
            "too_short": "of one token",
            "copies": "equal to an earlier one (used)",
            "cut": f"cut into pieces of {PIECE:,} characters (used)",
        }
        odd = [f"{getattr(self, name):,} {word}" for name, word in words.items() if getattr(self, name)]
        return f"{self.used:,} of {self.texts:,} texts used" + (f"; {', '.join(odd)}" if odd else "") + "."

    def note_copy(self, text: str) -> None:
        """Count a text that came before, among the first million different ones.

        Args:
            text: the next one.
        """
        mark = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        if mark in self._seen:
            self.copies += 1
        elif len(self._seen) < REMEMBERED:
            self._seen.add(mark)


def read_texts(source: Source, counts: TextCounts, *, column: str = COLUMN) -> Iterator[str]:
    """Read the texts one after the other.

    Args:
        source: a file, a folder, the name of a data set, texts in any iterable; None: the texts that Python carries.
        counts: is filled in.
        column: the column of tables that holds the text.

    Yields:
        Each text that can be used, in pieces of at most PIECE characters.

    Raises:
        InspectorError: there is no such file, or a table lacks the column.
    """
    for content in _contents(source, column):
        counts.texts += 1
        text = _as_text(content, counts)
        if text is None:
            continue
        counts.note_copy(text)
        counts.cut += len(text) > PIECE
        for start in range(0, len(text), PIECE):
            yield text[start : start + PIECE]


def _as_text(content: Any, counts: TextCounts) -> str | None:
    """Return a text; None, counted, of what is none."""
    if isinstance(content, bytes):
        if b"\0" in content:
            counts.binary += 1
            return None
        try:
            content = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            counts.not_utf8 += 1
            return None
    if not isinstance(content, str):
        counts.not_text += 1
        return None
    if "\0" in content:
        counts.binary += 1
        return None
    if not content.strip():
        counts.empty += 1
        return None
    return content


def _contents(source: Source, column: str) -> Iterator[Any]:
    """Yield what stands in the place of texts, as bytes or whatever a table holds."""
    if source is None:
        topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
        yield from (topics[name] for name in sorted(topics))
        return
    if not isinstance(source, str | Path):
        if not isinstance(source, Iterable):
            raise InspectorError(
                f"texts={source!r:.40} is no source of texts: give a file, a folder, a list of texts, or nothing for "
                "those that Python carries."
            )
        yield from source
        return
    path = Path(source)
    if path.is_dir():
        files = sorted(one for one in path.rglob("*") if one.is_file() and not one.name.startswith("."))
        for file in files:
            yield from _table(file, column) if _is_table(file) else [_bytes_of(file)]
    elif path.is_file():
        yield from _table(path, column) if _is_table(path) else _lines(path)
    elif isinstance(source, str) and "/" in source and not path.is_absolute() and not path.suffix:
        yield from _data_set(source, column)
    else:
        raise InspectorError(
            f"{source} is no file, folder or data set: give a path that exists, a name such as owner/name, or leave it "
            "out for the texts that Python carries."
        )


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in (".parquet", ".jsonl", ".ndjson")


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InspectorError(f"{path} could not be read ({error.strerror or error}): check who may read it.") from error


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while line := file.readline(LINE_BYTES):
                yield line.rstrip(b"\r\n")
    except OSError as error:
        raise InspectorError(f"{path} could not be read ({error.strerror or error}): check who may read it.") from error


def _table(path: Path, column: str) -> Iterator[Any]:
    if path.suffix.lower() == ".parquet":
        yield from _parquet(path, column)
        return
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            yield b""
            continue
        try:
            row = json.loads(line)
        except ValueError:
            yield None
            continue
        if number == 1 and isinstance(row, dict) and column not in row:
            raise _no_column(path, column, list(row))
        yield row.get(column) if isinstance(row, dict) else None


def _parquet(path: Path, column: str) -> Iterator[Any]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            if column not in file.schema_arrow.names:
                raise _no_column(path, column, list(file.schema_arrow.names))
            for batch in file.iter_batches(batch_size=256, columns=[column]):
                yield from batch.column(0).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise InspectorError(
            f"{path} is no Parquet file that can be read ({first_sentence(error)}): give another, or a text file."
        ) from error


def _no_column(path: Path | str, column: str, names: list[str]) -> InspectorError:
    return InspectorError(
        f'{path} has no column "{column}" (it has {", ".join(names[:8]) or "none"}): name the one that holds the text '
        "with column= or --column."
    )


def _data_set(name: str, column: str) -> Iterator[Any]:
    """Stream a data set of a hub through the `datasets` library, where it is installed."""
    try:
        datasets = importlib.import_module("datasets")
    except ImportError as error:
        raise InspectorError(
            f"{name} is no file or folder here, and reading a hub's data set needs the datasets library: pip install "
            "datasets, or give a file."
        ) from error
    repository, _, split = name.partition(":")
    try:
        rows = datasets.load_dataset(repository, split=split or "train", streaming=True)
        for number, row in enumerate(rows):
            if number == 0 and column not in row:
                raise _no_column(name, column, list(row))
            yield row[column]
    except (OSError, ValueError, RuntimeError, LookupError) as error:
        raise InspectorError(f"The data set {name} could not be read ({first_sentence(error)}).") from error

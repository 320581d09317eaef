"""Read what the command `heads` found, of files that this server was started with: labels with their nulls."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from inspector.errors import InspectorError
from inspector.text import SCHEMA
from inspector.trace.trace import Trace
from inspector.ui.server.settings import heads_files

MOST_BYTES = 50 * 2**20


@dataclass(frozen=True)
class Finding:
    """One label of one head, or one that it did not get.

    Attributes:
        label: its name.
        given: whether the head gets it.
        score: the head's.
        null: the same score where there is nothing to find.
        null_sd: its standard deviation over texts.
        without_first: the score without the first token; None where that cannot be asked.
        evidence: the texts that it was measured on.
    """

    label: str
    given: bool
    score: float
    null: float
    null_sd: float
    without_first: float | None
    evidence: str


def findings_of(model: str, layer: int, head: int) -> list[Finding]:
    """Return what a finder's file says of one head, the labels that it gets first.

    Args:
        model: the model's name.
        layer: from 0.
        head: from 0.

    Returns:
        Empty where this server was given no file of this model.
    """
    return _of_model(model).get((layer, head), [])


def _of_model(model: str) -> dict[tuple[int, int], list[Finding]]:
    for file in heads_files():
        try:
            name, found = read_findings(file)
        except InspectorError:  # it was read when the server started, and has gone since
            continue
        if name == model:
            return found
    return {}


def sentences(trace: Trace) -> list[str]:
    """Say of each head of a trace's model what the finder found, each label beside its null.

    Args:
        trace: any of that model.

    Returns:
        A sentence for each head, layer after layer; empty where this server was given no file of this model.
    """
    found = _of_model(trace.model_name)
    heads = ((layer.index, head) for layer in trace.layers for head in range(layer.heads))
    return [_sentence(found.get(place, [])) for place in heads] if found else []


def _sentence(rows: list[Finding]) -> str:
    given = [f"{one.label} {one.score:.2f} (null {one.null:.2f}, on {one.evidence})" for one in rows if one.given]
    return f"Over many texts: {'; '.join(given)}." if given else "Over many texts it gets no label."


def read_findings(file: Path) -> tuple[str, dict[tuple[int, int], list[Finding]]]:
    """Read a file that the command `heads --json` wrote.

    Args:
        file: the file.

    Returns:
        The model's name, and what was found of each head.

    Raises:
        InspectorError: it is no such file.
    """
    try:
        state = file.stat()
        if state.st_size > MOST_BYTES:
            raise ValueError("it is too large")
        return _read(file, state.st_mtime_ns)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InspectorError(
            f"{file} is not what the command heads writes with --json ({type(error).__name__}): write it anew."
        ) from error


@lru_cache(maxsize=8)
def _read(file: Path, written: int) -> tuple[str, dict[tuple[int, int], list[Finding]]]:
    del written
    record = json.loads(file.read_text(encoding="utf-8"))
    if record["kind"] != "heads" or record["schema"] != SCHEMA:
        raise ValueError("another kind")
    texts = {one["label"]: str(one["text"]) for one in record["labels"]}
    found = {}
    for one in record["heads"]:
        rows = [
            Finding(
                label=name,
                given=name in one["labels"],
                score=float(score["score"]),
                null=float(score["null"]),
                null_sd=float(score["null_sd"]),
                without_first=None if score["beside_first"] is None else float(score["beside_first"]),
                evidence=texts[name],
            )
            for name, score in one["scores"].items()
        ]
        found[int(one["layer"]), int(one["head"])] = sorted(rows, key=lambda row: (not row.given, -row.score))
    return str(record["model"]), found

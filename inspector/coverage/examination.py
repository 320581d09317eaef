"""Examine one decoder type: build a tiny model of it, load it, trace a prompt and verify it.

type ─► tiny checkpoint ─► inspector.load ─► trace ─► verify ─► Row
"""

from __future__ import annotations

import re
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from inspector.coverage import published_tiny, table, tiny
from inspector.coverage.rows import Row, blank_row
from inspector.coverage.tiny import Entry
from inspector.errors import InspectorError, NotRun
from inspector.model.load_model import load
from inspector.text import first_sentence
from inspector.verification.report import VerificationReport
from inspector.verification.run import verify

TOKENS = 48  # past every window, chunk and scaling threshold of the tiny models
PATH = re.compile(r"(?<![\w.])/(?:[^\s/'\"]+/)+(?=[^\s/'\"])")  # the folders of an absolute path


def varied_ids(count: int = TOKENS) -> list[int]:
    """Return token ids, varied and with repetitions at different distances.

    Args:
        count: how many.

    Returns:
        The ids.
    """
    return [(i * 7 + (i // 5) * 3) % table.VOCABULARY for i in range(count)]


def examine(name: str) -> Row:
    """Examine one decoder type in this process: build a tiny model, save it, load it, trace it, verify it.

    Args:
        name: the type's name.

    Returns:
        What was found.
    """
    started = time.perf_counter()
    entry = tiny.types()[name]
    with tempfile.TemporaryDirectory(prefix="coverage-") as folder:
        row = _examined(entry, Path(folder) / name)
        if row.reimplemented:
            row = _as_published(row, Path(folder))
    return replace(row, reason=PATH.sub("", row.reason), seconds=time.perf_counter() - started)


def _examined(entry: Entry, folder: Path) -> Row:
    """Examine a type, whose checkpoint is saved in `folder`; whatever goes wrong becomes the row's reason."""
    row = blank_row(entry)
    if entry.needs:
        return replace(row, reason=f"It cannot run on a prompt alone: {entry.needs}.")
    try:
        tiny.save(entry, folder)
    except Exception as error:  # whatever the library says to settings that do not fit a type
        return replace(row, reason=f"No tiny model of it could be built: {name_error(error)}.", broken=True)
    try:
        model = load(folder)
        trace = model.trace(varied_ids(), keep=("input",))
    except InspectorError as error:  # NotRun: what a type's own code raises, for a prompt that it cannot take
        return replace(row, reason=str(error), broken=isinstance(error, NotRun))
    except Exception as error:
        return replace(row, reason=f"The library could not run it: {name_error(error)}.", broken=True)
    rope = row.rope if row.known else any(layer.rope for layer in trace.layers)
    hidden = {one.unexplained for one in trace.stored if one.unexplained}  # the capture's words for what it cannot show
    row = replace(row, captured=True, layers=len(trace.layers), rope=rope, unexplained="; ".join(sorted(hidden)))
    try:
        return _judged(row, verify(model, trace))
    except InspectorError as error:
        return replace(row, reason=str(error), broken=isinstance(error, NotRun))
    except Exception as error:  # ours, or a type's that cannot be run again or cannot generate
        return replace(row, reason=f"Verifying it stopped: {name_error(error)}.", broken=True)


def _judged(row: Row, report: VerificationReport) -> Row:
    """Add what verification found to a row."""
    frame, controls = report.table, report.controls
    applying = controls[controls["applies"]]
    return replace(
        row,
        reimplemented=report.ok,
        differences={str(stage): float(part["max_abs"].max()) for stage, part in frame.groupby("stage", sort=False)},
        differing=int(frame["differing"].sum()),
        planted=report.planted,
        caught=report.caught,
        missed=tuple(applying[~applying["caught"].astype(bool)]["mistake"]),
        reason="" if report.ok else report.summary(),
    )


def _as_published(row: Row, folder: Path) -> Row:
    """Verify a tiny model of a checkpoint's config of this type too; what does not hold becomes the reason."""
    name = next(iter(published_tiny.published_of(row.model_type)), "")
    if not name:
        return row
    try:
        report = verify(load(published_tiny.save(name, folder / "published")), varied_ids(), controls=False)
    except Exception as error:  # ours, or the library's for a field that it does not take
        said = str(error) if isinstance(error, InspectorError) else f"{name_error(error)}."
        return replace(row, reimplemented=False, reason=f"Read by the config of {name}: {said}", published=name)
    reason = "" if report.ok else f"Read by the config of {name}: {report.summary()}"
    return replace(row, reimplemented=report.ok, reason=reason, published=name)


def name_error(error: BaseException) -> str:
    """Name an error by its type and the first sentence of its message.

    Args:
        error: what was raised.

    Returns:
        A phrase to stand in a sentence.
    """
    return f"{type(error).__name__} ({first_sentence(error)})" if str(error) else type(error).__name__

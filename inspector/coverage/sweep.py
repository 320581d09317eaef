"""Decoder types' names go in; rows come out, each saying whether a tiny model of the type is captured, reimplemented
and verified, and if not, why.

    type ─► tiny checkpoint ─► inspector.load ─► trace ─► verify ─► Row        each in a process of its own

A process of its own, because a type of the library may crash, hang or eat all memory.
"""

from __future__ import annotations

import contextlib
import difflib
import math
import multiprocessing
import os
import re
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from inspector.coverage import table, tiny
from inspector.coverage.tiny import Entry
from inspector.errors import InspectorError, NotRun
from inspector.model.model import load
from inspector.text import first_sentence
from inspector.verification.report import VerificationReport
from inspector.verification.run import verify

TOKENS = 48  # past every window, chunk and scaling threshold of the tiny models
SECONDS = 120.0  # that one type may take
MEMORY = 8 * 2**30  # bytes of address space that its process may have
PRELOADED = ["torch", "transformers", "transformers.modeling_utils", "inspector", "inspector.coverage.sweep"]
PATH = re.compile(r"(?<![\w.])/(?:[^\s/'\"]+/)+(?=[^\s/'\"])")  # the folders of an absolute path


@dataclass(frozen=True)
class Row:
    """What was found of one decoder type.

    otherwise:      what it has in place of one softmax over queries and keys, as surveyed; "" where it has just that.
    captured:       its attention was recorded, in `layers` attention layers.
    reimplemented:  verification held at every stage, and every planted mistake was caught.
    differences:    stage -> the largest difference of any layer; empty where nothing was compared.
    differing:      elements that differ at all, over all stages and layers.
    planted, caught, missed: the planted mistakes that apply, those noticed, and the names of the others.
    unexplained:    why weights computed from the captured queries and keys would not be the library's; "": they are.
    reason:         one sentence where it is not captured, not reimplemented or not verified; else "".
    broken:         the examination itself broke off: the type crashed, hung or raised what nobody foresaw.
    """

    model_type: str
    class_name: str
    alias_of: str = ""
    known: bool = True
    otherwise: str = ""
    rope: bool = False
    captured: bool = False
    layers: int = 0
    reimplemented: bool = False
    differences: Mapping[str, float] = field(default_factory=dict)
    differing: int = 0
    planted: int = 0
    caught: int = 0
    missed: tuple[str, ...] = ()
    unexplained: str = ""
    reason: str = ""
    broken: bool = False
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """It was compared with the library and did not hold, or missed a planted mistake."""
        return bool(self.differences) and not self.reimplemented

    @property
    def largest(self) -> float | None:
        """The largest difference at any stage."""
        return max(self.differences.values()) if self.differences else None

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON (what is not finite as null)."""
        finite = {stage: size if math.isfinite(size) else None for stage, size in self.differences.items()}
        return {**asdict(self), "differences": finite, "failed": self.failed}

    def __str__(self) -> str:
        captured = f"captured {self.layers:>2} layers" if self.captured else "not captured"
        verified = "verified" if self.reimplemented else "FAILED" if self.failed else "not verified"
        text = f"{self.model_type:<26} {captured:<18} {verified:<13}"
        if self.largest is not None:
            text += f" largest difference {self.largest:<8.3g} {self.caught} of {self.planted} mistakes caught"
        if self.alias_of:
            text += f"  (as {self.alias_of})"
        return f"{text}  {self.reason}".rstrip()


Examiner = Callable[[str], Row]


def sweep_types(
    names: Iterable[str] | None = None, jobs: int = 2, on_done: Callable[[Row], object] | None = None
) -> list[Row]:
    """One row for each of these decoder types (all that the installed transformers has, unless told), in their order.

    jobs: how many are examined at once; on_done: called with each row when it is there.
    Raises InspectorError for a name that is no decoder type.
    """
    installed = tiny.types()
    wanted = list(dict.fromkeys(installed if names is None else names))
    for name in wanted:
        if name not in installed:
            raise InspectorError(unknown_type(name, installed))
    standing_for: dict[str, list[Entry]] = {}  # what is examined -> the wanted entries whose row this gives
    for entry in (installed[name] for name in wanted):
        standing_for.setdefault(entry.alias_of or entry.name, []).append(entry)
    rows: dict[str, Row] = {}
    for found in in_children(standing_for, jobs=jobs):
        for entry in standing_for[found.model_type]:
            rows[entry.name] = _under_the_name(entry, found)
            if on_done:
                on_done(rows[entry.name])
    return [rows[name] for name in wanted]


def summary(rows: Iterable[Row]) -> str:
    """The totals, in one sentence."""
    rows = list(rows)
    captured, rope = [row for row in rows if row.captured], [row for row in rows if row.rope]
    done = [row for row in rope if row.reimplemented]
    text = (
        f"{len(rows)} decoder type{'s' * (len(rows) != 1)}: {len(captured)} captured; {len(rope)} with RoPE, of which "
        f"{len(done)} are reimplemented and verified ({sum(row.caught for row in done)} of "
        f"{sum(row.planted for row in done)} planted mistakes caught)."
    )
    if unknown := [row.model_type for row in rows if not row.known]:
        text += f" New since the survey, so that nothing is known of their sizes: {', '.join(unknown)}."
    return text


def unknown_type(name: str, installed: Iterable[str]) -> str:
    """The sentence about a name that is no decoder type."""
    near = difflib.get_close_matches(name, list(installed), n=3, cutoff=0.5)
    advice = f"did you mean {' or '.join(near)}?" if near else "leave the name out to examine all."
    return f"'{name}' is no decoder type of the installed transformers: {advice}"


def varied_ids(count: int = TOKENS) -> list[int]:
    """Token ids, varied and with repetitions at different distances."""
    return [(i * 7 + (i // 5) * 3) % table.VOCABULARY for i in range(count)]


def _under_the_name(entry: Entry, row: Row) -> Row:
    if entry.name == row.model_type:
        return row
    return replace(row, model_type=entry.name, class_name=entry.class_name, alias_of=row.model_type)


# --- one type ----------------------------------------------------------------------------------------


def examine(name: str) -> Row:
    """One decoder type, in this process: build a tiny model, save it, load it, trace it, verify it."""
    started = time.perf_counter()
    entry = tiny.types()[name]
    with tempfile.TemporaryDirectory(prefix="coverage-") as folder:
        row = _examined(entry, Path(folder) / name)
    return replace(row, reason=PATH.sub("", row.reason), seconds=time.perf_counter() - started)


def _blank(entry: Entry) -> Row:
    return Row(entry.name, entry.class_name, known=entry.known, otherwise=entry.otherwise, rope=bool(entry.rope))


def _examined(entry: Entry, folder: Path) -> Row:
    row = _blank(entry)
    if entry.needs:
        return replace(row, reason=f"It cannot run on a prompt alone: {entry.needs}.")
    try:
        tiny.save(entry, folder)
    except Exception as error:  # whatever the library says to settings that do not fit a type
        return replace(row, reason=f"No tiny model of it could be built: {_said(error)}.", broken=True)
    try:
        model = load(folder)
        trace = model.trace(varied_ids(), keep=("input",))
    except InspectorError as error:  # NotRun: what a type's own code raises, for a prompt that it cannot take
        return replace(row, reason=str(error), broken=isinstance(error, NotRun))
    except Exception as error:
        return replace(row, reason=f"The library could not run it: {_said(error)}.", broken=True)
    rope = row.rope if row.known else any(layer.rope for layer in trace.layers)
    hidden = {kept.unexplained for kept in trace.stored if kept.unexplained}  # the seam's words for what it cannot show
    row = replace(row, captured=True, layers=len(trace.layers), rope=rope, unexplained="; ".join(sorted(hidden)))
    try:
        return _judged(row, verify(model, trace))
    except InspectorError as error:
        return replace(row, reason=str(error), broken=isinstance(error, NotRun))
    except Exception as error:  # ours, or a type's that cannot be run again or cannot generate
        return replace(row, reason=f"Verifying it stopped: {_said(error)}.", broken=True)


def _judged(row: Row, report: VerificationReport) -> Row:
    frame, controls = report.frame, report.controls
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


def _said(error: BaseException) -> str:
    return f"{type(error).__name__} ({first_sentence(error)})" if str(error) else type(error).__name__


# --- many, each in a process -------------------------------------------------------------------------


@dataclass(frozen=True)
class _Child:
    name: str
    process: BaseProcess
    deadline: float


def in_children(
    names: Iterable[str], examiner: Examiner = examine, *, jobs: int = 2, seconds: float = SECONDS
) -> Iterator[Row]:
    """`examiner`'s row of each of these types as it is finished, at most `jobs` at once, each in a process of its own.

    What dies or takes longer than `seconds` gives a row that says so. Ends all processes when it is closed.
    """
    context = _context()
    waiting = deque(names)
    running: dict[Connection, _Child] = {}
    try:
        while waiting or running:
            while waiting and len(running) < max(1, jobs):
                receiver, child = _start(context, examiner, waiting.popleft(), seconds)
                running[receiver] = child
            first_deadline = min(child.deadline for child in running.values())
            for ready in wait(list(running), timeout=max(0.0, first_deadline - time.monotonic())):
                assert isinstance(ready, Connection)  # noqa: S101  (only these are waited for)
                child = running.pop(ready)
                yield _received(ready, child)
            for receiver, child in list(running.items()):
                if child.deadline <= time.monotonic():
                    _stop(receiver, running.pop(receiver))
                    yield _lost(child.name, f"It did not finish within {seconds:g} s.")
    finally:
        for receiver, child in running.items():
            _stop(receiver, child)


def _context() -> BaseContext:
    """Children that start in a moment, as copies of a process that has imported everything, where there are such."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _start(context: BaseContext, examiner: Examiner, name: str, seconds: float) -> tuple[Connection, _Child]:
    receiver, sender = context.Pipe(duplex=False)
    process: Any = context.Process(target=_in_child, args=(examiner, name, sender), daemon=True)  # type: ignore[attr-defined]
    process.start()
    sender.close()  # so that the pipe ends when the child does
    return receiver, _Child(name, process, time.monotonic() + seconds)


def _in_child(examiner: Examiner, name: str, sender: Connection) -> None:
    with contextlib.suppress(ImportError):  # no such limits on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)  # the library's notes and progress bars, of 200 models
    os.dup2(silent, 2)
    torch.set_num_threads(1)
    try:
        row = examiner(name)
    except Exception as error:
        row = _lost(name, f"Examining it stopped: {_said(error)}.")
    sender.send(row)


def _received(receiver: Connection, child: _Child) -> Row:
    row: Row | None = None
    with contextlib.suppress(EOFError, OSError):  # it ended without a word
        row = receiver.recv()
    receiver.close()
    child.process.join()
    return row or _lost(child.name, f"Its process died ({_ending(child.process.exitcode or 0)}).")


def _ending(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exit status {exit_code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-exit_code).name
    return f"signal {-exit_code}"


def _stop(receiver: Connection, child: _Child) -> None:
    child.process.kill()
    child.process.join()
    receiver.close()


def _lost(name: str, reason: str) -> Row:
    return replace(_blank(tiny.types()[name]), reason=reason, broken=True)

"""Examine many decoder types at once, each in a process of its own.

A process of its own, because a type of the library may crash, hang or eat all memory.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from inspector.coverage import tiny
from inspector.coverage.examination import examine, name_error
from inspector.coverage.rows import Row, blank_row

SECONDS = 120.0  # that one type may take
MEMORY = 8 * 2**30  # bytes of address space that its process may have
PRELOADED = ["torch", "transformers", "transformers.modeling_utils", "inspector", "inspector.coverage.examination"]

Examiner = Callable[[str], Row]


@dataclass(frozen=True)
class _Child:
    """A process that examines one type, and when it is to be ended."""

    name: str
    process: BaseProcess
    deadline: float


def in_children(
    names: Iterable[str], examiner: Examiner = examine, *, jobs: int = 2, seconds: float = SECONDS
) -> Iterator[Row]:
    """Examine types in processes of their own, and yield each row as it is finished.

    What dies or takes too long gives a row that says so. All processes end when the generator is closed.

    Args:
        names: the types' names.
        examiner: what is run in each process; it takes a name and returns its row.
        jobs: processes at once, at most.
        seconds: that one type may take.

    Yields:
        Rows, in the order in which they are finished.
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
    """Return how children start: at once, as copies of a process that has imported everything, where possible."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _start(context: BaseContext, examiner: Examiner, name: str, seconds: float) -> tuple[Connection, _Child]:
    """Start the process of one type."""
    receiver, sender = context.Pipe(duplex=False)
    process: Any = context.Process(target=_in_child, args=(examiner, name, sender), daemon=True)  # type: ignore[attr-defined]
    process.start()
    sender.close()  # so that the pipe ends when the child does
    return receiver, _Child(name, process, time.monotonic() + seconds)


def _in_child(examiner: Examiner, name: str, sender: Connection) -> None:
    """Run the examiner in the child, quietly and with limited memory, and send its row."""
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
        row = _lost(name, f"Examining it stopped: {name_error(error)}.")
    sender.send(row)


def _received(receiver: Connection, child: _Child) -> Row:
    """Return the row that a child sent, or one that says how it died."""
    row: Row | None = None
    with contextlib.suppress(EOFError, OSError):  # it ended before it sent a row
        row = receiver.recv()
    receiver.close()
    child.process.join()
    return row or _lost(child.name, f"Its process died ({_ending(child.process.exitcode or 0)}).")


def _ending(exit_code: int) -> str:
    """Say how a process ended: its exit status, or the signal's name."""
    if exit_code >= 0:
        return f"exit status {exit_code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-exit_code).name
    return f"signal {-exit_code}"


def _stop(receiver: Connection, child: _Child) -> None:
    """End a child."""
    child.process.kill()
    child.process.join()
    receiver.close()


def _lost(name: str, reason: str) -> Row:
    """Return the row of a type whose examination broke off."""
    return replace(blank_row(tiny.types()[name]), reason=reason, broken=True)

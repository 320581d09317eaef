"""Let whoever waits for a computation end it early: a check that passes make between two attention calls.

`on_layer` belongs to one pass. What makes several, or makes one somewhere deep inside, is stopped by this: the check of
this thread is called by whatever pass runs in it, and what it raises ends the pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_check: ContextVar[Callable[[], None] | None] = ContextVar("stop_check", default=None)


@contextmanager
def stoppable(check: Callable[[], None]) -> Iterator[None]:
    """Have every pass in this thread make a check between its attention calls, while the with-block runs.

    Args:
        check: what it raises ends the pass.
    """
    before = _check.set(check)
    try:
        yield
    finally:
        _check.reset(before)


def check_stop() -> None:
    """Make this thread's check, where there is one."""
    check = _check.get()
    if check is not None:
        check()

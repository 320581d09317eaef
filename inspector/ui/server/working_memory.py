"""Let what needs much memory while it is made wait until there is enough."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SMALL_PART = 32  # what needs less than this part of the memory is not counted
POLL_SECONDS = 0.1  # how often somebody who waits is told so


class WorkingMemory:
    """Memory for what is being made: all that is reserved at once stays within a budget.

    What needs less than a part in SMALL_PART of it is not counted, so that it never waits; the others come in the order
    in which they ask.
    """

    def __init__(self, budget: int) -> None:
        """Start with nothing reserved.

        Args:
            budget: bytes that may be reserved at once.
        """
        self.budget = budget
        self._reserved = 0
        self._queue: list[object] = []  # who waits, the first to ask first
        self._freed = threading.Condition()

    @contextmanager
    def reserve(self, needed: int, waiting: Callable[[], None]) -> Iterator[None]:
        """Reserve memory while the with-block runs; wait for it first where others leave too little.

        Args:
            needed: bytes; more than the budget counts as all of it, for which nothing else may be reserved.
            waiting: called again and again while waiting; what it raises ends the wait.
        """
        if needed * SMALL_PART < self.budget:
            yield
            return
        needed, me = min(needed, self.budget), object()
        with self._freed:
            self._queue.append(me)
            try:
                while self._queue[0] is not me or self._reserved + needed > self.budget:
                    waiting()
                    self._freed.wait(POLL_SECONDS)
                self._reserved += needed
            finally:
                self._queue.remove(me)
                self._freed.notify_all()
        try:
            yield
        finally:
            with self._freed:
                self._reserved -= needed
                self._freed.notify_all()

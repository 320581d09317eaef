"""Let a few things be made at once, what is soon done before what takes long, so that a slow one keeps nobody waiting.

All visitors share a few processor cores: fifteen prompts at once, each on threads of its own, take longer together
than one after the other, and all end last. Whoever asks gets a deadline, the later the longer it takes; the earliest
goes first, so that a long one is overtaken by short ones for a while and not for ever. One place is never taken by a
long one.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

PLACES = max(2, (os.cpu_count() or 2) // 2)
LONG_SECONDS = 2.0  # what takes longer leaves one place to the others
PATIENCE = 3.0  # times as long as it takes itself may anything be overtaken
PAUSE_SECONDS = 5.0  # that what runs waits at most for those who go first
POLL_SECONDS = 0.1  # how often who waits is told so, and may leave


@dataclass(eq=False)
class Turn:
    """One thing that is being made, or waits for its turn.

    Attributes:
        turns: whose turn it is.
        deadline: the earliest goes first, in seconds of the clock.
        long: whether it takes long.
        wanted: whether anybody still waits for it; what nobody waits for goes last.
        waiting: called again and again while it waits; what it raises ends the wait.
        pauses: whether it lets others go first once it runs: until one pause lasted too long. It may hold a lock of
            its model's, for which those wait that went first.
    """

    turns: Turns
    deadline: float
    long: bool
    wanted: Callable[[], bool]
    waiting: Callable[[], None]
    pauses: bool = True

    @property
    def place(self) -> tuple[bool, float]:
        """Where it stands in the queue, the smallest first."""
        return (not self.wanted(), self.deadline)

    def let_others(self) -> None:
        """Let what stands before this go first, between two steps of making it."""
        self.turns.let_others(self)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Give the turn to others while the with-block waits for something."""
        self.turns.leave(self)
        try:
            yield
        finally:
            self.turns.enter(self)


_mine: ContextVar[Turn | None] = ContextVar("turn", default=None)  # of this thread


@contextmanager
def turn_aside() -> Iterator[None]:
    """Give this thread's turn, if it has one, to others while the with-block waits for something."""
    turn = _mine.get()
    if turn is None:
        yield
    else:
        with turn.aside():
            yield


class Turns:
    """The places in which things are made, and who waits for one."""

    def __init__(self, places: int = PLACES, *, now: Callable[[], float] = time.monotonic) -> None:
        """Start with nothing being made.

        Args:
            places: how many may be made at once, at least two.
            now: the clock, in seconds.
        """
        self.places, self._now = places, now
        self._running: list[Turn] = []
        self._queue: list[Turn] = []
        self._changed = threading.Condition()

    @contextmanager
    def take(self, seconds: float, *, wanted: Callable[[], bool], waiting: Callable[[], None]) -> Iterator[Turn]:
        """Hold a turn while the with-block runs; wait for it first.

        Args:
            seconds: how long it takes, roughly: only who goes first depends on it.
            wanted: whether anybody still waits for what is made.
            waiting: called again and again while waiting; what it raises ends the wait.

        Yields:
            The turn.
        """
        turn = Turn(self, self._now() + PATIENCE * seconds, seconds > LONG_SECONDS, wanted, waiting)
        self.enter(turn)
        before = _mine.set(turn)
        try:
            yield turn
        finally:
            _mine.reset(before)
            self.leave(turn)

    def enter(self, turn: Turn, *, until: float = math.inf) -> None:
        """Wait until a turn may begin.

        Args:
            turn: one that is not running.
            until: when it begins in any case, in seconds of the clock.
        """
        with self._changed:
            self._queue.append(turn)
            try:
                while self._next() is not turn and self._now() < until:
                    self._wait(turn)
                self._running.append(turn)
            finally:
                self._queue.remove(turn)
                self._changed.notify_all()

    def leave(self, turn: Turn) -> None:
        """End a turn.

        Args:
            turn: any; one that is not running changes nothing.
        """
        with self._changed:
            if turn in self._running:
                self._running.remove(turn)
                self._changed.notify_all()

    def let_others(self, turn: Turn) -> None:
        """Let what stands before a turn go first; return when it is on again.

        Args:
            turn: one that is running.
        """
        with self._changed:
            if turn not in self._running or not turn.pauses:
                return
            self._running.remove(turn)
            first = self._next()
            if first is None or first.place >= turn.place:
                self._running.append(turn)
                return
            self._changed.notify_all()
        started = self._now()
        self.enter(turn, until=started + PAUSE_SECONDS)
        turn.pauses = self._now() - started < PAUSE_SECONDS

    def _wait(self, turn: Turn) -> None:
        """Wait a moment without holding the lock while whoever waits is told so."""
        self._changed.wait(POLL_SECONDS)
        self._changed.release()
        try:
            turn.waiting()
        finally:
            self._changed.acquire()

    def _next(self) -> Turn | None:
        """Return which of those who wait may begin now."""
        if len(self._running) >= self.places:
            return None
        full = sum(turn.long for turn in self._running) >= self.places - 1
        able = [turn for turn in self._queue if not (turn.long and full)]
        return min(able, key=lambda turn: turn.place, default=None)

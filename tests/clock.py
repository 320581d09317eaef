"""A clock that stands still until a test moves it on, and waiting for a condition instead of for seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Clock:
    """Stand in for time.monotonic and time.sleep: who sleeps is woken when the clock has been moved on so far."""

    def __init__(self) -> None:
        self._now = 0.0
        self._sleepers: list[float] = []  # when each wants to be woken
        self._moved = threading.Condition()

    def now(self) -> float:
        with self._moved:
            return self._now

    def sleep(self, seconds: float) -> None:
        with self._moved:
            until = self._now + seconds
            if seconds <= 0:
                return
            self._sleepers.append(until)
            self._moved.notify_all()
            self._moved.wait_for(lambda: self._now >= until, timeout=60)

    def advance(self, seconds: float) -> None:
        """Move the clock on, and wake those whose time has come."""
        with self._moved:
            self._now += seconds
            self._sleepers = [until for until in self._sleepers if until > self._now]
            self._moved.notify_all()

    @property
    def asleep(self) -> bool:
        """Whether somebody sleeps now."""
        with self._moved:
            return bool(self._sleepers)

    def wait_for_sleeper(self) -> None:
        """Wait until somebody sleeps, and so has done all that there was to do until now."""
        with self._moved:
            assert self._moved.wait_for(lambda: bool(self._sleepers), timeout=60), "nobody sleeps"


def until(condition: Callable[[], bool]) -> None:
    """Wait until another thread has made this true."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.001)

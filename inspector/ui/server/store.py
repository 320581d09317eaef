"""Models, traces and results by key go in; the same object comes out for everybody who asks, made once.

Several people look at one process at the same time. A store keeps what was made most recently within a
memory budget, lets the least recently used go first, and never makes one thing twice: a second person
asking for what is being made waits for the first one's. What needs much memory while it is made waits until
there is room for it. It knows nothing of Streamlit, torch or models.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from inspector.model.memory import memory_budget
from inspector.text import Progress

T = TypeVar("T")

POLL_SECONDS = 0.1  # how often somebody who waits is told how far it is
SMALL_PART = 32
GRACE_SECONDS = 2.0  # a click while waiting makes a visitor leave and come back at once


class Abandoned(Exception):
    """Raised inside a maker when nobody waits for its result any longer, so that it stops early."""


@dataclass
class _Making:
    """One thing being made: its state, and who waits for it."""

    done: threading.Event = field(default_factory=threading.Event)
    message: str = ""
    fraction: float | None = None
    waiting: int = 0
    left: float = field(default_factory=time.monotonic)  # when the last one who waited went away
    value: Any = None
    error: BaseException | None = None


class Shelf:
    """Keeps values of one kind within `budget` bytes. The newest stays even when it alone is larger:
    otherwise it would be made again at the next look."""

    def __init__(self, budget: int, on_gone: Callable[[Hashable], None] | None = None) -> None:
        """on_gone: called with each key that had to go to make room."""
        self.budget = budget
        self._on_gone = on_gone
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()  # oldest first
        self._making: dict[Hashable, _Making] = {}

    def get(
        self,
        key: Hashable,
        make: Callable[[Progress], T],
        *,
        size: Callable[[T], int],
        progress: Progress | None = None,
    ) -> T:
        """The value of `key`, made now if it is not kept. An error of `make` reaches everybody who waits
        and is not kept: the next one to ask tries again.

        `make` runs on a thread of its own, so that a visitor who leaves midway (Streamlit stops their
        script with an exception) does not take it from the others; when nobody has waited for a moment, the
        next report from inside `make` raises Abandoned. `progress` is called on the asking thread.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return cast(T, self._kept[key][0])
            making = self._making.get(key)
            if making is None:
                making = _Making()
                threading.Thread(target=self._make, args=(key, making, make, size), name="store", daemon=True).start()
                self._making[key] = making  # not before: a thread that cannot start leaves nothing to wait for
            making.waiting += 1
        try:
            while not making.done.wait(POLL_SECONDS):
                if progress is not None:
                    progress(making.message, making.fraction)
        finally:
            with self._lock:
                making.waiting -= 1
                making.left = time.monotonic()
        if making.error is not None:
            raise making.error
        return cast(T, making.value)

    def _make(self, key: Hashable, making: _Making, make: Callable[[Progress], T], size: Callable[[T], int]) -> None:
        def report(message: str, fraction: float | None = None) -> None:
            making.message, making.fraction = message, fraction
            with self._lock:
                if making.waiting or time.monotonic() - making.left < GRACE_SECONDS:
                    return
                self._making.pop(key, None)  # whoever asks from here on starts afresh
            raise Abandoned

        try:
            value = make(report)
            cost = size(value)
        except BaseException as error:  # whatever it was, those who wait must hear of it
            making.error = error
        else:
            making.value = value
            with self._lock:
                self._kept[key] = (value, cost)
                self._kept.move_to_end(key)
                gone = self._let_go()
            self._tell(gone)
        finally:
            with self._lock:
                if self._making.get(key) is making:
                    del self._making[key]
            making.done.set()

    def _tell(self, gone: list[Hashable]) -> None:
        if self._on_gone is not None:
            for key in gone:
                self._on_gone(key)

    def _let_go(self) -> list[Hashable]:
        """Take the least recently used away until the rest fits; the keys that went."""
        gone = []
        total = sum(cost for _, cost in self._kept.values())
        while total > self.budget and len(self._kept) > 1:
            key, (_, cost) = self._kept.popitem(last=False)
            total -= cost
            gone.append(key)
        return gone

    def weigh(self, key: Hashable, size: Callable[[Any], int]) -> None:
        """Take the size of `key` anew, where it is kept: what was made from it may have made it grow."""
        with self._lock:
            if key not in self._kept:
                return
            value = self._kept[key][0]
            self._kept[key] = (value, size(value))
            self._kept.move_to_end(key)
            gone = self._let_go()
        self._tell(gone)

    def drop(self, part: Hashable) -> None:
        """Let go of `part` and of every key made from it, as ("thumbnails", part) is. What is being made is left
        alone: whoever waits for it gets it."""
        with self._lock:
            for key in [key for key in self._kept if _made_from(key, part)]:
                del self._kept[key]

    def peek(self, key: Hashable) -> Any | None:
        """The value of `key` if it is kept, else None; never makes anything."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def __contains__(self, key: Hashable) -> bool:
        with self._lock:
            return key in self._kept

    def __len__(self) -> int:
        with self._lock:
            return len(self._kept)

    @property
    def making(self) -> bool:
        """Whether something is being made."""
        with self._lock:
            return bool(self._making)

    @property
    def used(self) -> int:
        """Bytes of all that is kept, as their sizes were given."""
        with self._lock:
            return sum(cost for _, cost in self._kept.values())


class Room:
    """Memory for what is being made: all that is taken at once stays within `budget` bytes. What needs less than a
    part in SMALL_PART of it is not counted, so that it never waits; the others come in the order in which they ask."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._taken = 0
        self._queue: list[object] = []  # who waits, the first to ask first
        self._freed = threading.Condition()

    @contextmanager
    def take(self, needed: int, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold so many bytes; more than the budget counts as all of it, for which the room must be empty. While
        others leave too little, `waiting` is called again and again; what it raises ends the wait."""
        if needed * SMALL_PART < self.budget:
            yield
            return
        needed, me = min(needed, self.budget), object()
        with self._freed:
            self._queue.append(me)
            try:
                while self._queue[0] is not me or self._taken + needed > self.budget:
                    waiting()
                    self._freed.wait(POLL_SECONDS)
                self._taken += needed
            finally:
                self._queue.remove(me)
                self._freed.notify_all()
        try:
            yield
        finally:
            with self._freed:
                self._taken -= needed
                self._freed.notify_all()


class Store:
    """Three shelves with a budget each, so that a long prompt's trace never pushes its own model out; and, on top of
    what they keep, as much room again for what is being made."""

    def __init__(self, budget: int | None = None) -> None:
        total = memory_budget() if budget is None else budget
        self.room = Room(total)
        self.traces = Shelf(total * 3 // 8)
        self.results = Shelf(total // 8)  # thumbnails, verification reports
        # A trace holds on to its model: one that had to go would stay in memory through its traces.
        self.models = Shelf(total // 2, on_gone=self.forget)

    @property
    def busy(self) -> bool:
        """Whether anything is being made."""
        return any(shelf.making for shelf in (self.traces, self.results, self.models))

    def forget(self, part: Hashable) -> None:
        """Let go of every trace and result that is, or was made from, `part`; models stay."""
        self.traces.drop(part)
        self.results.drop(part)


def _made_from(key: Hashable, part: Hashable) -> bool:
    return key == part or (isinstance(key, tuple) and any(_made_from(inner, part) for inner in key))

"""Store models, traces and results by key: each is made once, and everybody who asks gets the same object.

Several people look at one process at the same time. A store keeps what was made most recently within a memory budget,
lets the least recently used go first, and never makes one thing twice: a second person asking for what is being made
waits for the first one's. It knows nothing of Streamlit, torch or models.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from inspector.capture.stopping import stoppable
from inspector.model.memory import memory_budget
from inspector.text import Progress
from inspector.ui.server import garbage
from inspector.ui.server.freed_memory import give_back
from inspector.ui.server.turns import Turns, turn_aside
from inspector.ui.server.working_memory import WorkingMemory

T = TypeVar("T")

POLL_SECONDS = 0.1  # how often somebody who waits is told how far it is
SHORT_SECONDS = 0.3  # how long something takes to make, unless told
WAITING = "Waiting for other visitors' runs"
GRACE_SECONDS = 2.0  # a click while waiting makes a visitor leave and come back at once


class Abandoned(Exception):
    """Raised inside a maker when nobody waits for its result any longer, so that it stops early."""


@dataclass
class _Making:
    """One thing being made: its state, and who waits for it."""

    left: float  # when the last one who waited went away
    done: threading.Event = field(default_factory=threading.Event)
    message: str = ""
    fraction: float | None = None
    waiting: int = 0
    value: Any = None
    error: BaseException | None = None


class Cache:
    """Values of one kind, stored within a budget of bytes.

    The newest stays even when it alone is larger: otherwise it would be made again at the next look.
    """

    def __init__(
        self,
        budget: int,
        on_evict: Callable[[Hashable, Callable[[], object]], None] | None = None,
        *,
        turns: Turns | None = None,
        grace: float = GRACE_SECONDS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start empty.

        Args:
            budget: bytes that all values may take together.
            on_evict: called with each key that had to go to make room, and with a function that returns its value
                while somebody else still holds it, then None.
            turns: how many things are made at once, with other caches' together; None: as many as are asked for.
            grace: seconds for which something is still made after the last visitor who waited for it has left.
            now: the clock, in seconds.
        """
        self.budget = budget
        self._on_evict, self.grace, self._now = on_evict, grace, now
        self._turns = turns
        self._lock = threading.Lock()
        self._stored: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()  # value and bytes, oldest first
        self._making: dict[Hashable, _Making] = {}

    def get(
        self,
        key: Hashable,
        make: Callable[[Progress], T],
        *,
        size: Callable[[T], int],
        progress: Progress | None = None,
        seconds: float = SHORT_SECONDS,
    ) -> T:
        """Return the value of a key, made now if it is not stored.

        `make` runs on a thread of its own, so that a visitor who leaves midway (Streamlit stops their script with an
        exception) does not take it from the others; when nobody has waited for a moment, the next report from inside
        `make` raises Abandoned.

        Args:
            key: everything that the value depends on.
            make: makes the value, and reports its progress to what it is called with.
            size: how many bytes a value takes.
            progress: called on the asking thread with what `make` reports.
            seconds: how long it takes to make, roughly: what is soon done goes first.

        Returns:
            The stored value, the same object for everybody.

        Raises:
            BaseException: the error of `make`, for everybody who waits. It is not stored: the next one to ask tries
                again.
        """
        with self._lock:
            if key in self._stored:
                self._stored.move_to_end(key)
                return cast(T, self._stored[key][0])
            making = self._making.get(key)
            if making is None:
                making = _Making(self._now())
                args = (key, making, make, size, seconds)
                threading.Thread(target=self._make, args=args, name="store", daemon=True).start()
                self._making[key] = making  # not before: a thread that cannot start leaves nothing to wait for
            making.waiting += 1
        try:
            with turn_aside():  # what is made for something else that is being made needs a turn itself
                while not making.done.wait(POLL_SECONDS):
                    if progress is not None:
                        progress(making.message, making.fraction)
        finally:
            with self._lock:
                making.waiting -= 1
                making.left = self._now()
        if making.error is not None:
            raise making.error
        return cast(T, making.value)

    def _make(
        self,
        key: Hashable,
        making: _Making,
        make: Callable[[Progress], T],
        size: Callable[[T], int],
        seconds: float,
    ) -> None:
        """Make a value on this thread, store it, and wake those who wait."""

        def stop_if_left() -> None:
            with self._lock:
                if making.waiting or self._now() - making.left < self.grace:
                    return
                self._making.pop(key, None)  # whoever asks from here on starts afresh
            raise Abandoned

        def wait_for_turn() -> None:
            making.message, making.fraction = WAITING, None
            stop_if_left()

        try:
            if self._turns is None:
                value = self._make_now(making, make, stop_if_left, lambda: None)
            else:
                with self._turns.take(seconds, wanted=lambda: making.waiting > 0, waiting=wait_for_turn) as turn:
                    value = self._make_now(making, make, stop_if_left, turn.let_others)
            cost = size(value)
        except BaseException as error:  # whatever it was, those who wait must hear of it
            making.error = error
        else:
            making.value = value
            with self._lock:
                self._stored[key] = (value, cost)
                self._stored.move_to_end(key)
                evicted = self._evict()
            self._tell(evicted)
        finally:
            with self._lock:
                if self._making.get(key) is making:
                    del self._making[key]
            making.done.set()

    @staticmethod
    def _make_now(
        making: _Making,
        make: Callable[[Progress], T],
        stop_if_left: Callable[[], None],
        let_others: Callable[[], None],
    ) -> T:
        """Make a value; at each report and between attention calls it may be stopped, and lets others go first."""

        def check() -> None:
            stop_if_left()
            let_others()

        def report(message: str, fraction: float | None = None) -> None:
            making.message, making.fraction = message, fraction
            check()
            making.message, making.fraction = message, fraction  # it may have waited, and said so

        with stoppable(check):
            return make(report)

    def _tell(self, evicted: list[tuple[Hashable, Callable[[], object]]]) -> None:
        """Call `on_evict` for each of these keys."""
        if self._on_evict is not None:
            for key, held in evicted:
                self._on_evict(key, held)

    def _evict(self) -> list[tuple[Hashable, Callable[[], object]]]:
        """Let the least recently used go until the rest fits; the keys that went, their values no longer held here."""
        evicted = []
        total = sum(cost for _, cost in self._stored.values())
        while total > self.budget and len(self._stored) > 1:
            key, (value, cost) = self._stored.popitem(last=False)
            total -= cost
            evicted.append((key, _weak(value)))
        return evicted

    def measure_again(self, key: Hashable, size: Callable[[Any], int]) -> None:
        """Take the size of a value anew, where it is stored: what was made from it may have made it grow.

        Args:
            key: the value's key.
            size: how many bytes it takes now.
        """
        with self._lock:
            if key not in self._stored:
                return
            value = self._stored[key][0]
            self._stored[key] = (value, size(value))
            self._stored.move_to_end(key)
            evicted = self._evict()
        self._tell(evicted)

    def drop(self, part: Hashable) -> None:
        """Let go of a key and of every key made from it, as ("thumbnails", part) is.

        What is being made is left alone: whoever waits for it gets it.

        Args:
            part: the key.
        """
        with self._lock:
            for key in [key for key in self._stored if _made_from(key, part)]:
                del self._stored[key]

    def peek(self, key: Hashable) -> Any | None:
        """Return the value of a key if it is stored, else None; never make anything.

        Args:
            key: the value's key.

        Returns:
            The value, which counts as used now.
        """
        with self._lock:
            if key not in self._stored:
                return None
            self._stored.move_to_end(key)
            return self._stored[key][0]

    def __contains__(self, key: Hashable) -> bool:
        with self._lock:
            return key in self._stored

    def __len__(self) -> int:
        with self._lock:
            return len(self._stored)

    @property
    def making(self) -> bool:
        """Whether something is being made."""
        with self._lock:
            return bool(self._making)

    @property
    def used(self) -> int:
        """Bytes of all that is stored, by their sizes when they were last measured."""
        with self._lock:
            return sum(cost for _, cost in self._stored.values())


class Store:
    """Three caches with a budget each, so that a long prompt's trace never pushes its own model out.

    On top of what they keep there may be as much again for what is being made.
    """

    def __init__(self, budget: int | None = None) -> None:
        """Start empty.

        Args:
            budget: bytes of all three together; None: what this machine and its settings allow.
        """
        total = memory_budget() if budget is None else budget
        self.working_memory = WorkingMemory(total)
        self.turns = Turns()
        self.traces = Cache(total * 3 // 8, turns=self.turns)
        self.results = Cache(total // 8, turns=self.turns)  # thumbnails, verification reports
        # A trace refers to its model: one that had to go would stay in memory through its traces.
        self.models = Cache(total // 2, on_evict=self._let_go, turns=self.turns)

    @property
    def busy(self) -> bool:
        """Whether anything is being made."""
        return any(cache.making for cache in (self.traces, self.results, self.models))

    def _let_go(self, model: Hashable, held: Callable[[], object]) -> None:
        """Let go of a model with all that was made with it, and of the memory they took."""
        self.forget(model)
        garbage.search_until(lambda: held() is None or model in self.models)
        give_back()

    def forget(self, part: Hashable) -> None:
        """Let go of every trace and result that is, or was made from, a key; models stay.

        Args:
            part: the key.
        """
        self.traces.drop(part)
        self.results.drop(part)


def _weak(value: object) -> Callable[[], object]:
    """Return a function that returns the value while somebody holds it; of a number or a text, always None."""
    try:
        return weakref.ref(value)
    except TypeError:
        return lambda: None


def _made_from(key: Hashable, part: Hashable) -> bool:
    """Whether `part` is this key, or stands somewhere in it."""
    return key == part or (isinstance(key, tuple) and any(_made_from(inner, part) for inner in key))

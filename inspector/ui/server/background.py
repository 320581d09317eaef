"""Do work in the background, in short steps, while nobody waits for anything else.

One thread for all visitors, which lives while there is work. It pauses while anything is being made that somebody
waits for, and rests as long as each step took. It knows nothing of Streamlit: `pictures.py` says what the steps are.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Hashable, Iterator

PATIENCE_SECONDS = 10.0  # work that was not asked for again within this is dropped, with all that it refers to
WAIT_SECONDS = 0.1  # between two looks whether somebody still waits for something else


class Background:
    """The work of this process that nobody waits for, by key."""

    def __init__(
        self,
        busy: Callable[[], bool],
        *,
        patience: float = PATIENCE_SECONDS,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        """Start with no work.

        Args:
            busy: whether somebody waits for something else; it must not fail.
            patience: seconds after which work that was not asked for again is dropped.
            now: the clock, in seconds.
            sleep: waits so many seconds of that clock; None: real seconds, or until `close`.
        """
        self._busy, self._patience, self._now = busy, patience, now
        self._lock = threading.Lock()
        self._work: dict[Hashable, Iterator[object]] = {}
        self._asked: dict[Hashable, float] = {}
        self._thread: threading.Thread | None = None  # while there is work
        self._closed = threading.Event()
        self._sleep = self._closed.wait if sleep is None else sleep
        atexit.register(self.close)  # a thread inside torch when Python ends would abort the process

    def run(self, key: Hashable, steps: Callable[[], Iterator[object]]) -> None:
        """Run these steps, or go on with them; to be called again every few seconds.

        Args:
            key: names the work.
            steps: gives an iterator that does one step each time. An error in it ends this work; it begins anew when
                it is asked for again.
        """
        with self._lock:
            if key not in self._work:
                self._work[key] = steps()
            self._asked[key] = self._now()
            if self._thread is None:
                thread = threading.Thread(target=self._go_on, name="background", daemon=True)
                thread.start()
                self._thread = thread

    @property
    def running(self) -> bool:
        """Whether there is work, and a thread for it."""
        with self._lock:
            return self._thread is not None

    def close(self) -> None:
        """Stop; waits for the step that is being done."""
        self._closed.set()
        thread = self._thread
        if thread is not None:
            thread.join(5)

    def _go_on(self) -> None:
        """Do step after step until no work is left."""
        while (chosen := self._next()) is not None:
            key, work = chosen
            if self._busy():
                del work, chosen
                self._sleep(WAIT_SECONDS)
                continue
            start = self._now()
            try:
                next(work)
            except Exception:  # done (StopIteration), or whatever went wrong: who looks at it is told there
                self._drop(key)
            del work, chosen  # dropped work takes along all that it refers to
            self._sleep(self._now() - start)

    def _next(self) -> tuple[Hashable, Iterator[object]] | None:
        """Return what was asked for last; None, and the thread ends, where nothing is left."""
        with self._lock:
            late = self._now() - self._patience
            for key in [key for key, asked in self._asked.items() if asked < late]:
                del self._work[key], self._asked[key]
            if not self._work or self._closed.is_set():
                self._thread = None
                return None
            key = max(self._asked, key=self._asked.__getitem__)
            return key, self._work[key]

    def _drop(self, key: Hashable) -> None:
        """Forget this work."""
        with self._lock:
            self._work.pop(key, None)
            self._asked.pop(key, None)

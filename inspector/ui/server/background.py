"""Work that nobody waits for goes in, cut into short steps; it is done behind what people do, while somebody wants it.

One thread for all visitors, which lives while there is work. It stands back while anything is being made that somebody
waits for, and rests as long as each step took. It knows nothing of Streamlit: `cached.py` says what the steps are.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Hashable, Iterator

PATIENCE_SECONDS = 10.0  # work that was not asked for again within this is dropped, with all that it holds on to
WAIT_SECONDS = 0.1


class Behind:
    """The work by key. `busy()`, which must not fail: whether somebody waits for something else."""

    def __init__(self, busy: Callable[[], bool], *, patience: float = PATIENCE_SECONDS) -> None:
        self._busy, self._patience = busy, patience
        self._lock = threading.Lock()
        self._work: dict[Hashable, Iterator[object]] = {}
        self._asked: dict[Hashable, float] = {}
        self._thread: threading.Thread | None = None  # while there is work
        self._over = threading.Event()
        atexit.register(self.close)  # a thread inside torch when Python ends would abort the process

    def want(self, key: Hashable, steps: Callable[[], Iterator[object]]) -> None:
        """Have this done, or go on being done: to be called again every few seconds. `steps()` gives an iterator that
        does one step each time; an error in it ends this work, and it begins anew when asked for again."""
        with self._lock:
            if key not in self._work:
                self._work[key] = steps()
            self._asked[key] = time.monotonic()
            if self._thread is None:
                thread = threading.Thread(target=self._go_on, name="behind", daemon=True)
                thread.start()
                self._thread = thread

    def close(self) -> None:
        """Do no more; waits for the step that is being done."""
        self._over.set()
        thread = self._thread
        if thread is not None:
            thread.join(5)

    def _go_on(self) -> None:
        while (chosen := self._next()) is not None:
            key, work = chosen
            if self._busy():
                self._over.wait(WAIT_SECONDS)
                continue
            start = time.monotonic()
            try:
                next(work)
            except Exception:  # done (StopIteration), or whatever went wrong: who looks at it is told there
                self._drop(key)
            del work, chosen  # dropped work takes along all that it holds
            self._over.wait(time.monotonic() - start)

    def _next(self) -> tuple[Hashable, Iterator[object]] | None:
        """What was asked for last; None, and the thread ends, where nothing is left."""
        with self._lock:
            late = time.monotonic() - self._patience
            for key in [key for key, asked in self._asked.items() if asked < late]:
                del self._work[key], self._asked[key]
            if not self._work or self._over.is_set():
                self._thread = None
                return None
            key = max(self._asked, key=self._asked.__getitem__)
            return key, self._work[key]

    def _drop(self, key: Hashable) -> None:
        with self._lock:
            self._work.pop(key, None)
            self._asked.pop(key, None)

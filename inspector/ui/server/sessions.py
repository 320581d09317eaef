"""Which visitor looks at which trace goes in; a trace that nobody looks at any longer is let go of.

The store keeps what was used last within its budget, for everybody. This file knows who asked for what, so that a
closed tab frees what it alone held (models stay: the next visitor wants them). It knows nothing of Streamlit:
`cached.py` names visitors by their session and says whether one is connected. That is looked up, again and again: a
tab that was connected anew and then stands still says nothing by itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable

GRACE_SECONDS = 15.0  # a lost connection that is back within this finds everything as it was
EVERY_SECONDS = 1.0


class Holds:
    """All visitors' holds. `forget(key)` is called for each key whose last visitor has gone; `connected(visitor)`:
    whether their page is open."""

    def __init__(
        self,
        forget: Callable[[Hashable], None],
        connected: Callable[[str], bool],
        *,
        grace: float = GRACE_SECONDS,
        every: float = EVERY_SECONDS,
    ) -> None:
        self._forget, self._connected, self._grace, self._every = forget, connected, grace, every
        self._lock = threading.Lock()
        self._keys: dict[str, set[Hashable]] = {}  # by visitor
        self._seen: dict[str, float] = {}  # when each was last known to be connected
        self._watching = False

    def hold(self, visitor: str, key: Hashable) -> None:
        """Say that this visitor wants `key`, before asking the store for it."""
        with self._lock:
            self._keys.setdefault(visitor, set()).add(key)
            self._seen[visitor] = time.monotonic()
            if not self._watching:
                threading.Thread(target=self._watch, name="holds", daemon=True).start()
                self._watching = True

    def _watch(self) -> None:
        try:
            while self._look():
                time.sleep(self._every)
        except BaseException:
            with self._lock:
                self._watching = False  # the next to hold anything starts it anew
            raise

    def _look(self) -> bool:
        """Take the holds of those who have been away for longer than the grace; False where nobody is left."""
        # Under the lock all along: who asks for a key meanwhile holds it either before (then it stays) or after it has
        # been forgotten (then it is made anew).
        with self._lock:
            now = time.monotonic()
            for visitor in list(self._keys):
                if self._connected(visitor):
                    self._seen[visitor] = now
                elif now - self._seen[visitor] >= self._grace:
                    self._leave(visitor)
            self._watching = bool(self._keys)
            return self._watching

    def _leave(self, visitor: str) -> None:
        del self._seen[visitor]
        for key in self._keys.pop(visitor):
            if not any(key in others for others in self._keys.values()):
                self._forget(key)

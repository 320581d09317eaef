"""Which visitor looks at which trace goes in; a trace that nobody looks at any longer is let go of.

The store keeps what was used last within its budget, for everybody. This file knows who asked for what, so that a
closed tab frees what it alone held (models stay: the next visitor wants them). It knows nothing of Streamlit:
`cached.py` keeps one Visitor for each session, and Streamlit tells it when the session's connection ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable

GRACE_SECONDS = 15.0  # a lost connection that is back within this finds everything as it was


class Holds:
    """All visitors' holds. `forget(key)` is called for each key whose last visitor has gone."""

    def __init__(self, forget: Callable[[Hashable], None], *, grace: float = GRACE_SECONDS) -> None:
        self._forget, self._grace = forget, grace
        self._lock = threading.Lock()
        self._by_key: dict[Hashable, set[Visitor]] = {}

    def enter(self) -> Visitor:
        """A new visitor, who holds nothing yet."""
        return Visitor(self)

    def add(self, key: Hashable, visitor: Visitor) -> None:
        with self._lock:
            if not visitor.gone:
                self._by_key.setdefault(key, set()).add(visitor)

    def leave_later(self, visitor: Visitor) -> None:
        """Take the visitor's holds away once the grace is over."""
        timer = threading.Timer(self._grace, self._leave, args=(visitor,))
        timer.daemon = True
        timer.start()

    def _leave(self, visitor: Visitor) -> None:
        # Under the lock all along: who asks for a key meanwhile holds it either before (then it stays) or after it has
        # been forgotten (then it is made anew).
        with self._lock:
            visitor.gone = True
            for key in [key for key, visitors in self._by_key.items() if visitor in visitors]:
                self._by_key[key].discard(visitor)
                if not self._by_key[key]:
                    del self._by_key[key]
                    self._forget(key)


class Visitor:
    """One browser tab's hold on what it has asked for."""

    def __init__(self, holds: Holds) -> None:
        self._holds = holds
        self.gone = False

    def hold(self, key: Hashable) -> None:
        """Say that this visitor wants `key`, before asking the store for it."""
        self._holds.add(key, self)

    def leave(self) -> None:
        """The tab was closed, or its connection was lost."""
        self._holds.leave_later(self)

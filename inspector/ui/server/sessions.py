"""Remember which session uses which stored key, and let go of what no open page uses any longer.

The store keeps what was used last within its budget, for everybody. This file knows who asked for what, so that a
closed tab frees what it alone used (models stay: the next visitor wants them). It knows nothing of Streamlit:
`shared.py` names the sessions and says whether one is connected. That is looked up again and again: a tab that
reconnected and then stands still says nothing by itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable

GRACE_SECONDS = 15.0  # a lost connection that is back within this finds everything as it was
EVERY_SECONDS = 1.0


class Sessions:
    """The keys that each session uses."""

    def __init__(
        self,
        forget: Callable[[Hashable], None],
        connected: Callable[[str], bool],
        *,
        freed: Callable[[], object] = lambda: None,
        grace: float = GRACE_SECONDS,
        every: float = EVERY_SECONDS,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Start with no sessions.

        Args:
            forget: called with each key whose last session has gone.
            connected: whether a session's page is open.
            freed: called after a session's keys were forgotten, while nobody waits for it.
            grace: seconds that a session may be away without losing anything.
            every: seconds between two looks at who is connected.
            now: the clock, in seconds.
            sleep: waits so many seconds of that clock.
        """
        self._forget, self._connected, self._grace, self._every = forget, connected, grace, every
        self._now, self._sleep, self._freed = now, sleep, freed
        self._ended = False  # whether the last look ended a session
        self._lock = threading.Lock()
        self._keys: dict[str, set[Hashable]] = {}  # by session
        self._seen: dict[str, float] = {}  # when each was last known to be connected
        self._watching = False

    def use(self, session: str, key: Hashable) -> None:
        """Say that a session uses a key, before asking the store for it.

        Args:
            session: the session's name.
            key: the key in the store.
        """
        with self._lock:
            self._keys.setdefault(session, set()).add(key)
            self._seen[session] = self._now()
            if not self._watching:
                threading.Thread(target=self._watch, name="sessions", daemon=True).start()
                self._watching = True

    @property
    def watching(self) -> bool:
        """Whether anybody is here, so that a thread looks who is connected."""
        with self._lock:
            return self._watching

    def _watch(self) -> None:
        """Look again and again until nobody is left."""
        try:
            here = True
            while here:
                here = self._look()
                if self._ended:
                    self._freed()
                if here:
                    self._sleep(self._every)
        except BaseException:
            with self._lock:
                self._watching = False  # the next to use anything starts it anew
            raise

    def _look(self) -> bool:
        """Forget the keys of sessions that were away for longer than the grace; False where no session is left."""
        # Under the lock all along: who asks for a key meanwhile uses it either before (then it stays) or after it has
        # been forgotten (then it is made anew).
        with self._lock:
            now, self._ended = self._now(), False
            for session in list(self._keys):
                if self._connected(session):
                    self._seen[session] = now
                elif now - self._seen[session] >= self._grace:
                    self._end(session)
            self._watching = bool(self._keys)
            return self._watching

    def _end(self, session: str) -> None:
        """Forget what this session alone used."""
        self._ended = True
        del self._seen[session]
        for key in self._keys.pop(session):
            if not any(key in others for others in self._keys.values()):
                self._forget(key)

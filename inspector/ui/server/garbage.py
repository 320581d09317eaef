"""Keep Python's search for unused objects short: a loaded model has hundreds of thousands that are in use.

Streamlit searches all of them after each run of a script, a third of a second with a model loaded; launch.py turns that
off. Python itself still searches what was made since, now and then; here what leaves the store is searched for.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable

# Until the next search for what somebody still holds; each wait is twice as long as the last.
FIRST_SECONDS, MOST_SECONDS = 1.0, 60.0

_lock = threading.Lock()  # a search that begins during another one ends at once, and has found nothing


def leave_out() -> None:
    """Leave what there is now, a model just loaded, out of later searches."""
    with _lock:
        gc.collect()
        gc.freeze()


def search_all() -> None:
    """Search everything once, also what was left out."""
    with _lock:
        gc.unfreeze()
        gc.collect()
        gc.freeze()


def search_until(gone: Callable[[], bool], *, sleep: Callable[[float], object] = time.sleep) -> None:
    """Search everything after a model has been let go of, and again as long as somebody holds it.

    Its objects may refer to each other in circles, which a search alone finds. A visitor's script that runs now may
    hold the model until it ends: left out of later searches, such circles would stay in memory for ever.

    Args:
        gone: whether it has left memory, or is in use again.
        sleep: waits so many seconds.
    """
    search_all()
    if not gone():
        threading.Thread(target=_go_on, args=(gone, sleep), name="garbage", daemon=True).start()


def _go_on(gone: Callable[[], bool], sleep: Callable[[float], object]) -> None:
    """Search again and again until it has gone."""
    seconds = FIRST_SECONDS
    while not gone():
        sleep(seconds)
        search_all()
        seconds = min(2 * seconds, MOST_SECONDS)

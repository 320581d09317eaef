"""Keep Python's search for unused objects short: a loaded model has hundreds of thousands that are in use.

Streamlit searches all of them after each run of a script, a third of a second with a model loaded; launch.py turns that
off. Python itself still searches what was made since, now and then; here what leaves the store is searched for, once.
"""

from __future__ import annotations

import gc


def leave_out() -> None:
    """Leave what there is now, a model just loaded, out of later searches."""
    gc.collect()
    gc.freeze()


def search_all() -> None:
    """Search everything once, after a model has been let go of: its objects may refer to each other in circles."""
    gc.unfreeze()
    leave_out()

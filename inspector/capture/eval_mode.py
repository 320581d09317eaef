"""Run a model in eval mode and leave it in the mode in which it was."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from torch import nn

_lock = threading.Lock()
_runs: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()  # of modules that were in training mode, and are not now


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module and all within it in eval mode while this lasts; each goes back to training after its last run.

    Runs may overlap, in one thread (a module within its model) or in several.
    """
    with _lock:
        changed = [part for part in module.modules() if part.training or part in _runs]
        for part in changed:
            part.training = False
            _runs[part] = _runs.get(part, 0) + 1
    try:
        yield
    finally:
        with _lock:
            for part in changed:
                _runs[part] -= 1
                if _runs[part] == 0:
                    del _runs[part]
                    part.training = True

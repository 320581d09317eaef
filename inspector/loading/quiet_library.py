"""Keep the library's progress bars and log lines away while its functions run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Taken around calls of the library, since `quiet` and the GGUF reader change its modules for the whole process.
library_lock = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the library's progress bars and log lines for a while, and put its settings back afterwards."""
    from transformers.utils import logging as library_logging

    bars, level = library_logging.is_progress_bar_enabled(), library_logging.get_verbosity()
    library_logging.set_verbosity_error()
    if bars:
        library_logging.disable_progress_bar()
    try:
        yield
    finally:
        library_logging.set_verbosity(level)
        if bars:
            library_logging.enable_progress_bar()

"""Wrap the library's one look-up of attention functions, once per process: the seam.

Nearly every decoder in transformers 5 asks `AttentionInterface.get_interface(name, its own eager function)` for the
function that attends, once per attention layer. Without a listener in this thread's context the wrapped method returns
what it always did, so the model, its config and everybody else's calls stay untouched.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from transformers.modeling_utils import AttentionInterface

from inspector.capture.listener import Listener, active

L = TypeVar("L", bound=Listener)

_install_lock = threading.Lock()


@contextmanager
def recording(listener: L) -> Iterator[L]:
    """Let attention calls go through `listener` within this context, and in this thread alone."""
    install_seam()
    token = active.set(listener)
    try:
        yield listener
    finally:
        active.reset(token)


def install_seam() -> None:
    """Wrap the library's one look-up of attention functions; once per process, safe to call again."""
    with _install_lock:
        original = AttentionInterface.get_interface
        if hasattr(original, "seam_of"):
            return

        @functools.wraps(original)
        def get_interface(self: Any, attn_implementation: str, default: Callable[..., Any]) -> Callable[..., Any]:
            configured = original(self, attn_implementation, default)
            listener = active.get()
            return configured if listener is None else functools.partial(listener.attend, configured, default)

        get_interface.seam_of = original  # type: ignore[attr-defined]
        AttentionInterface.get_interface = get_interface

"""Run a model in eval mode and by its own code, not a compiled copy, and leave it as it was."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from weakref import WeakKeyDictionary

import torch
from torch import nn

_lock = threading.Lock()
_runs: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()  # of modules that were in training mode, and are not now
_own_code = ExitStack()  # closed by the last run by a model's own code: gives back what was set before the first
_own_code_runs = 0


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module and all within it in eval mode while this lasts; each goes back to training after its last run.

    Runs may overlap, in one thread (a module within its model) or in several. Where a `forward` was compiled in place,
    its own code runs instead: compiled code calls neither hooks nor the attention interface again.
    """
    with _lock:
        changed = [part for part in module.modules() if part.training or part in _runs]
        for part in changed:
            part.training = False
            _runs[part] = _runs.get(part, 0) + 1
    try:
        with _uncompiled() if any(map(forward_compiled, module.modules())) else nullcontext():
            yield
    finally:
        with _lock:
            for part in changed:
                _runs[part] -= 1
                if _runs[part] == 0:
                    del _runs[part]
                    part.training = True


def forward_compiled(part: nn.Module) -> bool:
    """Return whether somebody wrote `part.forward = torch.compile(part.forward)`.

    Args:
        part: any module.

    Returns:
        Whether its forward is compiled code of its own, and not its class's.
    """
    return hasattr(vars(part).get("forward"), "_torchdynamo_orig_callable")


@contextmanager
def _uncompiled() -> Iterator[None]:
    """Let what was compiled run as it was written while this lasts; the last run gives the caller's setting back."""
    global _own_code_runs
    with _lock:
        if _own_code_runs == 0:
            _own_code.enter_context(torch.compiler.set_stance("force_eager"))
        _own_code_runs += 1
    try:
        yield
    finally:
        with _lock:
            _own_code_runs -= 1
            if _own_code_runs == 0:
                _own_code.close()

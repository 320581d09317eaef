"""How much memory the store and a run may use: what the environment says, or half of what there is."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

import psutil

from inspector.errors import InspectorError

GB = 10**9
MEMORY_VARIABLE = "ATTENTION_INSPECTOR_MEMORY_GB"
# Where Linux says how much memory a container may take: control groups of version 2, and of version 1.
CONTAINER = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_budget() -> int:
    """Return the bytes that the store may hold, and that runs may take at their peak, which come on top.

    Returns:
        What the environment says, or half of the memory there is.

    Raises:
        InspectorError: the environment names no amount.
    """
    asked = os.environ.get(MEMORY_VARIABLE, "").strip()
    return memory_bytes(asked, MEMORY_VARIABLE) if asked else machine_memory() // 2


def set_memory_budget(gigabytes: float | str, name: str = "The memory limit") -> None:
    """Let this process use so much.

    Args:
        gigabytes: the amount.
        name: what a sentence of refusal calls the number.
    """
    memory_bytes(gigabytes, name)
    os.environ[MEMORY_VARIABLE] = str(gigabytes)


def memory_bytes(gigabytes: float | str, name: str) -> int:
    """Return an amount of memory in bytes.

    Args:
        gigabytes: the amount.
        name: what a sentence of refusal calls the number.

    Returns:
        Bytes, at least one.

    Raises:
        InspectorError: this is no number above 0.
    """
    try:
        asked = float(gigabytes) * GB
    except ValueError:
        asked = math.nan
    if not 1 <= asked < math.inf:
        raise InspectorError(f"{name} is '{gigabytes}': give a number of gigabytes above 0, such as 8.")
    return int(asked)


def machine_memory() -> int:
    """Return the bytes of the machine's memory, or of the container's where it is given less."""
    found = [int(psutil.virtual_memory().total)]
    for path in CONTAINER:
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            found.append(int(Path(path).read_text()))
    return min(found)

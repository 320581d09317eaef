"""What the environment says of memory goes in; how many bytes may be kept, and taken by a run, come out."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

from inspector.errors import InspectorError

GB = 10**9
MEMORY_VARIABLE = "ATTENTION_INSPECTOR_MEMORY_GB"
# Where Linux says how much memory a container may take: control groups of version 2, and of version 1.
CONTAINER = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_budget() -> int:
    """Bytes the store may keep, and bytes that runs may take at their peak, which come on top: what the environment
    says, or half of the memory there is. Raises InspectorError where the environment says no amount."""
    asked = os.environ.get(MEMORY_VARIABLE, "").strip()
    return memory_bytes(asked, MEMORY_VARIABLE) if asked else _memory() // 2


def set_memory_budget(gigabytes: float | str, name: str = "The memory limit") -> None:
    """Let this process have so much. `name`: what a sentence of refusal calls the number."""
    memory_bytes(gigabytes, name)
    os.environ[MEMORY_VARIABLE] = str(gigabytes)


def memory_bytes(gigabytes: float | str, name: str) -> int:
    """The number as bytes; raises InspectorError, which says `name`, where it is none above 0."""
    try:
        asked = float(gigabytes) * GB
    except ValueError:
        asked = math.nan
    if not 1 <= asked < math.inf:
        raise InspectorError(f"{name} is '{gigabytes}': give a number of gigabytes above 0, such as 8.")
    return int(asked)


def _memory() -> int:
    """Bytes of the machine's memory, or of the container's where it is given less."""
    try:
        found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        found = [8 * GB]
    for path in CONTAINER:
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            found.append(int(Path(path).read_text()))
    return min(found)

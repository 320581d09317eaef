"""Run a measurement in a fresh process of its own, and read the process's peak memory.

    measured("benchmarks.forward:peak", way="eager", n=512)

A result that is wrong (an AssertionError) ends everything: nothing is timed that is not right. Any other failure, such
as the system ending a process that took too much memory, comes back as {"failed": why}, for the table to say.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
WRONG = 3  # the exit code of a process whose results were not equal
# The hub is not asked for anything, by nobody; TransformerLens brings a tracker along, which stays off.
OFFLINE = {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled"}


def measured(function: str, *, patience: float = 600, **arguments: Any) -> dict[str, Any]:
    """Call a function in a process of its own.

    Args:
        function: "module:function".
        patience: seconds it may take.
        **arguments: what it is called with, as JSON.

    Returns:
        What it returned, or {"failed": why}.

    Raises:
        SystemExit: its results were not equal.
    """
    said = " ".join(f"{name}={value}" for name, value in arguments.items())
    print(f"measuring {function.removeprefix('benchmarks.')} {said}", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "benchmarks.process", function, json.dumps(arguments)]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | OFFLINE, capture_output=True, text=True, check=False, timeout=patience
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"not finished after {patience:.0f} s"}
    if done.returncode == WRONG:
        raise SystemExit(f"Results differ, so nothing is timed. {done.stderr.strip().splitlines()[-1]}")
    if done.returncode < 0:
        return {"failed": f"ended by the system (signal {-done.returncode})"}
    if done.returncode:
        return {"failed": (done.stderr.strip() or "no reason given").splitlines()[-1]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])  # libraries may have printed before
    return found


def give_back() -> None:
    """Have the system take back what was freed, and count the largest resident size anew, where it can.

    Without this some 30 MB that the C library keeps at hand would serve a short pass, which would seem to cost nothing.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc on Linux has it
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):  # 5: the largest resident size becomes the present one
        Path("/proc/self/clear_refs").write_text("5")


def resident() -> int:
    """Return the largest resident size of this process so far, in bytes."""
    with contextlib.suppress(OSError):  # unlike getrusage's, this one can begin anew
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def available() -> int:
    """Return the bytes of memory that a new process could have now; without /proc, half of what there is."""
    with contextlib.suppress(OSError):
        return 1024 * int(Path("/proc/meminfo").read_text().partition("MemAvailable:")[2].split()[0])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def main() -> None:
    """Call the function that the command line names, and print what it returns as JSON."""
    name, arguments = sys.argv[1], json.loads(sys.argv[2])
    module, function = name.split(":")
    try:
        found = getattr(importlib.import_module(module), function)(**arguments)
    except AssertionError as wrong:
        print(str(wrong) or repr(wrong), file=sys.stderr)
        sys.exit(WRONG)
    print(json.dumps(found))


if __name__ == "__main__":
    main()

"""What a server's process takes, from outside: memory, threads."""

from __future__ import annotations

import psutil

MEGABYTE = 2**20


def process_of(address: str) -> psutil.Process:
    """The process of the server at this address."""
    flag = f"--server.port={address.rsplit(':', 1)[1]}"
    return next(each for each in psutil.process_iter(["cmdline"]) if flag in (each.info["cmdline"] or []))


def resident(address: str) -> int:
    """Resident bytes of the server at this address."""
    return int(process_of(address).memory_info().rss)

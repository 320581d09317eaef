"""What was let go of leaves the process: the C library keeps it for itself else."""

from __future__ import annotations

import sys

import psutil
import pytest
from clock import Clock, until
from server_process import MEGABYTE

from inspector.ui.server import shared
from inspector.ui.server.freed_memory import give_back
from inspector.ui.server.sessions import GRACE_SECONDS, Sessions

BLOCK, BLOCKS = 50_000, 4000  # bytes, below what the C library asks the system for one by one


def resident() -> int:
    return int(psutil.Process().memory_info().rss)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' C libraries have no malloc_trim")
def test_freed_memory_goes_back_to_the_system():
    give_back()
    before = resident()
    blocks = [bytes(b"x" * BLOCK) for _ in range(BLOCKS)]
    some = blocks[::100]  # what is still used stands between what is not
    del blocks
    freed = resident()
    give_back()
    after = resident()
    print(f"{before / MEGABYTE:.0f}, {freed / MEGABYTE:.0f}, {after / MEGABYTE:.0f} MB")
    assert freed - before > 0.8 * BLOCK * BLOCKS  # a negative control: it had stayed
    assert after - before < 0.2 * BLOCK * BLOCKS
    assert len(some) == BLOCKS // 100


def test_memory_is_given_back_after_a_visitor_has_left_and_not_before():
    clock, said, here = Clock(), [], {"a", "b"}
    sessions = Sessions(
        lambda key: said.append(key), lambda name: name in here, freed=lambda: said.append("freed"), now=clock.now,
        sleep=clock.sleep,
    )  # fmt: skip
    sessions.use("a", "trace of a")
    sessions.use("b", "trace of b")
    clock.advance(GRACE_SECONDS + 2)
    assert said == []
    here.clear()
    clock.advance(GRACE_SECONDS + 2)
    until(lambda: not sessions.watching)
    assert sorted(said[:2]) == ["trace of a", "trace of b"]
    assert said[2:] == ["freed"]


def test_this_servers_sessions_give_it_back():
    assert shared.shared_sessions()._freed is give_back

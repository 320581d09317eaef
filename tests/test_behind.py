"""Heads of a long prompt, drawn behind what people do: in steps, standing back, dropped when nobody looks; exact."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import tiny

from inspector import metrics
from inspector.ui import cached, state
from inspector.ui.behind import Behind


class Steps:
    """Work of `count` steps, which counts what was done and may fail."""

    def __init__(self, count: int, fails_at: int = -1) -> None:
        self.count, self.fails_at, self.done = count, fails_at, 0
        self.over = threading.Event()

    def __call__(self) -> Iterator[None]:
        try:
            while self.done < self.count:
                if self.done == self.fails_at:
                    raise ValueError("a step went wrong")
                self.done += 1
                yield
        finally:
            self.over.set()


def until(condition) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.01)


def test_work_is_done_step_by_step_and_the_thread_ends():
    work, behind = Steps(5), Behind(lambda: False)
    behind.want("a", work)
    assert work.over.wait(20)
    assert work.done == 5
    until(lambda: "a" not in behind)
    until(lambda: not any(thread.name == "behind" for thread in threading.enumerate()))
    again = Steps(2)
    behind.want("a", again)  # as after all is done: it begins anew
    assert again.over.wait(20)


def test_it_stands_back_while_somebody_waits():
    busy = threading.Event()
    busy.set()
    work, behind = Steps(3), Behind(busy.is_set)
    behind.want("a", work)
    time.sleep(0.3)
    assert work.done == 0
    busy.clear()
    assert work.over.wait(20)


def test_what_nobody_asks_for_again_is_dropped_with_what_it_holds():
    class Held:
        pass

    held = Held()
    gone = weakref.ref(held)
    work = Steps(10**9)

    def steps(kept=held) -> Iterator[None]:
        for _ in work():
            assert kept
            yield

    behind = Behind(lambda: False, patience=0.3)
    behind.want("a", steps)
    del held, steps
    until(lambda: work.done > 10)
    assert work.over.wait(20)
    until(lambda: gone() is None)


def test_asking_again_keeps_it_and_the_last_asked_for_comes_first():
    one, other = Steps(10**9), Steps(10**9)
    behind = Behind(lambda: False, patience=0.5)
    for _ in range(10):
        behind.want("a", one)
        time.sleep(0.1)
    assert not one.over.is_set()
    behind.want("b", other)
    until(lambda: other.done > 3)
    stood = one.done
    until(lambda: other.done > 50)
    assert one.done <= stood + 1
    assert other.over.wait(20)
    assert one.over.wait(20)


def test_an_error_ends_that_work_alone():
    wrong, right = Steps(5, fails_at=2), Steps(5)
    behind = Behind(lambda: False)
    behind.want("right", right)
    behind.want("wrong", wrong)
    assert right.over.wait(20)
    assert wrong.over.wait(20)
    assert (right.done, wrong.done) == (5, 2)


def long_prompt(kind: str, folder, monkeypatch) -> state.Request:
    monkeypatch.setitem(tiny.SIZES, "max_position_embeddings", 1200)
    tiny.save(kind, folder)
    return state.Request(str(folder), " ".join(f"w{i * 7 % 128}" for i in range(1100)))


def test_a_long_prompts_heads_become_exact_while_somebody_looks(tmp_path, monkeypatch):
    request = long_prompt("mistral", tmp_path, monkeypatch)
    trace = cached.trace(request)
    first = cached.thumbnails(request)
    assert first.sample is not None
    exact = metrics.thumbnails(trace)
    assert not np.array_equal(first.pixels, exact.pixels)
    cached.draw_behind(request)
    until(lambda: cached.thumbnails(request).sample is None)
    assert np.array_equal(cached.thumbnails(request).pixels, exact.pixels)


@pytest.mark.parametrize("layer", [0, 2])
def test_a_head_that_was_looked_at_is_drawn_from_its_picture(tmp_path, monkeypatch, layer):
    request = long_prompt("grouped", tmp_path, monkeypatch)
    cached.thumbnails(request)
    cached.picture(request, layer, 1, "weights")
    found = cached.thumbnails(request)
    assert found.whole == {4 * layer + 1}
    exact = metrics.thumbnails(cached.trace(request)).pixels
    assert np.array_equal(found.pixels[4 * layer + 1], exact[4 * layer + 1])

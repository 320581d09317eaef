"""Heads of a long prompt, drawn in the background: in steps, pausing, dropped when nobody looks; exact."""

from __future__ import annotations

import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import tiny
from clock import Clock, until

import inspector
from inspector.analysis import thumbnails
from inspector.ui import state
from inspector.ui.server import pictures, shared, traces
from inspector.ui.server.background import PATIENCE_SECONDS, WAIT_SECONDS, Background


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


def test_work_is_done_step_by_step_and_the_thread_ends():
    work, background = Steps(5), Background(lambda: False)
    background.run("a", work)
    assert work.over.wait(20)
    assert work.done == 5
    until(lambda: not background.running)
    again = Steps(2)
    background.run("a", again)  # as after all is done: it begins anew
    assert again.over.wait(20)


def test_a_process_ends_in_the_midst_of_it():
    script = (
        "import threading, torch\n"
        "from inspector.ui.server.background import Background\n"
        "started = threading.Event()\n"
        "def steps():\n"
        "    x = torch.randn(1500, 1500)\n"
        "    while True:\n"
        "        x = (x @ x).softmax(-1)\n"
        "        started.set()\n"
        "        yield\n"
        "Background(lambda: False, sleep=lambda _: None).run('a', steps)\n"
        "assert started.wait(50)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_it_pauses_while_somebody_waits():
    busy, clock = threading.Event(), Clock()
    busy.set()
    work, background = Steps(3), Background(busy.is_set, now=clock.now, sleep=clock.sleep)
    background.run("a", work)
    for _ in range(3):
        clock.wait_for_sleeper()
        assert work.done == 0
        clock.advance(WAIT_SECONDS)
    busy.clear()
    clock.advance(WAIT_SECONDS)
    assert work.over.wait(20)


def test_it_rests_as_long_as_each_step_took():
    done, clock = [], Clock()

    def steps() -> Iterator[None]:
        for number in range(2):
            done.append(number)
            clock.advance(3)
            yield

    background = Background(lambda: False, now=clock.now, sleep=clock.sleep)
    background.run("a", steps)
    clock.wait_for_sleeper()
    clock.advance(2.5)
    assert done == [0]
    clock.advance(0.5)
    until(lambda: done == [0, 1])
    clock.wait_for_sleeper()
    clock.advance(3)
    until(lambda: not background.running)


def test_what_nobody_asks_for_again_is_dropped_with_what_it_refers_to():
    class Large:
        pass

    large, clock = Large(), Clock()
    gone = weakref.ref(large)
    work = Steps(10**9)

    def steps(used=large) -> Iterator[None]:
        for _ in work():
            assert used
            yield

    background = Background(lambda: False, now=clock.now, sleep=lambda _: None)
    background.run("a", steps)
    del large, steps
    until(lambda: work.done > 10)
    assert not work.over.is_set()
    clock.advance(PATIENCE_SECONDS + 1)
    assert work.over.wait(20)
    until(lambda: gone() is None)


def test_asking_again_keeps_it_and_the_last_asked_for_comes_first():
    one, other = Steps(10**9), Steps(10**9)
    clock = Clock()
    background = Background(lambda: False, now=clock.now, sleep=lambda _: None)
    for _ in range(10):
        background.run("a", one)
        before = one.done
        clock.advance(PATIENCE_SECONDS / 5)
        until(lambda: one.done > before + 1)  # noqa: B023
    assert not one.over.is_set()
    background.run("b", other)
    until(lambda: other.done > 3)
    stood = one.done
    until(lambda: other.done > 50)
    assert one.done <= stood + 1
    clock.advance(PATIENCE_SECONDS + 1)
    assert other.over.wait(20)
    assert one.over.wait(20)


def test_an_error_ends_that_work_alone():
    wrong, right = Steps(5, fails_at=2), Steps(5)
    background = Background(lambda: False)
    background.run("right", right)
    background.run("wrong", wrong)
    assert right.over.wait(20)
    assert wrong.over.wait(20)
    assert (right.done, wrong.done) == (5, 2)


def long_prompt(kind: str, folder, monkeypatch) -> state.Request:
    monkeypatch.setitem(tiny.SIZES, "max_position_embeddings", 1200)
    tiny.save(kind, folder)
    return state.Request(str(folder), " ".join(f"w{i * 7 % 128}" for i in range(1100)))


def test_a_long_prompts_heads_become_exact_while_somebody_looks(tmp_path, monkeypatch):
    request = long_prompt("mistral", tmp_path, monkeypatch)
    trace = traces.trace(request)
    first = pictures.thumbnails(request)
    assert first.sample is not None
    exact = thumbnails.draw_thumbnails(trace)
    assert not np.array_equal(first.pixels, exact.pixels)
    until(lambda: not pictures.thumbnails_so_far(request).left)
    assert np.array_equal(pictures.thumbnails(request).pixels, exact.pixels)


@pytest.mark.parametrize("layer", [0, 2])
def test_a_head_that_was_looked_at_is_drawn_from_its_picture(tmp_path, monkeypatch, layer):
    request = long_prompt("grouped", tmp_path, monkeypatch)
    pictures.thumbnails(request)
    pictures.picture(request, layer, 1, "weights")
    found = pictures.thumbnails(request)
    assert found.whole == {4 * layer + 1}
    exact = thumbnails.draw_thumbnails(traces.trace(request)).pixels
    assert np.array_equal(found.pixels[4 * layer + 1], exact[4 * layer + 1])


def test_nothing_is_drawn_for_a_prompt_that_is_no_longer_stored_and_nothing_keeps_its_trace(tmp_path, monkeypatch):
    request = long_prompt("mistral", tmp_path, monkeypatch)
    trace = weakref.ref(traces.trace(request))
    first = pictures.thumbnails(request)
    go = threading.Event()
    monkeypatch.setattr(thumbnails, "draw_thumbnail", lambda *_: go.wait(20) and first.pixels[0])
    assert pictures.thumbnails_so_far(request).left
    shared.shared_store().traces.drop(traces.trace_key(request))
    go.set()
    until(lambda: trace() is None)
    assert pictures.thumbnails_so_far(request) is None  # and it was not run again
    assert not traces.is_stored(request)


def test_a_head_that_cannot_be_drawn_is_said_and_the_others_are_drawn(tmp_path, monkeypatch, caplog):
    request = long_prompt("mistral", tmp_path, monkeypatch)
    draw = thumbnails.draw_thumbnail

    def broken(trace, layer, head, pool):
        if (layer, head) == (1, 1):
            raise ValueError(trace.prompt)
        return draw(trace, layer, head, pool)

    monkeypatch.setattr(thumbnails, "draw_thumbnail", broken)
    pictures.thumbnails(request)
    until(lambda: not pictures.thumbnails_so_far(request).left)
    found = pictures.thumbnails(request)
    assert (found.failed, len(found.whole)) == (1, len(found.pixels) - 1)
    assert found.said().endswith("11 of 12 heads from all of them; 1 could not be")
    assert "Layer 1, head 1 could not be drawn: ValueError" in caplog.text
    assert "w7" not in caplog.text


def test_layers_without_vectors_have_nothing_to_draw(tmp_path, monkeypatch):
    monkeypatch.setitem(tiny.SIZES, "max_position_embeddings", 1200)
    trace = inspector.load(tiny.save("mistral", tmp_path)).trace(tiny.ids(1100), layers=[1])
    pool = thumbnails.small_pool(trace.n)
    exact = thumbnails.draw_thumbnails(trace).pixels
    for place in range(12):
        assert np.array_equal(thumbnails.draw_thumbnail(trace, place // 4, place % 4, pool), exact[place])

"""Heads of a long prompt, drawn behind what people do: in steps, standing back, dropped when nobody looks; exact."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import tiny

import inspector
from inspector.analysis import thumbnails
from inspector.ui import state
from inspector.ui.server import results
from inspector.ui.server.background import Behind


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
    until(lambda: "a" not in behind._work)
    until(lambda: behind._thread is None)
    again = Steps(2)
    behind.want("a", again)  # as after all is done: it begins anew
    assert again.over.wait(20)


def test_a_process_ends_in_the_midst_of_it():
    script = (
        "import time, torch\n"
        "from inspector.ui.server.background import Behind\n"
        "def steps():\n"
        "    x = torch.randn(1500, 1500)\n"
        "    while True:\n"
        "        x = (x @ x).softmax(-1)\n"
        "        yield\n"
        "Behind(lambda: False).want('a', steps)\n"
        "time.sleep(0.5)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")


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
    trace = results.trace(request)
    first = results.thumbnails(request)
    assert first.sample is not None
    exact = thumbnails.draw_thumbnails(trace)
    assert not np.array_equal(first.pixels, exact.pixels)
    until(lambda: not results.drawn_behind(request).left)
    assert np.array_equal(results.thumbnails(request).pixels, exact.pixels)


@pytest.mark.parametrize("layer", [0, 2])
def test_a_head_that_was_looked_at_is_drawn_from_its_picture(tmp_path, monkeypatch, layer):
    request = long_prompt("grouped", tmp_path, monkeypatch)
    results.thumbnails(request)
    results.picture(request, layer, 1, "weights")
    found = results.thumbnails(request)
    assert found.whole == {4 * layer + 1}
    exact = thumbnails.draw_thumbnails(results.trace(request)).pixels
    assert np.array_equal(found.pixels[4 * layer + 1], exact[4 * layer + 1])


def test_nothing_is_drawn_for_a_prompt_that_is_no_longer_kept_and_nothing_keeps_its_trace(tmp_path, monkeypatch):
    request = long_prompt("mistral", tmp_path, monkeypatch)
    trace = weakref.ref(results.trace(request))
    first = results.thumbnails(request)
    monkeypatch.setattr(thumbnails, "draw_thumbnail", lambda *_: time.sleep(0.05) or first.pixels[0])
    assert results.drawn_behind(request).left
    results.store().traces.drop(results._key(request))
    until(lambda: trace() is None)
    assert results.drawn_behind(request) is None  # and it was not run again
    assert not results.keeps(request)


def test_a_head_that_cannot_be_drawn_is_said_and_the_others_are_drawn(tmp_path, monkeypatch, caplog):
    request = long_prompt("mistral", tmp_path, monkeypatch)
    draw = thumbnails.draw_thumbnail

    def broken(trace, layer, head, pool):
        if (layer, head) == (1, 1):
            raise ValueError(trace.prompt)
        return draw(trace, layer, head, pool)

    monkeypatch.setattr(thumbnails, "draw_thumbnail", broken)
    results.thumbnails(request)
    until(lambda: not results.drawn_behind(request).left)
    found = results.thumbnails(request)
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

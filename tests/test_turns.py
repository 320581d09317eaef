"""What is soon done goes first, a long one keeps nobody waiting, and what nobody waits for goes last."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest
import tiny
from clock import until

from inspector import lab
from inspector.capture.stopping import check_stop
from inspector.ui.edits import write_edits
from inspector.ui.server import changes, pictures, reasons, traces
from inspector.ui.server import turns as module
from inspector.ui.server.store import SHORT_SECONDS, Abandoned, Cache
from inspector.ui.server.turns import LONG_SECONDS, Turns, turn_aside
from inspector.ui.state import Request


class Work:
    """Something that is made in a turn, step by step."""

    def __init__(self, turns: Turns, seconds: float, ended: list[Work]) -> None:
        self.wanted, self.started, self.step, self.at = True, threading.Event(), threading.Semaphore(0), 0
        self.turns, self.seconds, self.ended = turns, seconds, ended
        self.thread = threading.Thread(target=self.make)
        self.thread.start()

    def make(self) -> None:
        with self.turns.take(self.seconds, wanted=lambda: self.wanted, waiting=lambda: None) as turn:
            self.started.set()
            for _ in range(2):
                self.step.acquire()
                self.at += 1
                turn.let_others()
            self.ended.append(self)

    def finish(self) -> None:
        self.step.release(2)
        self.thread.join(10)
        assert not self.thread.is_alive()


def test_what_is_soon_done_goes_before_what_takes_long_and_asked_first():
    turns, ended = Turns(2), []
    running = [Work(turns, 1.0, ended), Work(turns, 1.0, ended)]
    for work in running:
        assert work.started.wait(10)
    slow = Work(turns, 1.5, ended)
    until(lambda: len(turns._queue) == 1)
    quick = Work(turns, 0.1, ended)
    until(lambda: len(turns._queue) == 2)
    running[0].finish()
    assert quick.started.wait(10)
    assert not slow.started.is_set()
    for work in (quick, slow, running[1]):
        work.finish()
    assert [each.seconds for each in ended[:3]] == [1.0, 0.1, 1.5]


def test_a_place_is_never_taken_by_a_long_one():
    turns, ended = Turns(2), []
    first, second = Work(turns, 60, ended), Work(turns, 40, ended)
    assert first.started.wait(10) or second.started.wait(10)
    until(lambda: len(turns._queue) == 1)
    quick = Work(turns, 0.1, ended)
    assert quick.started.wait(10)
    quick.finish()
    assert len(turns._queue) == 1
    for work in (first, second):
        work.step.release(2)
    for work in (first, second):
        work.finish()


def test_a_long_one_lets_others_go_first_between_two_steps():
    turns, ended = Turns(2), []
    slow = Work(turns, 60, ended)
    assert slow.started.wait(10)
    other = Work(turns, 3, ended)  # long too: it waits for the long one's place
    until(lambda: len(turns._queue) == 1)
    slow.step.release()
    assert other.started.wait(10)
    until(lambda: turns._queue == [turn for turn in turns._queue if turn.deadline > 100])
    other.finish()
    slow.finish()
    assert ended == [other, slow]


def test_what_nobody_waits_for_goes_last():
    turns, ended = Turns(2), []
    running = [Work(turns, 1, ended), Work(turns, 1, ended)]
    for work in running:
        assert work.started.wait(10)
    left = Work(turns, 0.1, ended)
    left.wanted = False
    until(lambda: len(turns._queue) == 1)
    later = Work(turns, 1.9, ended)
    until(lambda: len(turns._queue) == 2)
    running[0].finish()
    assert later.started.wait(10)
    assert not left.started.is_set()
    for work in (later, left, running[1]):
        work.finish()


def test_a_pause_ends_even_where_those_who_went_first_wait_for_what_pauses(monkeypatch):
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.2)
    turns, model = Turns(2), threading.Lock()
    paused = threading.Event()

    def short() -> None:
        with turns.take(0.1, wanted=lambda: True, waiting=lambda: None), model:
            pass

    with turns.take(1.9, wanted=lambda: True, waiting=lambda: None) as turn, model:
        others = [threading.Thread(target=short) for _ in range(3)]
        for other in others:
            other.start()
        until(lambda: len(turns._queue) == 2)
        turn.let_others()
        paused.set()
    assert paused.is_set()
    for other in others:
        other.join(10)
        assert not other.is_alive()


def test_who_waits_may_leave():
    turns = Turns(2)

    class Left(Exception):
        pass

    def leave() -> None:
        raise Left

    always = {"wanted": lambda: True, "waiting": lambda: None}
    with turns.take(1, **always), turns.take(1, **always):
        with pytest.raises(Left), turns.take(1, wanted=lambda: True, waiting=leave):
            pytest.fail("there was no place")
        assert turns._queue == []
    with turns.take(1, **always):
        pass


def test_what_is_made_for_something_that_is_being_made_finds_a_turn():
    turns = Turns(2)
    outer, inner = Cache(10, turns=turns), Cache(10, turns=turns)

    def make(_):
        return inner.get("inner", lambda _: "v", size=lambda _: 1)

    answers: list[str] = []
    asking = [
        threading.Thread(target=lambda i=i: answers.append(outer.get(i, make, size=lambda _: 1))) for i in range(4)
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(10)
    assert answers == ["v"] * 4
    with turn_aside():  # outside of a turn it changes nothing
        pass


def test_a_pass_that_reports_nothing_stops_when_nobody_waits_for_it():
    """Second passes have no on_layer of ours: between attention calls they make this thread's check."""
    cache, at, ended = Cache(10, grace=0.0, turns=Turns(2)), threading.Event(), threading.Event()

    class Left(BaseException):
        pass

    def leave(_message, _fraction):
        raise Left

    def make(_):
        at.wait(10)
        try:
            check_stop()
        except Abandoned:
            ended.set()
            raise
        pytest.fail("nobody waits for this")

    with suppress(Left):
        cache.get("k", make, size=lambda _: 1, progress=leave)
    at.set()
    assert ended.wait(10)
    check_stop()  # of another thread: nothing to check


def test_experiments_are_known_to_take_long_and_looks_at_a_head_to_be_soon_done(tmp_path, monkeypatch):
    """Both places taken by experiments that were thought to be short kept everybody waiting for seconds."""
    trace, asked = tiny.load("grouped", tmp_path).trace(tiny.ids(20)), {}
    monkeypatch.setattr(traces, "trace", lambda request, progress=None: trace)
    monkeypatch.setattr(traces, "key_of_trace", lambda request, traced: "key")
    monkeypatch.setattr(traces, "_a_pass", lambda traced: 0.3)
    monkeypatch.setattr(Cache, "measure_again", lambda self, key, size: None)

    def get(self, key, make, *, seconds, **options):
        asked[key[0]] = seconds

    monkeypatch.setattr(Cache, "get", get)
    request = Request("model", "prompt")
    changes.experiment(request, write_edits([lab.zero(0)]), "", "")
    pictures.vectors(request, 0, 0)
    reasons.importance(request, "", "")
    assert asked["vectors"] < SHORT_SECONDS < LONG_SECONDS < asked["experiment"] < asked["importance"]

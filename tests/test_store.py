"""The store: made once for everybody, least recently used goes first, errors are told and not kept."""

import threading
import time

import pytest

from inspector import store as store_module
from inspector.store import Abandoned, Shelf, Store, memory_budget


def size_one(_value):
    return 1


def test_a_value_is_made_once_and_then_kept():
    shelf, made = Shelf(10), []
    for _ in range(3):
        assert shelf.get("k", lambda report: made.append(1) or "v", size=size_one) == "v"
    assert made == [1]
    assert shelf.peek("k") == "v"
    assert "k" in shelf
    assert shelf.peek("other") is None


def test_the_least_recently_used_goes_first():
    shelf = Shelf(10)
    for key in "abc":
        shelf.get(key, lambda report, key=key: key, size=lambda _: 3)
    shelf.get("a", lambda report: pytest.fail("a is kept"), size=size_one)  # a is now more recent than b
    shelf.get("d", lambda report: "d", size=lambda _: 3)
    assert [key in shelf for key in "abcd"] == [True, False, True, True]
    assert shelf.used == 9


def test_the_newest_stays_even_when_it_alone_is_larger_than_the_budget():
    shelf = Shelf(10)
    shelf.get("small", lambda report: 1, size=lambda _: 5)
    shelf.get("huge", lambda report: 2, size=lambda _: 100)
    assert ("small" in shelf, "huge" in shelf, len(shelf)) == (False, True, 1)


def test_two_people_asking_for_the_same_thing_make_it_once_and_both_see_progress():
    shelf, made, answers, seen = Shelf(10), [], [], [[], []]
    started, go = threading.Event(), threading.Event()

    def make(report):
        made.append(1)
        report("half way", 0.5)
        started.set()
        go.wait(10)
        return "v"

    def ask(number):
        progress = lambda message, fraction: seen[number].append((message, fraction))  # noqa: E731
        answers.append(shelf.get("k", make, size=size_one, progress=progress))

    people = [threading.Thread(target=ask, args=(number,)) for number in range(2)]
    people[0].start()
    started.wait(10)
    people[1].start()
    while not (seen[0] and seen[1]):
        time.sleep(0.01)
    go.set()
    for person in people:
        person.join(10)
    assert (made, answers) == ([1], ["v", "v"])
    assert set(seen[0]) == set(seen[1]) == {("half way", 0.5)}


def test_different_keys_do_not_wait_for_each_other():
    shelf, go = Shelf(10), threading.Event()
    slow = threading.Thread(target=lambda: shelf.get("slow", lambda report: go.wait(10), size=size_one))
    slow.start()
    assert shelf.get("fast", lambda report: "done", size=size_one) == "done"
    go.set()
    slow.join(10)


def test_an_error_is_told_and_the_next_one_to_ask_tries_again():
    shelf = Shelf(10)

    def fail(report):
        raise ValueError("no such model")

    with pytest.raises(ValueError, match="no such model"):
        shelf.get("k", fail, size=size_one)
    assert shelf.get("k", lambda report: "v", size=size_one) == "v"


class Left(BaseException):
    """As Streamlit's own: raised in a visitor's script when they click something else."""


def leave(message, fraction):
    raise Left


def test_who_leaves_does_not_take_it_from_the_others():
    shelf, go = Shelf(10), threading.Event()
    with pytest.raises(Left):
        shelf.get("k", lambda report: go.wait(10) and "v", size=size_one, progress=leave)
    go.set()  # the same person is back: it is still being made
    assert shelf.get("k", lambda report: pytest.fail("made twice"), size=size_one) == "v"


def test_what_nobody_waits_for_stops_at_its_next_report(monkeypatch):
    monkeypatch.setattr(store_module, "GRACE_SECONDS", 0.0)
    shelf, go, stopped = Shelf(10), threading.Event(), threading.Event()

    def make(report):
        go.wait(10)
        try:
            report("layer 1", 0.1)
        except Abandoned:
            stopped.set()
            raise

    with pytest.raises(Left):
        shelf.get("k", make, size=size_one, progress=leave)
    go.set()
    assert stopped.wait(10)
    assert shelf.get("k", lambda report: "afresh", size=size_one) == "afresh"


def test_budgets(monkeypatch):
    monkeypatch.setenv("ATTENTION_INSPECTOR_MEMORY_GB", "2")
    assert memory_budget() == 2 * 2**30
    store = Store()
    assert store.models.budget + store.traces.budget + store.results.budget == 2 * 2**30
    monkeypatch.setenv("ATTENTION_INSPECTOR_MEMORY_GB", "plenty")
    assert memory_budget() > 2**28

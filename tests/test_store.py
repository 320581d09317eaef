"""The store: made once for everybody, least recently used goes first, errors are told and not kept."""

import os
import threading
import time
from functools import partial
from pathlib import Path

import pytest
import tiny
import torch
from streamlit.testing.v1 import AppTest

from inspector import cli
from inspector.errors import InspectorError
from inspector.model.memory import MEMORY_VARIABLE, memory_budget, set_memory_budget
from inspector.ui.markdown import plain
from inspector.ui.server import results
from inspector.ui.server import store as store_module
from inspector.ui.server.sessions import Holds
from inspector.ui.server.store import Abandoned, Room, Shelf, Store
from inspector.ui.state import Request


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


def test_budgets(monkeypatch, tmp_path):
    monkeypatch.setenv(MEMORY_VARIABLE, "2")
    assert memory_budget() == 2 * 10**9
    store = Store()
    assert store.models.budget + store.traces.budget + store.results.budget == 2 * 10**9
    set_memory_budget(0.5)
    assert memory_budget() == 5 * 10**8
    monkeypatch.setenv(MEMORY_VARIABLE, " ")
    monkeypatch.setattr("inspector.model.memory.CONTAINER", [])
    machine = memory_budget()
    assert machine > 2**28
    small, unlimited, large = tmp_path / "small", tmp_path / "unlimited", tmp_path / "large"
    small.write_text("1000000000\n")  # as in memory.max of a container, and of one without a limit; as in version 1
    unlimited.write_text("max\n")
    large.write_text("9223372036854771712\n")
    for paths, budget in (([unlimited, tmp_path / "none", large], machine), ([large, small], 5 * 10**8)):
        monkeypatch.setattr("inspector.model.memory.CONTAINER", paths)
        assert memory_budget() == budget


@pytest.mark.parametrize("said", ["plenty", "12GB", "-3", "0", "nan", "inf", "1e300"])
def test_what_is_no_amount_of_memory_is_refused(said, monkeypatch, capsys):
    sentence = f"is '{said}': give a number of gigabytes above 0, such as 8."
    monkeypatch.delenv(MEMORY_VARIABLE, raising=False)
    for command in (["verify", "no such model"], ["capture", "no such model", "--out", "a.safetensors"], ["app"]):
        assert cli.main([*command, f"--memory-gb={said}"]) == 2
        assert capsys.readouterr().err == f"attention-inspector: --memory-gb {sentence}\n"
    assert MEMORY_VARIABLE not in os.environ
    monkeypatch.setenv(MEMORY_VARIABLE, said)
    for command in (["verify", "no such model"], ["app"]):
        assert cli.main(command) == 2
        assert capsys.readouterr().err == f"attention-inspector: {MEMORY_VARIABLE} {sentence}\n"
    with pytest.raises(InspectorError, match=MEMORY_VARIABLE):
        Store()


def test_the_app_says_that_its_memory_is_no_amount(monkeypatch):
    monkeypatch.setenv(MEMORY_VARIABLE, "12GB")
    results.store.clear()
    app = AppTest.from_file(str(Path(results.__file__).parents[1] / "main.py"), default_timeout=60).run()
    assert not app.exception
    assert app.error[0].value == plain(f"{MEMORY_VARIABLE} is '12GB': give a number of gigabytes above 0, such as 8.")


# -- who holds what --------------------------------------------------------------------------------------


def filled(*keys):
    store = Store(800)
    for key in keys:
        store.traces.get(key, lambda report: "trace", size=size_one)
        store.results.get(("thumbnails", key), lambda report: "pictures", size=size_one)
    return store


def until(holds):
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < 10
        time.sleep(0.005)


def test_what_nobody_holds_any_longer_is_let_go_of_with_all_that_was_made_from_it():
    mine, shared = ("prompt", "mine"), ("prompt", "shared")
    store = filled(mine, shared)
    store.models.get("model", lambda report: "model", size=size_one)
    here = {"first", "second"}
    holds = Holds(store.forget, here.__contains__, grace=0.0, every=0.02)
    for visitor, key in (("first", mine), ("first", shared), ("second", shared)):
        holds.hold(visitor, key)
    here.remove("first")
    until(lambda: mine not in store.traces)
    until(lambda: ("thumbnails", mine) not in store.results)
    assert shared in store.traces
    assert ("thumbnails", shared) in store.results
    here.remove("second")
    until(lambda: not len(store.traces) and not len(store.results))
    assert "model" in store.models


def test_who_comes_back_within_the_grace_loses_nothing():
    store, here = filled("a"), {"tab"}
    holds = Holds(store.forget, here.__contains__, grace=0.3, every=0.02)
    holds.hold("tab", "a")
    here.clear()
    time.sleep(0.1)
    here.add("tab")  # connected again, and at rest: nothing is asked for anew
    time.sleep(0.5)
    assert "a" in store.traces
    here.clear()
    until(lambda: "a" not in store.traces)
    until(lambda: not holds._watching)


def test_what_is_asked_for_after_the_connection_was_lost_is_let_go_of_too():
    store = filled("a")
    holds = Holds(store.forget, lambda _: False, grace=0.1, every=0.02)
    holds.hold("tab", "a")  # by a script that was still running
    until(lambda: "a" not in store.traces)


def test_what_is_being_made_is_left_alone():
    store, go, made = Store(800), threading.Event(), []
    here = {"leaving"}
    holds = Holds(store.forget, here.__contains__, grace=0.0, every=0.02)
    holds.hold("leaving", "a")
    asking = threading.Thread(
        target=lambda: made.append(store.traces.get("a", lambda report: go.wait(10), size=size_one))
    )
    asking.start()
    until(lambda: store.traces._making)
    here.clear()
    until(lambda: not holds._watching)
    go.set()
    asking.join(10)
    assert made == [True]


def test_a_thread_that_cannot_start_leaves_nothing_to_wait_for(monkeypatch):
    shelf = Shelf(10)

    def full(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", full)
        with pytest.raises(RuntimeError):
            shelf.get("k", lambda report: 1, size=size_one)
    assert not shelf.making
    assert shelf.get("k", lambda report: 2, size=size_one) == 2


def test_what_has_grown_is_weighed_anew():
    gone = []
    shelf = Shelf(10, on_gone=gone.append)
    for key in ("a", "b"):
        shelf.get(key, lambda report: [1, 2, 3], size=len)
    shelf.peek("b").extend([4] * 5)
    assert shelf.used == 6
    shelf.weigh("b", len)
    assert (shelf.used, gone) == (8, ["a"])
    shelf.weigh("not kept", len)


def test_a_model_that_has_to_go_takes_its_traces_along():
    store = Store(8)  # of which models have 4
    for name in ("old", "new"):
        store.models.get(("model", name), lambda report: "model", size=lambda _: 3)
        store.traces.get((("model", name), "prompt"), lambda report: "trace", size=size_one)
        if name == "old":
            store.results.get(("report", (("model", name), "prompt")), lambda report: "report", size=size_one)
    assert ("model", "old") not in store.models
    assert (("model", "old"), "prompt") not in store.traces
    assert len(store.results) == 0
    assert (("model", "new"), "prompt") in store.traces


# -- memory for what is being made ------------------------------------------------------------------------


def test_what_needs_much_memory_waits_for_its_turn():
    room, order, told, taken, go = Room(64), [], [], [], threading.Event()

    def make(name, needed):
        with room.take(needed, lambda: told.append(name)):
            taken.append(room._taken)
            order.append(name)
            go.wait(10)

    people = []
    for name, needed, here in (("a", 30, "a"), ("b", 30, "ab"), ("all", 99, "ab"), ("late", 4, "ab")):
        people.append(threading.Thread(target=make, args=(name, needed)))
        people[-1].start()
        until(lambda: name in told or name in order)  # noqa: B023
        assert order == list(here)  # "late" would fit, but then "all" might wait for ever
    with room.take(1, lambda: pytest.fail("too little to be counted")):
        pass
    go.set()
    for person in people:
        person.join(10)
    assert order == ["a", "b", "all", "late"]
    assert taken[:3] == [30, 60, 64]
    assert set(told) == {"all", "late"}


def test_who_gives_up_or_fails_leaves_the_room_as_it_was():
    room = Room(10)

    def make():
        with room.take(10, pytest.fail):
            with pytest.raises(Left), room.take(1, lambda: leave("", None)):
                pytest.fail("there was no room")
            raise ValueError("it broke")

    with pytest.raises(ValueError, match="broke"):
        make()
    with room.take(10, lambda: pytest.fail("something was left behind")):
        pass


@pytest.fixture
def short_of_memory(monkeypatch):
    """The app's store with room for one run of a tiny model, and somebody in it until told; what they are told by."""
    store = results.store()
    monkeypatch.setattr(store, "room", Room(100))
    taken, free = threading.Event(), threading.Event()

    def other():
        with store.room.take(100, pytest.fail):
            taken.set()
            free.wait(20)

    thread = threading.Thread(target=other)
    thread.start()
    assert taken.wait(10)
    yield free
    free.set()
    thread.join(10)


@pytest.mark.parametrize("run", [results.trace, results.report])
def test_runs_in_the_app_wait_for_each_other_where_memory_is_short(run, tmp_path, request):
    tiny.save("grouped", tmp_path)
    asked, told = Request(str(tmp_path), "w1 w2 w3"), []
    if run is results.report:
        results.trace(asked)
    free = request.getfixturevalue("short_of_memory")

    def progress(message, _):
        told.append(message)
        if message.startswith("Waiting"):
            free.set()

    assert run(asked, progress) is not None
    assert "Waiting until other visitors' runs leave enough memory" in told


def test_who_waits_for_memory_can_leave(tmp_path, monkeypatch, short_of_memory):
    monkeypatch.setattr(store_module, "GRACE_SECONDS", 0.0)
    tiny.save("grouped", tmp_path)
    store, asked = results.store(), Request(str(tmp_path), "w4 w5 w6")

    def give_up(message, _):
        if message.startswith("Waiting"):
            raise Left

    with pytest.raises(Left):
        results.trace(asked, give_up)
    until(lambda: not store.traces.making)
    assert store.room._queue == []
    short_of_memory.set()
    assert results.trace(asked).n == 3


def test_what_will_be_refused_does_not_wait_first(tmp_path, monkeypatch, short_of_memory):
    tiny.save("grouped", tmp_path)
    model = results.model(Request(str(tmp_path), "w1"))
    asked = Request(str(tmp_path), "w1 " * 600)
    monkeypatch.setattr(type(model), "positions", None)
    monkeypatch.setenv(MEMORY_VARIABLE, "0.000001")
    with pytest.raises(InspectorError, match=r"this run may use 0\.0 MB: shorten the prompt"):
        results.trace(asked, lambda message, _: message.startswith("Waiting") and pytest.fail(message))


# -- ten at once -----------------------------------------------------------------------------------------


def numbers(trace):
    return [tensor for layer in trace.stored for tensor in (layer.query, layer.key, layer.value)] + [trace.last_logits]


@pytest.mark.packaged
@pytest.mark.parametrize("kind", ["packaged", "grouped", "dynamic"])
def test_ten_threads_get_bit_for_bit_what_each_gets_alone(kind, request, tmp_path):
    """Through the store, which has room for a few traces only. "dynamic" changes the model's buffers as it runs."""
    model = request.getfixturevalue("smollm") if kind == "packaged" else tiny.load(kind, tmp_path)
    if kind == "packaged":
        prompts = [f"Visitor {number} wrote" + f" {number} times so" * (number % 4 + 1) for number in range(6)]
    else:
        prompts = [[number, *tiny.ids(6 + 5 * number)] for number in range(12)]
    alone = [model.trace(prompt) for prompt in prompts]
    largest = max(trace.nbytes for trace in alone)
    shelf, wrong, most = Store(8 * largest).traces, [], []  # room for three of the largest
    assert shelf.budget == 3 * largest
    together, rounds = threading.Barrier(10), 3 if kind == "packaged" else 6

    def run(wanted, report):
        return model.trace(prompts[wanted], on_layer=lambda done, total: report("", done / total))

    def visitor(number):
        together.wait(30)
        for turn in range(rounds):
            wanted = (number * 5 + turn * 7) % len(prompts)
            found = shelf.get(wanted, partial(run, wanted), size=lambda made: made.nbytes)
            most.append(shelf.used)
            pairs = zip(numbers(found), numbers(alone[wanted]), strict=True)
            if not all(torch.equal(one, other) for one, other in pairs):
                wrong.append((number, wanted))

    people = [threading.Thread(target=visitor, args=(number,)) for number in range(10)]
    for person in people:
        person.start()
    for person in people:
        person.join(200)
    assert len(most) == 10 * rounds
    assert wrong == []
    assert max(most) <= shelf.budget
    assert len(shelf) >= 2  # and it was in use
    other = numbers(alone[1])[0]  # the comparison can fail: another prompt's numbers differ
    assert not torch.equal(other[:, :6], numbers(alone[0])[0][:, :6])


@pytest.mark.parametrize("tiny_model", ["dynamic"], indirect=True)
def test_a_longer_prompt_before_leaves_no_trace_in_a_shorter_ones_numbers(tiny_model):
    """Both are longer than this model was trained for (32): the library by itself keeps the longer one's angles."""
    before = numbers(tiny_model.trace(tiny.ids(50)))
    tiny_model.trace(tiny.ids(64))
    assert all(map(torch.equal, numbers(tiny_model.trace(tiny.ids(50))), before))
    with torch.inference_mode():  # the library left to itself: else there would be nothing to put right
        tiny_model.model(torch.tensor([tiny.ids(64)]))
        kept = tiny_model.model(torch.tensor([tiny.ids(50)])).logits[0, -1:]
    assert not torch.equal(kept, before[-1])

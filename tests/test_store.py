"""The store: made once for everybody, least recently used goes first, errors are told and not kept."""

import os
import threading
from functools import partial

import pytest
import tiny
import torch
from clock import Clock, until
from screen_app import new_app

from inspector import cli
from inspector.errors import InspectorError
from inspector.model.memory import MEMORY_VARIABLE, memory_budget, set_memory_budget
from inspector.ui.markdown import plain
from inspector.ui.server import results, shared, traces
from inspector.ui.server.sessions import EVERY_SECONDS, GRACE_SECONDS, Sessions
from inspector.ui.server.store import GRACE_SECONDS as LEAVING_SECONDS
from inspector.ui.server.store import Abandoned, Cache, Store
from inspector.ui.server.working_memory import WorkingMemory
from inspector.ui.state import Request


def size_one(_value):
    return 1


def test_a_value_is_made_once_and_then_kept():
    cache, made = Cache(10), []
    for _ in range(3):
        assert cache.get("k", lambda report: made.append(1) or "v", size=size_one) == "v"
    assert made == [1]
    assert cache.peek("k") == "v"
    assert "k" in cache
    assert cache.peek("other") is None


def test_the_least_recently_used_goes_first():
    cache = Cache(10)
    for key in "abc":
        cache.get(key, lambda report, key=key: key, size=lambda _: 3)
    cache.get("a", lambda report: pytest.fail("a is kept"), size=size_one)  # a is now more recent than b
    cache.get("d", lambda report: "d", size=lambda _: 3)
    assert [key in cache for key in "abcd"] == [True, False, True, True]
    assert cache.used == 9


def test_the_newest_stays_even_when_it_alone_is_larger_than_the_budget():
    cache = Cache(10)
    cache.get("small", lambda report: 1, size=lambda _: 5)
    cache.get("huge", lambda report: 2, size=lambda _: 100)
    assert ("small" in cache, "huge" in cache, len(cache)) == (False, True, 1)


def test_two_people_asking_for_the_same_thing_make_it_once_and_both_see_progress():
    cache, made, answers, seen = Cache(10), [], [], [[], []]
    started, go = threading.Event(), threading.Event()

    def make(report):
        made.append(1)
        report("half way", 0.5)
        started.set()
        go.wait(10)
        return "v"

    def ask(number):
        progress = lambda message, fraction: seen[number].append((message, fraction))  # noqa: E731
        answers.append(cache.get("k", make, size=size_one, progress=progress))

    people = [threading.Thread(target=ask, args=(number,)) for number in range(2)]
    people[0].start()
    started.wait(10)
    people[1].start()
    until(lambda: seen[0] and seen[1])
    go.set()
    for person in people:
        person.join(10)
    assert (made, answers) == ([1], ["v", "v"])
    assert set(seen[0]) == set(seen[1]) == {("half way", 0.5)}


def test_different_keys_do_not_wait_for_each_other():
    cache, go = Cache(10), threading.Event()
    slow = threading.Thread(target=lambda: cache.get("slow", lambda report: go.wait(10), size=size_one))
    slow.start()
    assert cache.get("fast", lambda report: "done", size=size_one) == "done"
    go.set()
    slow.join(10)


def test_an_error_is_told_and_the_next_one_to_ask_tries_again():
    cache = Cache(10)

    def fail(report):
        raise ValueError("no such model")

    with pytest.raises(ValueError, match="no such model"):
        cache.get("k", fail, size=size_one)
    assert cache.get("k", lambda report: "v", size=size_one) == "v"


class Left(BaseException):
    """As Streamlit's own: raised in a visitor's script when they click something else."""


def leave(message, fraction):
    raise Left


def test_who_leaves_does_not_take_it_from_the_others():
    cache, go = Cache(10), threading.Event()
    with pytest.raises(Left):
        cache.get("k", lambda report: go.wait(10) and "v", size=size_one, progress=leave)
    go.set()  # the same person is back: it is still being made
    assert cache.get("k", lambda report: pytest.fail("made twice"), size=size_one) == "v"


def test_what_nobody_waits_for_stops_at_its_next_report():
    clock = Clock()
    cache, go, stopped, said = (
        Cache(10, now=clock.now),
        threading.Semaphore(0),
        threading.Event(),
        threading.Semaphore(0),
    )

    def make(report):
        try:
            for layer in range(3):
                go.acquire(timeout=10)
                report(f"layer {layer}", 0.1)
                said.release()
        except Abandoned:
            stopped.set()
            raise

    with pytest.raises(Left):
        cache.get("k", make, size=size_one, progress=leave)
    clock.advance(LEAVING_SECONDS - 0.1)  # who left may be back at once
    go.release()
    assert said.acquire(timeout=10)
    assert not stopped.is_set()
    clock.advance(0.1)
    go.release()
    assert stopped.wait(10)
    assert cache.get("k", lambda report: "afresh", size=size_one) == "afresh"


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
    shared.start_anew()
    app = new_app(Request("any", "w1 w2")).run()
    assert not app.exception
    assert app.error[0].value == plain(f"{MEMORY_VARIABLE} is '12GB': give a number of gigabytes above 0, such as 8.")


# -- who uses what ---------------------------------------------------------------------------------------


def filled(*keys):
    store = Store(800)
    for key in keys:
        store.traces.get(key, lambda report: "trace", size=size_one)
        store.results.get(("thumbnails", key), lambda report: "pictures", size=size_one)
    return store


class Tabs:
    """Sessions with a clock of their own, and which of them are connected."""

    def __init__(self, store, *connected):
        self.connected, self.clock = set(connected), Clock()
        self.sessions = Sessions(
            store.forget, lambda name: name in self.connected, now=self.clock.now, sleep=self.clock.sleep
        )

    def pass_by(self, seconds):
        """Let so many seconds go by, look after look, until all is done that was to do in them."""
        for _ in range(round(seconds / EVERY_SECONDS)):
            self.clock.advance(EVERY_SECONDS)
            until(lambda: not self.sessions.watching or self.clock.asleep)  # it has looked


def test_what_nobody_uses_any_longer_is_let_go_of_with_all_that_was_made_from_it():
    mine, shared = ("prompt", "mine"), ("prompt", "shared")
    store = filled(mine, shared)
    store.models.get("model", lambda report: "model", size=size_one)
    tabs = Tabs(store, "first", "second")
    for session, key in (("first", mine), ("first", shared), ("second", shared)):
        tabs.sessions.use(session, key)
    tabs.connected.remove("first")
    tabs.pass_by(GRACE_SECONDS - 1)
    assert mine in store.traces
    tabs.pass_by(2)
    assert mine not in store.traces
    assert ("thumbnails", mine) not in store.results
    assert shared in store.traces
    assert ("thumbnails", shared) in store.results
    tabs.connected.remove("second")
    tabs.pass_by(GRACE_SECONDS + 1)
    assert (len(store.traces), len(store.results)) == (0, 0)
    assert "model" in store.models
    assert not tabs.sessions.watching


def test_who_comes_back_within_the_grace_loses_nothing():
    store = filled("a")
    tabs = Tabs(store, "tab")
    tabs.sessions.use("tab", "a")
    tabs.connected.clear()
    tabs.pass_by(GRACE_SECONDS - 1)
    tabs.connected.add("tab")  # connected again, and at rest: nothing is asked for anew
    tabs.pass_by(2 * GRACE_SECONDS)
    assert "a" in store.traces
    tabs.connected.clear()
    tabs.pass_by(GRACE_SECONDS - 1)
    assert "a" in store.traces
    tabs.pass_by(2)
    assert "a" not in store.traces
    assert not tabs.sessions.watching


def test_what_is_asked_for_after_the_connection_was_lost_is_let_go_of_too():
    store = filled("a")
    tabs = Tabs(store)
    tabs.sessions.use("tab", "a")  # by a script that was still running
    tabs.pass_by(GRACE_SECONDS + 1)
    assert "a" not in store.traces


def test_what_is_being_made_is_left_alone():
    store, go, made = Store(800), threading.Event(), []
    tabs = Tabs(store, "leaving")
    tabs.sessions.use("leaving", "a")
    asking = threading.Thread(
        target=lambda: made.append(store.traces.get("a", lambda report: go.wait(10), size=size_one))
    )
    asking.start()
    until(lambda: store.traces.making)
    tabs.connected.clear()
    tabs.pass_by(GRACE_SECONDS + 1)
    assert not tabs.sessions.watching
    go.set()
    asking.join(10)
    assert made == [True]


def test_a_thread_that_cannot_start_leaves_nothing_to_wait_for(monkeypatch):
    cache = Cache(10)

    def full(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", full)
        with pytest.raises(RuntimeError):
            cache.get("k", lambda report: 1, size=size_one)
    assert not cache.making
    assert cache.get("k", lambda report: 2, size=size_one) == 2


def test_what_has_grown_is_measured_again():
    gone = []
    cache = Cache(10, on_evict=lambda key, held: gone.append(key))
    for key in ("a", "b"):
        cache.get(key, lambda report: [1, 2, 3], size=len)
    cache.peek("b").extend([4] * 5)
    assert cache.used == 6
    cache.measure_again("b", len)
    assert (cache.used, gone) == (8, ["a"])
    cache.measure_again("not stored", len)


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
    memory, order, told, taken, go = WorkingMemory(64), [], [], [], threading.Event()

    def make(name, needed):
        with memory.reserve(needed, lambda: told.append(name)):
            taken.append(memory._reserved)
            order.append(name)
            go.wait(10)

    people = []
    for name, needed, here in (("a", 30, "a"), ("b", 30, "ab"), ("all", 99, "ab"), ("late", 4, "ab")):
        people.append(threading.Thread(target=make, args=(name, needed)))
        people[-1].start()
        until(lambda: name in told or name in order)  # noqa: B023
        assert order == list(here)  # "late" would fit, but then "all" might wait for ever
    with memory.reserve(1, lambda: pytest.fail("too little to be counted")):
        pass
    go.set()
    for person in people:
        person.join(10)
    assert order == ["a", "b", "all", "late"]
    assert taken[:3] == [30, 60, 64]
    assert set(told) == {"all", "late"}


def test_who_gives_up_or_fails_leaves_the_memory_as_it_was():
    memory = WorkingMemory(10)

    def make():
        with memory.reserve(10, pytest.fail):
            with pytest.raises(Left), memory.reserve(1, lambda: leave("", None)):
                pytest.fail("there was no memory")
            raise ValueError("it broke")

    with pytest.raises(ValueError, match="broke"):
        make()
    with memory.reserve(10, lambda: pytest.fail("something stayed reserved")):
        pass


@pytest.fixture
def short_of_memory(monkeypatch):
    """The app's store with room for one run of a tiny model, and somebody in it until told; what they are told by."""
    store = shared.shared_store()
    monkeypatch.setattr(store, "working_memory", WorkingMemory(100))
    taken, free = threading.Event(), threading.Event()

    def other():
        with store.working_memory.reserve(100, pytest.fail):
            taken.set()
            free.wait(20)

    thread = threading.Thread(target=other)
    thread.start()
    assert taken.wait(10)
    yield free
    free.set()
    thread.join(10)


@pytest.mark.parametrize("run", [traces.trace, results.report])
def test_runs_in_the_app_wait_for_each_other_where_memory_is_short(run, tmp_path, request):
    tiny.save("grouped", tmp_path)
    asked, told = Request(str(tmp_path), "w1 w2 w3"), []
    if run is results.report:
        traces.trace(asked)
    free = request.getfixturevalue("short_of_memory")

    def progress(message, _):
        told.append(message)
        if message.startswith("Waiting"):
            free.set()

    assert run(asked, progress) is not None
    assert "Waiting until other visitors' runs leave enough memory" in told


def test_who_waits_for_memory_can_leave(tmp_path, monkeypatch, short_of_memory):
    tiny.save("grouped", tmp_path)
    store, asked = shared.shared_store(), Request(str(tmp_path), "w4 w5 w6")
    for cache in (store.models, store.traces):  # loading waits for memory, too
        monkeypatch.setattr(cache, "grace", 0.0)

    def give_up(message, _):
        if message.startswith("Waiting"):
            raise Left

    with pytest.raises(Left):
        traces.trace(asked, give_up)
    until(lambda: not store.busy)
    assert store.working_memory._queue == []
    short_of_memory.set()
    assert traces.trace(asked).n == 3


def test_what_will_be_refused_does_not_wait_first(tmp_path, monkeypatch, request):
    tiny.save("grouped", tmp_path)
    model = traces.model(Request(str(tmp_path), "w1"))
    request.getfixturevalue("short_of_memory")  # from here on: loading, too, would wait
    asked = Request(str(tmp_path), "w1 " * 600)
    monkeypatch.setattr(type(model), "positions", None)
    monkeypatch.setenv(MEMORY_VARIABLE, "0.000001")
    with pytest.raises(InspectorError, match=r"this run may use 0\.0 MB: shorten the prompt"):
        traces.trace(asked, lambda message, _: message.startswith("Waiting") and pytest.fail(message))


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
    cache, wrong, most = Store(8 * largest).traces, [], []  # room for three of the largest
    assert cache.budget == 3 * largest
    together, rounds = threading.Barrier(10), 3 if kind == "packaged" else 6

    def run(wanted, report):
        return model.trace(prompts[wanted], on_layer=lambda done, total: report("", done / total))

    def visitor(number):
        together.wait(30)
        for turn in range(rounds):
            wanted = (number * 5 + turn * 7) % len(prompts)
            found = cache.get(wanted, partial(run, wanted), size=lambda made: made.nbytes)
            most.append(cache.used)
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
    assert max(most) <= cache.budget
    assert len(cache) >= 2  # and it was in use
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

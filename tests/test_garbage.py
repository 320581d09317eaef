"""A model that had to go from the store leaves memory, also one whose objects refer to each other in circles."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import tiny
import torch
from clock import until

from inspector.ui.server import garbage, shared, store, traces
from inspector.ui.state import Request

SIZE = 2**20  # bytes of each model, as the store is told


@pytest.fixture
def requests(tmp_path, monkeypatch) -> Iterator[list[Request]]:
    """Two models' requests in a store with room for one; Python searches nothing by itself meanwhile."""
    monkeypatch.setattr(shared, "_made", {"shared_store": store.Store(SIZE * 3)})
    monkeypatch.setattr(traces, "_model_bytes", lambda loaded: SIZE)
    monkeypatch.setattr(garbage, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr(garbage, "MOST_SECONDS", 0.1)
    found = [Request(str(tiny.save("grouped", tmp_path / name)), "w1 w2 w3") for name in ("first", "second")]
    gc.disable()
    yield found
    gc.enable()
    gc.unfreeze()


def load(request: Request) -> tuple[Any, weakref.ref[torch.nn.Module]]:
    """A model as the app loads it, with a circle among its modules; and a word about whether it is there."""
    loaded: Any = traces.trace(request).model
    module: torch.nn.Module = loaded.model
    module.circle = [module]  # as a library's class may have it; a count of references frees none of it
    garbage.leave_out()
    return loaded, weakref.ref(module)


def test_an_evicted_model_leaves_memory(requests):
    first, second = requests
    loaded, alive = load(first)
    del loaded
    gc.collect()
    assert alive() is not None  # the store holds it
    traces.trace(second)
    assert not traces.is_stored(first)
    assert alive() is None


def test_an_evicted_model_that_a_visitor_still_looks_at_leaves_memory_with_them(requests):
    first, second = requests
    loaded, alive = load(first)
    traces.trace(second)
    until(lambda: any(thread.name == "garbage" for thread in threading.enumerate()))
    assert alive() is not None
    del loaded
    until(lambda: alive() is None)
    until(lambda: not any(thread.name == "garbage" for thread in threading.enumerate()))


def test_a_model_that_is_stored_again_is_searched_for_no_longer(requests):
    first, second = requests
    loaded, alive = load(first)
    traces.trace(second)
    shared.shared_store().models.get(traces.model_key(first), lambda _: loaded, size=lambda _: SIZE)
    until(lambda: not any(thread.name == "garbage" for thread in threading.enumerate()))
    assert alive() is not None


def test_searches_for_what_is_held_become_rare():
    waits: list[float] = []
    garbage._go_on(lambda: len(waits) == 9, waits.append)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_circles_left_out_of_searches_would_stay():
    """The negative control: this is what search_all undoes."""

    class Circle:
        pass

    circle: Any = Circle()
    circle.itself, alive = circle, weakref.ref(circle)
    gc.collect()
    gc.freeze()
    del circle
    gc.collect()
    assert alive() is not None
    garbage.search_all()
    assert alive() is None
    gc.unfreeze()


@pytest.mark.slow
@pytest.mark.packaged
def test_models_that_come_and_go_leave_resident_memory_as_it_was(tmp_path, smollm):
    """In a process of its own: the same weights under three names, in a store with room for one of them."""
    for name in "abc":
        shutil.copytree(smollm.source.folder, tmp_path / name)  # weights are maps of files: copies share no memory
    code = (
        "import sys, psutil\n"
        "from inspector.ui.server import shared, traces\n"
        "from inspector.ui.state import Request\n"
        "for turn in range(9):\n"
        "    traces.trace(Request(f'{sys.argv[1]}/{\"abc\"[turn % 3]}', 'Houston, we have a problem'))\n"
        "    assert len(shared.shared_store().models) == 1\n"
        "    print(psutil.Process().memory_info().rss)\n"
    )
    room = {**os.environ, "ATTENTION_INSPECTOR_MEMORY_GB": "1.2"}  # half of it for models, of 0.54 GB each
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=room, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    resident = [int(line) / 2**20 for line in done.stdout.split()]
    print(" ".join(f"{each:.0f}" for each in resident), "MB")
    assert max(resident[3:]) - max(resident[:3]) < 50  # a model that stayed would add some 500

"""Faults on the way: a full disk, a process killed at any moment, a silent hub, two at once, a damaged cache.

What is found afterwards under its own name is whole, or it is what was there before. The limit on the size of files and
the kills are the operating system's own, in processes of their own.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fuzz
import pytest
import test_loading
import tiny
from loopback_hub import LoopbackHub
from test_gguf import write_gguf
from test_loading import Client

from inspector import InspectorError
from inspector.files import written_whole
from inspector.ui import uploads

KILLS = {"save": 12, "capture": 5, "convert": 5}

# Saves everything that can be saved, first as it should be, then where no file may grow beyond 1000 bytes.
FULL_DISK = """
import contextlib, io, json, resource, sys
from pathlib import Path
import inspector
from inspector import InspectorError, views
from inspector.loading import gguf_conversion
from inspector.cli import main
model, gguf, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
trace = inspector.load(model).trace("w1 w2 w3")
text = "w1 w2 w3"
saves = {
    "trace.safetensors": lambda path: trace.save(path),
    "head.svg": lambda path: views.head_figure(trace, 0, 0).save(path),
    "head.png": lambda path: views.head_figure(trace, 0, 0).save(path),
    "head.html": lambda path: views.head_figure(trace, 0, 0).save(path),
    "all.html": lambda path: views.grid_figure(trace).save(path),
    "bertviz.html": lambda path: views.head_view(trace).save(path),
    "vectors.safetensors": lambda path: views.vectors(trace, 0, 0).save(path),
    "captured.safetensors": lambda path: main(["capture", model, "--prompt", text, "--out", str(path)]),
    "report.json": lambda path: main(["verify", model, "--prompt", text, "--no-controls", "--json", str(path)]),
}
for name, save in saves.items():
    save(out / name)
before = {name: (out / name).read_bytes() for name in saves}
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
said = {}
for name, save in saves.items():
    try:
        with contextlib.redirect_stderr(io.StringIO()) as told:
            status = save(out / name)
        said[name] = told.getvalue().strip().removeprefix("attention-inspector: ") if status == 2 else f"done: {status}"
    except InspectorError as error:
        said[name] = str(error)
try:
    gguf_conversion.converted(gguf, out / "models", name="tiny")
except InspectorError as error:
    said["conversion"] = str(error)
same = {name: (out / name).read_bytes() == before[name] for name in saves}
left = sorted(path.name for path in out.rglob("*") if path.is_file() and path.name not in saves)
print(json.dumps({"said": said, "same": same, "left": left}))
"""

# Kills a process of its own that saves, captures or converts, at moments spread over the time it takes.
KILLED = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
import inspector
from inspector.loading import gguf_conversion
from inspector.cli import main
what, model, gguf, out, kills = sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5])
random.seed(0)
file, models = out / "trace.safetensors", out / "models"
traces = [inspector.load(model).trace(" ".join(f"w{i}" for i in range(n))) for n in (200, 210)]
def work(i):
    if what == "save":
        for turn in range(20):
            traces[turn % 2].save(file)
    elif what == "capture":
        sys.stdout = open(os.devnull, "w")
        assert main(["capture", model, "--prompt", traces[i % 2].prompt, "--out", str(file), "--debug"]) == 0
    else:
        gguf_conversion.converted(gguf, models, name="tiny")
work(0) if what == "convert" else None  # imports what it needs
if what == "convert":
    import shutil
    shutil.rmtree(models)
seen = {"whole": 0, "absent": 0, "unfinished": 0}
started = time.monotonic()
pid = os.fork()
if pid == 0:
    work(0)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
lasts = time.monotonic() - started
if what == "convert":
    shutil.rmtree(models)
for kill in range(kills):
    pid = os.fork()
    if pid == 0:
        work(kill)
        os._exit(0)
    time.sleep(lasts * (kill + random.random()) / kills)
    os.kill(pid, signal.SIGKILL)
    if os.waitpid(pid, 0)[1] != 0:
        seen["unfinished"] += 1
    else:
        lasts /= 2  # it went faster than the first time, which a busy machine held up
    if what == "convert":
        found = list(models.glob("tiny-*"))
        assert all(gguf_conversion.damage(folder, thorough=True) is None for folder in found), found
        seen["whole" if found else "absent"] += 1
        for folder in found:
            shutil.rmtree(folder)  # else the next finds it done, and has nothing to be killed at
    else:
        again = inspector.open_trace(file)
        like = traces[again.n == traces[1].n]
        assert torch.equal(again.weights(2), like.weights(2))
        assert torch.equal(again.last_logits, like.last_logits)
        seen["whole"] += 1
if what == "convert":
    folder = gguf_conversion.converted(gguf, models, name="tiny")
    assert gguf_conversion.damage(folder, thorough=True) is None
    assert not list(models.glob(".*.part*"))
print(json.dumps(seen))
"""


def child(script: str, *arguments: object) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, timeout=280
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return dict(json.loads(ran.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save("grouped", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


# -- a full disk ------------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_every_file_as_it_was(model, gguf, tmp_path):
    found = child(FULL_DISK, model, gguf, tmp_path)
    assert len(found["said"]) == 10
    for name, said in found["said"].items():
        assert "could not be written" in said, (name, said)
        assert "File too large" in said, (name, said)
        fuzz.one_sentence(Exception(said.replace(str(tmp_path), "")))
    assert len(found["same"]) == 9
    assert all(found["same"].values()), found["same"]
    assert [name for name in found["left"] if not name.endswith(".lock")] == []


def test_places_where_no_file_can_be_made(tmp_path):
    for path, words in ((tmp_path / ("x" * 250), "could not be written"), (tmp_path, "is a folder: give the name")):
        with pytest.raises(InspectorError, match=words) as caught, written_whole(path) as part:
            part.write_text("new")
        fuzz.one_sentence(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_upload_that_finds_no_room_says_so(monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InspectorError, match="could not be put in this server's temporary folder") as caught:
        uploads.read(b"any", "mine.safetensors")
    fuzz.one_sentence(caught.value)


# -- killed at any moment ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", list(KILLS))
def test_killed_at_any_moment_it_is_whole_or_absent(model, gguf, tmp_path, what):
    seen = child(KILLED, what, model, gguf, tmp_path, KILLS[what])
    assert seen["whole"] + seen["absent"] == KILLS[what]
    assert seen["unfinished"] >= KILLS[what] // 2, seen  # most were killed while they worked


# -- the hub ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repositories")
    for name in ("stalls", "shared", "heals", "full"):
        test_loading.save_model(root / "owner" / name)
    return root


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub(root) as server:
        yield server


@pytest.fixture(scope="module")
def clients(server: LoopbackHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Client]]:
    """Two processes with one cache, patient for one second."""
    cache = tmp_path_factory.mktemp("hub-cache")
    with contextlib.ExitStack() as stack:
        made = [Client(server.url, cache, HF_HUB_DOWNLOAD_TIMEOUT="1") for _ in range(2)]
        for client in made:
            stack.enter_context(contextlib.closing(client))
        for client in made:
            client("known")  # it has started, so that a test measures the waiting alone
        yield made[0], made[1]


@pytest.fixture(autouse=True)
def obedient(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "server" in request.fixturenames:
        server = request.getfixturevalue("server")
        server.stall.clear()
        server.released.set()  # ends the silences of this test
        server.released = threading.Event()
        server.requests.clear()


def test_a_hub_that_says_nothing_is_given_up(clients, server):
    server.stall[""] = 0
    started = time.monotonic()
    error = clients[0]("resolve", name="owner/stalls")["error"]
    assert time.monotonic() - started < 60
    assert "did not answer (timed out) about 'owner/stalls'" in error
    fuzz.one_sentence(Exception(error))
    assert "did not answer" in clients[0]("check", name="owner/stalls")["error"]


def test_a_download_that_falls_silent_is_given_up_and_goes_on_later(clients, server, root):
    server.stall["model.safetensors"] = 1000
    started = time.monotonic()
    error = clients[0]("resolve", name="owner/stalls")["error"]
    assert time.monotonic() - started < 60
    assert "broke off (timed out) while 'owner/stalls' was downloading" in error
    fuzz.one_sentence(Exception(error))
    server.stall.clear()
    assert whole(clients[0]("resolve", name="owner/stalls"), root / "owner/stalls")


def test_a_silent_hub_does_not_keep_a_cached_model_away(clients, server):
    cached = clients[0]("resolve", name="owner/shared")
    server.stall[""] = 0
    again = clients[0]("resolve", name="owner/shared")
    assert again["folder"] == cached["folder"]
    assert "the hub was not reached" in again["note"]


def test_two_processes_download_the_same_model_at_once(clients, server, root):
    shutil.rmtree(Path(clients[0]("resolve", name="owner/shared")["folder"]).parents[1])
    got: dict[int, dict[str, Any]] = {}

    def ask(index: int) -> None:
        got[index] = clients[index]("load", name="owner/shared")

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert got[0]["logits"] == got[1]["logits"]
    assert whole(got[0], root / "owner/shared")


@pytest.mark.parametrize("how", ["cut", "garbled header", "empty", "cut settings"])
def test_a_damaged_hub_cache_heals_itself(clients, server, root, how):
    folder = Path(clients[0]("resolve", name="owner/heals")["folder"])
    blob = (folder / ("config.json" if how == "cut settings" else "model.safetensors")).resolve()
    size = blob.stat().st_size
    if how == "garbled header":
        content = bytearray(blob.read_bytes())
        content[8:40] = bytes(32)
        blob.write_bytes(content)
    else:
        os.truncate(blob, 0 if how == "empty" else size // 2)
    server.requests.clear()
    got = clients[0]("load", name="owner/heals")
    assert "logits" in got, got
    assert whole(got, root / "owner/heals")
    assert len(server.bodies(Path(blob).name) or server.bodies("model.safetensors") + server.bodies("config.json")) == 1


def test_a_full_disk_while_downloading_is_said(clients, server, root):
    limited = clients[1]
    limited("known")
    resource.prlimit(limited.process.pid, resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    error = limited("resolve", name="owner/full")["error"]
    assert "'owner/full' could not be written to" in error
    assert "File too large" in error
    fuzz.one_sentence(Exception(error))
    resource.prlimit(limited.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert whole(limited("resolve", name="owner/full"), root / "owner/full")


def whole(got: dict[str, Any], repository: Path) -> bool:
    """Whether every file of the folder is the repository's, byte for byte."""
    files = [path for path in Path(got["folder"]).iterdir() if path.is_file()]
    return len(files) >= 4 and all(path.read_bytes() == (repository / path.name).read_bytes() for path in files)


WALL_CLOCK = re.compile(r"\b(time\.time(_ns)?|datetime\.now|utcnow|date\.today|localtime|gmtime)\b")


def test_no_wait_and_no_limit_follows_a_clock_that_may_jump():
    """Deadlines and pauses count by the monotonic clock, which nobody can set; dates are read to be written down."""
    root = Path(__file__).parent.parent
    sources = [path for folder in ("inspector", "reimpl") for path in sorted((root / folder).rglob("*.py"))]
    assert len(sources) > 300
    found = [path.relative_to(root).as_posix() for path in sources if WALL_CLOCK.search(path.read_text("utf-8"))]
    assert found == ["inspector/atlas/writing.py", "inspector/coverage/document.py"]
    assert WALL_CLOCK.search("until = time.time() + 5")  # a negative control

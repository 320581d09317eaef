"""What a client sends that no page of the app sends: refused, bounded, and nobody else notices."""

from __future__ import annotations

import asyncio
import http.client
import json
import resource
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlparse

import numpy as np
import pytest
import tiny
from browser_app import running_app, until
from protocol_client import Client, component
from safetensors.numpy import load
from server_process import MEGABYTE, process_of
from streamlit import config
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import CloseCode

import inspector
from inspector.model.memory import MEMORY_VARIABLE
from inspector.ui.server import request_checks, reruns, sessions, upload_limits
from inspector.ui.server.settings import MODELS_VARIABLE

PROMPT = "w1 w2 w3 w4 w5 w6 w7 w8 w9"
MOST = 5  # megabytes of an upload
BURST = 120


class Server:
    """One server for all tests here: it is small, so that limits are near."""

    def __init__(self, address: str, folder: Path, output: Path, temporary: Path) -> None:
        self.address, self.folder, self.output, self.temporary = address, folder, output, temporary

    def ask(self, path: str, *, host: str | None = None, method: str = "GET") -> http.client.HTTPResponse:
        """The answer to a request."""
        connection = http.client.HTTPConnection(urlparse(self.address).netloc, timeout=20)
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host or urlparse(self.address).netloc)
        connection.endheaders()
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer

    def visitor(self, **options: Any) -> Client:
        """A visitor who has come."""
        client = Client(self.address, **options)
        client.run()
        return client


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("server")
    folder, temporary = tiny.save("grouped", tmp_path_factory.mktemp("tiny")), base / "temporary"
    temporary.mkdir()
    environment = {MODELS_VARIABLE: json.dumps([str(folder)]), MEMORY_VARIABLE: "0.1", "TMPDIR": str(temporary)}
    flag = f"--server.maxUploadSize={MOST}"
    with running_app(flag, environment=environment, says=base / "output") as address:
        yield Server(address, folder, base / "output", temporary)


def see(client: Client, prompt: str, *, widgets: dict[str, dict[str, Any]] | None = None) -> list[ForwardMsg]:
    """Ask for a prompt as the browser's tab does; all messages of the run."""
    reader = component(client.run(), "tab_reader")
    return client.run(said={"request": {"prompt": prompt}}, by=reader, event="said", widgets=widgets)


# -- who may ask, and from where --------------------------------------------------------------------------------------


def test_no_foreign_page_may_frame_the_app(server):
    for path in ("/", "/_stcore/health", "/_stcore/host-config", "/no/such/page"):
        answer = server.ask(path)
        assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'self'"
        assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"


def test_other_names_get_no_page_and_nobody_gets_the_servers_counts(server):
    assert server.ask("/").status == 200
    for path in ("/", "/_stcore/host-config", "/static/js/x.js", "/_stcore/upload_file/a/b"):
        assert server.ask(path, host="attacker.example").status == 403
    assert server.ask(request_checks.HEALTH, host="10.0.0.7:8501").status == 200  # as a proxy asks
    assert [server.ask(path).status for path in request_checks.CLOSED] == [404]


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost:3000", None),  # another program's page on the visitor's own machine
        ("http://127.0.0.1", None),
        ("null", None),
        ("https://attacker.example", None),
        ("http://attacker.example", "attacker.example"),
    ],
)
def test_no_other_page_opens_a_websocket(server, origin, host):
    with pytest.raises(InvalidStatus, match="403"):
        Client(server.address, origin=origin, host=host)


def test_a_session_comes_back_to_its_own_browser_only(server):
    mine = server.visitor()
    other = server.visitor(session=mine.session)
    assert other.session != mine.session
    mine.close()
    back = server.visitor(session=mine.session, cookie=mine.cookie)
    assert back.session == mine.session
    for client in (other, back):
        client.close()


# -- what takes memory ------------------------------------------------------------------------------------------------


def test_uploads_are_bounded_one_by_one_by_session_and_all_together(server):
    clients = [server.visitor()]
    mine = clients[0]
    assert mine.upload(b"x" * 1000, length=False) == 411
    assert mine.upload(b"x" * ((MOST + 1) * MEGABYTE)) == 413
    assert [mine.upload(b"x" * 3 * MEGABYTE) for _ in range(2)] == [204, 413]
    assert mine.upload(b"x" * 1000) == 204  # there is still room for a small one
    rooms = 10**8 // upload_limits.PART // MEGABYTE // 3
    for _ in range(rooms):
        clients.append(server.visitor())
        status = clients[-1].upload(b"x" * 3 * MEGABYTE)
        if status != 204:
            break
    assert status == 507
    for client in clients:
        client.close()
    server.left = time.monotonic()
    late = server.visitor()
    until(lambda: late.upload(b"x" * 3 * MEGABYTE) == 204, sessions.GRACE_SECONDS + 15)  # they went with their pages
    late.close()


def test_uploads_on_their_way_count_and_so_does_their_number(monkeypatch):
    stored: dict[str, dict[int, Any]] = {}
    manager = SimpleNamespace(_lock=threading.Lock(), file_storage=stored)
    monkeypatch.setattr(upload_limits, "_manager", lambda: manager)
    monkeypatch.setattr(upload_limits, "note_files", lambda _: None)
    most = str(config.get_option("server.maxUploadSize") * MEGABYTE)
    for _ in range(2):  # what has arrived is on its way no longer
        with upload_limits.upload_room("a", most), pytest.raises(upload_limits.Refused) as refused:
            upload_limits.upload_room("a", most).__enter__()
        assert refused.value.status == 413
    stored["a"] = {number: SimpleNamespace(data=b"") for number in range(upload_limits.MOST_FILES)}
    with upload_limits.upload_room("b", "1"), pytest.raises(upload_limits.Refused, match="500 files"):
        upload_limits.upload_room("a", "1").__enter__()


def test_an_upload_that_does_not_go_on_is_ended(monkeypatch):
    """Its room is the others' again."""

    async def reads(_scope: Any, receive: Any, _send: Any) -> None:
        while True:
            await receive()

    async def ask(after: float) -> list[Any]:
        said: list[Any] = []

        async def arrives() -> dict[str, Any]:
            await asyncio.sleep(after)
            return {"type": "http.request", "body": b"x", "more_body": True}

        async def send(message: Any) -> None:
            said.append(message)

        head = [(b"host", b"localhost"), (b"content-length", b"9")]
        scope = {"type": "http", "method": "PUT", "path": f"{request_checks.UPLOADS}a/b", "headers": head}
        await request_checks.RequestChecks(reads)(scope, arrives, send)
        return said

    monkeypatch.setattr(request_checks, "upload_room", lambda *_: nullcontext(0.2))
    for after in (10, 0.05):  # nothing, and a little again and again
        with ThreadPoolExecutor() as elsewhere:  # another test's browser may run a loop in this thread
            start, body = elsewhere.submit(asyncio.run, ask(after)).result()
        assert start["status"] == 408
        assert body["body"].endswith(b"send it again.")


def test_an_upload_that_the_disk_has_no_room_for_is_refused(server):
    client, process = server.visitor(), process_of(server.address)
    _, most = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1000, most))
    try:
        assert client.upload(b"x" * 2 * MEGABYTE) == 507
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, most))
    assert client.upload(b"x" * 2 * MEGABYTE) == 204
    client.close()
    assert "Unforeseen OSError" not in server.output.read_text(encoding="utf-8")


def test_a_message_that_is_too_long_is_refused_before_it_has_come(server):
    client = server.visitor()
    client.announce(26 * 10**6)
    with pytest.raises(ConnectionClosed) as closed:
        client.run(seconds=20)
    assert closed.value.rcvd.code == CloseCode.MESSAGE_TOO_BIG


def test_many_reruns_at_once_are_few_threads_and_others_are_answered(server):
    other, flood, process = server.visitor(), server.visitor(), process_of(server.address)
    for client in (other, flood):
        see(client, PROMPT)  # a whole page, which takes its time
    counts, done = [process.num_threads()], threading.Event()

    def count() -> None:
        while not done.wait(0.01):
            counts.append(process.num_threads())

    counting = threading.Thread(target=count)
    counting.start()
    for _ in range(BURST):
        flood.send(rerun_script={"query_string": "", "page_name": "pair"})
    started = time.monotonic()
    other.run()
    took = time.monotonic() - started
    newest = flood.run(page="pair")[-1]
    done.set()
    counting.join()
    more = max(counts) - counts[0]
    print(f"{more} more threads; another visitor's page took {took:.1f} s")
    assert more <= reruns.MOST_THREADS + 8  # the other's, what they make, and torch's own
    assert newest.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY  # the newest one counts
    for client in (other, flood):
        client.close()


def test_who_clears_their_own_state_goes_on(server):
    client = server.visitor()
    talk = component(see(client, PROMPT), "talk")
    client.send(clear_cache=True)
    client.run(said={"version": 1}, by=talk, event="question")
    assert see(client, PROMPT)
    client.close()
    assert "KeyError" not in server.output.read_text(encoding="utf-8")


def test_a_model_deleted_while_it_is_served_is_a_sentence_until_it_is_back(server):
    clients = [server.visitor() for _ in range(2)]
    see(clients[0], PROMPT)
    away = server.folder.rename(server.folder.with_name("away"))
    try:
        answers = [clients[0].run(), see(clients[1], PROMPT)]
    finally:
        away.rename(server.folder)
    for found in answers:
        elements = [each.delta.new_element for each in found]
        said = [each.alert.body for each in elements if each.HasField("alert")]
        assert "There is no file or folder" in said[0]
        assert not any(each.HasField("exception") for each in elements)
    clients.append(server.visitor())  # a reload
    assert component(see(clients[-1], PROMPT), "explore")
    for client in clients:
        client.close()


# -- downloads --------------------------------------------------------------------------------------------------------


def buttons(client: Client) -> dict[str, str]:
    """The download buttons of Export, label -> id of the file."""
    messages = see(client, PROMPT)
    (export,) = [each.delta.add_block.popover.id for each in messages if each.delta.add_block.popover.label == "Export"]
    found = client.run(widgets={export: {"bool_value": True}})
    elements = [each.delta.new_element.download_button for each in found]
    return {each.label: each.deferred_file_id for each in elements if each.label}


def test_a_download_is_made_for_its_own_session_only(server):
    mine, other = server.visitor(), server.visitor()
    file = buttons(mine)["Vectors (safetensors)"]
    assert other.download(file) == "This page has changed since: click once more."
    with pytest.raises(AssertionError):
        assert mine.download("no such file").startswith("/media")
    path = mine.download(file)
    connection = http.client.HTTPConnection(urlparse(server.address).netloc, timeout=20)
    for _ in range(3):  # others' pages run meanwhile: the file stays
        other.run()
    connection.request("GET", path)
    vectors = load(connection.getresponse().read())
    connection.close()
    trace = inspector.load(server.folder).trace(PROMPT)
    query = vectors["query_after_rope"]
    assert any(np.array_equal(query, trace.query(*head).numpy()) for head in np.ndindex(len(trace.layers), 4))
    for client in (mine, other):
        client.close()


def test_a_file_that_cannot_be_made_is_a_sentence_and_the_log_has_no_words(server):
    client = server.visitor()
    file = next(id for label, id in buttons(client).items() if label.startswith("Whole trace"))
    assert client.download(file).startswith("/media/")  # the server has chosen its temporary folder
    shutil.rmtree(server.temporary)
    try:
        said = client.download(file)
    finally:
        server.temporary.mkdir()
    assert said.startswith("This did not work (FileNotFoundError")
    assert client.download(file).startswith("/media/")  # and the next one is made
    client.close()
    log = server.output.read_text(encoding="utf-8")
    assert "Unexpected FileNotFoundError" in log
    assert str(server.temporary) not in log
    assert "Traceback" not in log

"""Starting the app: as closed by `streamlit run app.py` as by the command, one sentence where it cannot start."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from pathlib import Path

import psutil
import pytest
from browser_app import running_app
from streamlit import net_util
from streamlit.testing.v1 import AppTest

from inspector.errors import InspectorError
from inspector.loading.source import PACKAGED
from inspector.ui import state
from inspector.ui.server import launch, settings, streamlit_patches

ROOT = Path(__file__).resolve().parents[1]


def flat(table, before=""):
    for name, value in table.items():
        if isinstance(value, dict):
            yield from flat(value, f"{before}{name}.")
        else:
            yield before + name, value


def test_the_config_file_says_what_the_commands_flags_say():
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    assert dict(flat(config)) == launch.FLAGS


def test_streamlit_knows_every_flag():
    from streamlit import config

    assert set(launch.FLAGS) <= set(config._config_options_template)
    assert "--server.headless=true" in launch.arguments()
    assert launch.arguments().count("--server.allowedHosts=127.0.0.1") == 1


@pytest.mark.parametrize(("watched", "asked"), [("none", 0), ("poll", 1)])
def test_files_that_nobody_watches_are_not_looked_for(monkeypatch, watched, asked):
    """4,000 modules, asked in the thread that serves everybody."""
    from streamlit import config
    from streamlit.watcher.local_sources_watcher import LocalSourcesWatcher

    looks = []
    streamlit_patches.mend_streamlit()
    monkeypatch.setattr(streamlit_patches, "_look_for_files", looks.append)
    monkeypatch.setattr(config, "get_option", {"server.fileWatcherType": watched}.get)
    LocalSourcesWatcher.update_watched_modules(object())
    assert len(looks) == asked


@pytest.mark.parametrize("told", [True, False])
def test_streamlit_asks_nobody_for_this_machines_address(monkeypatch, told):
    """Red where a new Streamlit keeps the answer under another name; untold it does ask, so the test sees it."""
    asked = []

    def refuse(*place, **_):
        asked.append(place)
        raise OSError("the network is cut")

    monkeypatch.setattr(net_util, "_external_ip", None)
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    if told:
        streamlit_patches.ask_nobody()
    assert (net_util.get_external_ip() == "localhost") == told
    assert (not asked) == told


def test_a_taken_port_is_one_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InspectorError, match=rf"Port {port} cannot be used .* --port {port % 65535 + 1}\.$"):
            launch.start_server(port=port, open_browser=False)
    with pytest.raises(InspectorError, match="between 1 and 65535"):
        launch.start_server(port=70000, open_browser=False)


def handshake(port: int, host: str, *, origin: str = "") -> int:
    """The status Streamlit answers a WebSocket request for this Host with, as a page from `origin` sends it."""
    said = f"Origin: {origin}\r\n" if origin else ""
    with socket.create_connection(("localhost", port), timeout=10) as connection:
        connection.sendall(
            f"GET /_stcore/stream HTTP/1.1\r\nHost: {host}\r\n{said}Connection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        return int(connection.recv(1024).split()[1])


def other_addresses() -> list[str]:
    """This machine's own addresses that are not loopback."""
    found = {entry[4][0] for entry in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # a datagram socket: nothing is sent
            found.add(probe.getsockname()[0])
        except OSError:
            pass  # no way out of this machine: nothing more to try
    return [address for address in found if not address.startswith("127.")]


def controllers(address: str) -> list[str]:
    """The origins whose pages may frame the app and control it by postMessage, as its page is told."""
    with urllib.request.urlopen(f"{address}/_stcore/host-config", timeout=10) as answer:  # noqa: S310
        found: list[str] = json.load(answer)["allowedOrigins"]
    return found


def test_streamlit_by_itself_would_let_foreign_pages_control_the_app():
    """Else the flag would guard against nothing."""
    from streamlit import config

    assert "https://*.streamlit.app" in config._config_options_template["client.allowedOrigins"].default_val


def test_no_page_may_control_the_app():
    """Red where Streamlit takes the flag no longer, or serves other origins besides. See RFC 2606 for .invalid."""
    with running_app() as plain, running_app(*launch.arguments()) as told:
        for address in (plain, told):
            assert controllers(address)
            assert all(re.fullmatch(r"https://[a-z]+\.invalid", origin) for origin in controllers(address))


def test_a_plain_streamlit_run_listens_to_this_machine_and_these_hosts_alone():
    with running_app() as address:
        port = int(address.rsplit(":", 1)[1])
        assert handshake(port, f"localhost:{port}") == 101
        assert handshake(port, f"127.0.0.1:{port}") == 101
        assert handshake(port, f"[::1]:{port}") == 101
        assert handshake(port, f"attacker.example:{port}") == 403
        for other in other_addresses():
            with pytest.raises(OSError, match=r"refused|timed out|unreachable"):
                socket.create_connection((other, port), timeout=3)


def test_the_command_prints_the_address_and_takes_the_app_with_it(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = (
        "import sys; from inspector.ui.server.launch import start_server; "
        f"sys.exit(start_server(port={port}, open_browser=False))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert next(line for line in lines if "http" in line).startswith(
            f"Attention Inspector: http://localhost:{port} "
        )
        with urllib.request.urlopen(f"http://localhost:{port}/", timeout=10) as page:
            assert page.status == 200
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)
    finally:
        process.kill()
        if process.stdout:
            process.stdout.close()
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            socket.create_connection(("localhost", port), timeout=1).close()
        except OSError:
            return
        time.sleep(0.1)
    pytest.fail("the app outlived its launcher")


# -- for several people ----------------------------------------------------------------------------------


def flags(arguments: list[str], name: str) -> list[str]:
    return [text.split("=", 1)[1] for text in arguments if text.startswith(f"--{name}=")]


def test_another_address_is_allowed_by_its_own_name_and_loopbacks_alone():
    assert flags(launch.arguments(), "server.address") == ["localhost"]
    assert flags(launch.arguments(), "server.allowedHosts") == ["localhost", "127.0.0.1", "::1"]
    served = launch.arguments("192.0.2.7", ["class.example.org"])
    assert flags(served, "server.address") == ["192.0.2.7"]
    assert flags(served, "server.allowedHosts") == ["localhost", "127.0.0.1", "::1", "192.0.2.7", "class.example.org"]
    assert flags(launch.arguments("0.0.0.0"), "server.allowedHosts") == ["localhost", "127.0.0.1", "::1"]
    assert set(served) - set(launch.arguments()) == {
        "--server.address=192.0.2.7",
        "--server.allowedHosts=192.0.2.7",
        "--server.allowedHosts=class.example.org",
        f"--server.maxUploadSize={launch.OTHERS_UPLOAD_MB}",
    }


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"host": "192.0.2.7"}, r"--host 192\.0\.2\.7 is not an address of this machine .* or 0\.0\.0\.0 for all"),
        ({"host": "no.such.name.invalid"}, r"--host no\.such\.name\.invalid is not an address of this machine"),
        ({"allow_hosts": ["http://class.example.org"]}, r"--allow-host 'http://class\.example\.org' is no host name"),
        ({"allow_hosts": ["*"]}, r"--allow-host '\*' is no host name: give the name alone"),
        ({"allow_hosts": ["a b"]}, "is no host name"),
        ({"most_tokens": 0}, r"--most-tokens 0 allows no prompt at all: give at least 1\."),
        ({"most_written": -1}, r"--most-written -1 cannot be: give 0 \(no writing\) or more\."),
        ({"memory_gb": 0.0}, r"--memory-gb is '0\.0': give a number of gigabytes above 0, such as 8\."),
        ({"memory_gb": "12GB"}, r"--memory-gb is '12GB'"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(given, sentence):
    with pytest.raises(InspectorError, match=sentence):
        launch.start_server(open_browser=False, **given)


def test_a_mistyped_limit_is_not_silently_none(monkeypatch):
    monkeypatch.setenv(settings.TOKENS_VARIABLE, "lots")
    with pytest.raises(InspectorError, match="ATTENTION_INSPECTOR_MOST_TOKENS is 'lots': set it to a whole number"):
        launch.start_server(open_browser=False)


@pytest.mark.packaged
def test_limits_refuse_with_value_limit_and_next_step(smollm, monkeypatch):
    assert settings.limits() == settings.Limits(None, 200)
    monkeypatch.setenv(settings.TOKENS_VARIABLE, "8")
    monkeypatch.setenv(settings.WRITTEN_VARIABLE, "5")
    told = settings.limits()
    told.check(smollm, "Houston, we have a problem", 5)  # 8 tokens
    with pytest.raises(InspectorError, match=r"The prompt has 9 tokens, and this server allows 8: shorten it"):
        told.check(smollm, "Houston, we have a problem.", 0)
    with pytest.raises(InspectorError, match=r"write 6 tokens is more than the 5 that this server allows: ask for few"):
        told.check(smollm, "Houston", 6)


@pytest.mark.packaged
def test_the_app_keeps_to_the_limits(monkeypatch):
    monkeypatch.setenv(settings.TOKENS_VARIABLE, "8")
    monkeypatch.setenv(settings.WRITTEN_VARIABLE, "0")
    app = AppTest.from_file(str(Path(launch.__file__).parents[1] / "main.py"), default_timeout=60)
    app.session_state["request"] = state.Request(PACKAGED, "one two three four five six seven eight nine ten")
    app.run()
    assert "this server allows 8" in app.error[0].value
    assert not app.number_input  # no writing: no field for it


def start(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "import sys; from inspector.cli import main; sys.exit(main())", "app", *arguments]
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **both)


def test_served_to_others_it_says_which_names_it_answers_and_asks_nobody_about_foreign_pages():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = start("--host", "0.0.0.0", "--port", str(port))
    try:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        said = [next(line for line in lines if "http" in line), next(lines)]
        assert said[0].startswith(f"Attention Inspector: http://localhost:{port} ")
        assert said[1].startswith("It listens on 0.0.0.0 and answers only requests for localhost, 127.0.0.1, ::1: give")
        assert "--allow-host NAME" in said[1]
        (server,) = psutil.Process(process.pid).children()
        assert server.environ().items() >= launch.FOR_MANY.items()
        assert handshake(port, f"localhost:{port}") == 101
        for other in other_addresses():
            assert handshake(port, f"{other}:{port}") == 403
        assert handshake(port, f"localhost:{port}", origin="http://attacker.example") == 403
        os.killpg(process.pid, signal.SIGINT)  # Ctrl+C, which reaches the launcher and Streamlit
        rest, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert "external IP" not in rest  # what Streamlit says when it has asked outside and got no answer
    assert (rest.strip(), process.returncode) == ("", 0)  # nor "Aborted!"


def test_streamlit_by_itself_would_ask_outside(tmp_path):
    """Else `ask_nobody` would guard against nothing."""
    bare = tmp_path / "bare.py"  # without our checks in front
    bare.write_text("import streamlit as st\nst.text('here')\n")
    with running_app(script=str(bare), bare=True, says=tmp_path / "output") as address:
        port = int(address.rsplit(":", 1)[1])
        assert handshake(port, f"localhost:{port}", origin="http://attacker.example") == 403
        assert "external IP" in (tmp_path / "output").read_text(encoding="utf-8")

"""Starting the app: as closed by `streamlit run app.py` as by the command, one sentence where it cannot start."""

import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from pathlib import Path

import pytest
from browser_app import running_app

from inspector.errors import InspectorError
from inspector.ui import launch

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


def test_a_taken_port_is_one_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InspectorError, match=rf"Port {port} cannot be used .* --port {port % 65535 + 1}\.$"):
            launch.launch(port=port, open_browser=False)
    with pytest.raises(InspectorError, match="between 1 and 65535"):
        launch.launch(port=70000, open_browser=False)


def handshake(port: int, host: str) -> int:
    """The status Streamlit answers a WebSocket request for this Host with."""
    with socket.create_connection(("localhost", port), timeout=10) as connection:
        connection.sendall(
            f"GET /_stcore/stream HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
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
    code = f"import sys; from inspector.ui.launch import launch; sys.exit(launch(port={port}, open_browser=False))"
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

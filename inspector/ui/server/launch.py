"""Start the app in a process of its own, closed to everything but this machine unless told otherwise.

FLAGS is the whole configuration; `.streamlit/config.toml` says the same for a plain `streamlit run app.py`
(a test holds them equal), so that neither way of starting is more open than the other.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inspector.errors import InspectorError
from inspector.judging.callables import refuse_no_name
from inspector.model.memory import MEMORY_VARIABLE, memory_budget, memory_bytes
from inspector.ui.server.findings import read_findings
from inspector.ui.server.settings import (
    ATLAS_VARIABLE,
    HEADS_VARIABLE,
    JUDGE_VARIABLE,
    LOOPBACK,
    MODEL_VARIABLE,
    MODELS_VARIABLE,
    TOKENS_VARIABLE,
    WRITTEN_VARIABLE,
    limits,
)

DEFAULT_PORT = 8501
START_SECONDS = 60.0
OTHERS_UPLOAD_MB = 50  # of a file, where others can reach the server; on one's own machine as much as a page reads

FLAGS: dict[str, str | bool | list[str]] = {
    "server.address": "localhost",  # without it Streamlit listens on every interface
    "server.allowedHosts": ["localhost", "127.0.0.1", "::1"],  # against DNS rebinding
    "server.headless": True,  # no question about an e-mail address, no browser opened by itself
    "server.fileWatcherType": "none",  # it would walk through torch's and transformers' modules
    "browser.gatherUsageStats": False,
    # Streamlit searches for unused objects after each run, a third of a second with a model loaded: see garbage.py.
    "runner.postScriptGC": False,
    # Pages of these origins may frame the app and control it by postMessage; Streamlit's default is everybody's page at
    # its own hosting service. No host can have a name under .invalid (RFC 2606), so that this allows none.
    "client.allowedOrigins": ["https://nobody.invalid"],
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",  # the terminal has the traceback
    "client.showErrorLinks": False,  # they lead to search engines
    "theme.baseRadius": "8px",
    "theme.paddingTop": "1rem",
    "theme.headingFontSizes": ["1.75rem", "1.25rem", "1rem", "0.875rem"],
    "theme.light.primaryColor": "#b8430a",
    "theme.light.backgroundColor": "#ffffff",
    "theme.light.secondaryBackgroundColor": "#f3f5f8",
    "theme.light.textColor": "#0e141c",
    "theme.light.borderColor": "#d5dae1",
    "theme.dark.primaryColor": "#ff9a62",
    "theme.dark.backgroundColor": "#0f141b",
    "theme.dark.secondaryBackgroundColor": "#1a212b",
    "theme.dark.textColor": "#e6eaf0",
    "theme.dark.borderColor": "#333d4a",
}


EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - what one types to listen on every address of a machine; nobody visits it
# Threads of one pass that wait for each other sleep instead of spinning: where many ask, the other pass can use the
# core. For one visitor alone a short pass takes a third longer so, and a server of one's own leaves it.
FOR_MANY = {"OMP_WAIT_POLICY": "PASSIVE"}


def arguments(host: str | None = None, allow_hosts: Sequence[str] = ()) -> list[str]:
    """Write FLAGS as `streamlit run` takes them.

    Args:
        host: the address to listen on; None: loopback.
        allow_hosts: names under which the app may be asked for besides.

    Returns:
        Arguments of the command line.
    """
    flags: dict[str, Any] = FLAGS | {"server.allowedHosts": names(host, allow_hosts)}
    if host:
        flags["server.address"] = host
    if allow_hosts or (host or "localhost") not in LOOPBACK:
        flags["server.maxUploadSize"] = OTHERS_UPLOAD_MB
    return [
        f"--{name}={str(one).lower() if isinstance(one, bool) else one}"
        for name, value in flags.items()
        for one in (value if isinstance(value, list) else [value])  # a list is a flag that stands several times
    ]


def start_server(
    model: str | None = None,
    *,
    port: int | None = None,
    models: list[str] | None = None,
    host: str | None = None,
    allow_hosts: Sequence[str] | None = None,
    most_tokens: int | None = None,
    most_written: int | None = None,
    memory_gb: float | str | None = None,
    judge: Sequence[str] | None = None,
    atlas: Sequence[str] | None = None,
    heads: Sequence[str] | None = None,
    open_browser: bool = True,
) -> int:
    """Run the app until it ends or is interrupted. None leaves a limit as the environment says.

    Args:
        model: the model that is shown first; None: the packaged one.
        port: the port to listen on; None: DEFAULT_PORT.
        models: visitors choose among these only; None or empty: whoever can reach a local server may type any.
        host: the address to listen on; None: loopback.
        allow_hosts: names under which the app may be asked for besides.
        most_tokens: the most tokens of a prompt.
        most_written: the most tokens that the model writes.
        memory_gb: gigabytes for models and traces, and as much again for what is being made.
        judge: your own attentions, each package.module:function or file.py:function, that the page Verify may run; on
            loopback only.
        atlas: folders that atlas.build has written, which the page Atlas shows to every visitor.
        heads: JSON files of the command heads, whose labels stand on the cards of that page.
        open_browser: whether a browser is opened, where there is a screen.

    Returns:
        The app's exit status.

    Raises:
        InspectorError: where the port is taken, and for a value that cannot be.
    """
    chosen = DEFAULT_PORT if port is None else port
    allowed = [name.strip() for name in allow_hosts or []]
    told = _told(most_tokens, most_written, memory_gb)
    _refuse_names(allowed)
    _refuse_judge(judge or [], host, allowed)
    _refuse_no_atlas(atlas or [])
    for file in heads or []:
        read_findings(Path(file))
    _refuse_taken(chosen, host or "127.0.0.1")
    main = Path(__file__).resolve().parents[1] / "asgi.py"
    command = [
        sys.executable,
        "-m",
        "inspector.ui.server.streamlit_process",
        "run",
        str(main),
        *arguments(host, allowed),
    ]
    command += [f"--server.port={chosen}", "--logger.hideWelcomeMessage=true"]
    # By the environment, never by the address: a link must not choose what this machine loads.
    environment = {**os.environ, MODEL_VARIABLE: model or "", MODELS_VARIABLE: json.dumps(models or [])} | told
    environment[JUDGE_VARIABLE] = json.dumps(list(judge or []))
    environment[ATLAS_VARIABLE] = json.dumps([str(Path(folder).resolve()) for folder in atlas or []])
    environment[HEADS_VARIABLE] = json.dumps([str(Path(file).resolve()) for file in heads or []])
    # Streamlit puts asgi.py's own folder on the path; `inspector` itself must be found from anywhere.
    paths = [str(main.parents[2]), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    if host and host not in LOOPBACK:
        environment = FOR_MANY | environment
    app = subprocess.Popen(command, env=environment)  # noqa: S603 - our own interpreter and file
    restore = _pass_on_termination(app)
    try:
        name = "localhost" if host is None or host in (*LOOPBACK, *EVERYWHERE) else _bracketed(host)
        address = f"http://{name}:{chosen}"
        if _answers(app, address):
            print(f"Attention Inspector: {address}  (Ctrl+C ends it)", flush=True)
            if host and host not in LOOPBACK and not allowed:
                print(_only_these(host), flush=True)
            if open_browser and _has_a_screen():
                webbrowser.open(address)
        return app.wait()
    except KeyboardInterrupt:
        print(flush=True)  # the terminal has written ^C
        return 0  # Ctrl+C is how one ends it; the app got the signal too
    finally:
        signal.signal(signal.SIGTERM, restore)
        if app.poll() is None:
            app.terminate()
            try:
                app.wait(timeout=10)
            except subprocess.TimeoutExpired:
                app.kill()


def names(host: str | None, allow_hosts: Sequence[str]) -> list[str]:
    """Return the host names that requests may be for.

    Args:
        host: the address to listen on; None: loopback.
        allow_hosts: names that are allowed besides.

    Returns:
        Loopback's names, the address itself where people can ask for it, and those allowed besides.
    """
    own = [host] if host and host not in EVERYWHERE else []
    return list(dict.fromkeys([*LOOPBACK, *own, *allow_hosts]))


def _only_these(host: str) -> str:
    """Say which names the app answers to."""
    return (
        f"It listens on {host} and answers only requests for {', '.join(names(host, []))}: "
        "give --allow-host NAME for every other name or address that people type."
    )


def _told(most_tokens: int | None, most_written: int | None, memory_gb: float | str | None) -> dict[str, str]:
    """Write the limits as environment variables; raise InspectorError for one that cannot be."""
    if most_tokens is not None and most_tokens < 1:
        raise InspectorError(f"--most-tokens {most_tokens} allows no prompt at all: give at least 1.")
    if most_written is not None and most_written < 0:
        raise InspectorError(f"--most-written {most_written} cannot be: give 0 (no writing) or more.")
    limits()  # what the environment says already must make sense, too
    if memory_gb is None:
        memory_budget()
    else:
        memory_bytes(memory_gb, "--memory-gb")
    told = {TOKENS_VARIABLE: most_tokens, WRITTEN_VARIABLE: most_written, MEMORY_VARIABLE: memory_gb}
    return {name: str(value) for name, value in told.items() if value is not None}


def _refuse_names(allowed: Sequence[str]) -> None:
    """Refuse what is no host name: what stands in an address between http:// and the port, or *.domain."""
    for name in allowed:
        if not re.fullmatch(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*", name):
            raise InspectorError(
                f"--allow-host '{name}' is no host name: give the name alone, without http://, port or path, for "
                "example --allow-host attention.example.org."
            )


def _bracketed(host: str) -> str:
    """Write an address as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def _refuse_taken(port: int, host: str) -> None:
    """Refuse a port that cannot be listened on."""
    if not 1 <= port <= 65535:
        raise InspectorError(f"Port {port} does not exist: choose one between 1 and 65535.")
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((place[0], 0))
    except OSError as error:
        raise InspectorError(
            f"--host {host} is not an address of this machine ({error.strerror}): give one that it has, or 0.0.0.0 for "
            "all of them."
        ) from None
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(place)
        except OSError as error:
            raise InspectorError(
                f"Port {port} cannot be used ({error.strerror}): another program may have it; "
                f"choose another one, for example --port {port % 65535 + 1}."
            ) from None


def _refuse_judge(judge: Sequence[str], host: str | None, allowed: Sequence[str]) -> None:
    """Refuse to offer somebody's own code where others can reach the server, and names that lead nowhere."""
    if judge and ((host or "localhost") not in LOOPBACK or allowed):
        where = f"--host {host}" if host and host not in LOOPBACK else f"--allow-host {allowed[0]}"
        raise InspectorError(
            f"--judge {judge[0]} runs your own code for whoever reaches the server, so it is for this machine alone: "
            f"leave {where} out."
        )
    for name in judge:
        refuse_no_name(name)


def _refuse_no_atlas(folders: Sequence[str]) -> None:
    """Refuse folders that hold no finished atlas."""
    if folders:
        from inspector import atlas

        for folder in folders:
            atlas.open(folder)


def _answers(app: subprocess.Popen[bytes], address: str) -> bool:
    """Wait until the app answers; False when it ended or did not answer in time."""
    until = time.monotonic() + START_SECONDS
    while app.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2):  # noqa: S310 - http, our own
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    return False


def _has_a_screen() -> bool:
    """Return whether there is a screen; else `webbrowser` would start a text browser in this very terminal."""
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _pass_on_termination(app: subprocess.Popen[bytes]) -> Any:
    """End the app when this launcher is terminated; return the handler that was there before."""

    def end(_number: int, _frame: object) -> None:
        app.terminate()

    return signal.signal(signal.SIGTERM, end)

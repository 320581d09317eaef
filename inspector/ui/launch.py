"""A model, a port and a list of models go in; a running app, closed to everything but this machine, comes out.

FLAGS is the whole configuration; `.streamlit/config.toml` says the same for a plain `streamlit run app.py`
(a test holds them equal), so that neither way of starting is more open than the other.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from pathlib import Path
from typing import Any

from inspector.errors import InspectorError
from inspector.ui.offer import MODEL_VARIABLE, MODELS_VARIABLE

DEFAULT_PORT = 8501
START_SECONDS = 60.0

FLAGS: dict[str, str | bool | list[str]] = {
    "server.address": "localhost",  # without it Streamlit listens on every interface
    "server.allowedHosts": ["localhost", "127.0.0.1", "::1"],  # against DNS rebinding
    "server.headless": True,  # no question about an e-mail address, no browser opened by itself
    "server.fileWatcherType": "none",  # it would walk through torch's and transformers' modules
    "browser.gatherUsageStats": False,
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",  # the terminal has the traceback
    "client.showErrorLinks": False,  # they lead to search engines
    "theme.baseRadius": "8px",
    "theme.paddingTop": "1rem",
    "theme.headingFontSizes": ["2rem", "1.5rem", "1.3rem", "1.1rem"],
    "theme.light.primaryColor": "#1f5fa8",
    "theme.light.backgroundColor": "#ffffff",
    "theme.light.secondaryBackgroundColor": "#f3f5f8",
    "theme.light.textColor": "#0e141c",
    "theme.light.borderColor": "#d5dae1",
    "theme.light.sidebar.backgroundColor": "#f3f5f8",
    "theme.light.sidebar.secondaryBackgroundColor": "#ffffff",
    "theme.dark.primaryColor": "#3584d4",
    "theme.dark.backgroundColor": "#0f141b",
    "theme.dark.secondaryBackgroundColor": "#1a212b",
    "theme.dark.textColor": "#e6eaf0",
    "theme.dark.borderColor": "#333d4a",
    "theme.dark.sidebar.backgroundColor": "#141a23",
    "theme.dark.sidebar.secondaryBackgroundColor": "#1f2833",
}


def arguments() -> list[str]:
    """FLAGS as `streamlit run` takes them."""
    return [
        f"--{name}={str(one).lower() if isinstance(one, bool) else one}"
        for name, value in FLAGS.items()
        for one in (value if isinstance(value, list) else [value])  # a list is a flag given several times
    ]


def launch(
    model: str | None = None,
    *,
    port: int | None = None,
    models: list[str] | None = None,
    open_browser: bool = True,
) -> int:
    """Run the app until it ends or is interrupted; returns its exit status.

    `model` is shown first; with `models` visitors choose among these only. Raises InspectorError where the
    port is taken.
    """
    chosen = DEFAULT_PORT if port is None else port
    _refuse_taken(chosen)
    main = Path(__file__).resolve().parent / "main.py"
    command = [sys.executable, "-m", "streamlit", "run", str(main), *arguments()]
    command += [f"--server.port={chosen}", "--logger.hideWelcomeMessage=true"]
    # By the environment, never by the address: a link must not choose what this machine loads.
    environment = {**os.environ, MODEL_VARIABLE: model or "", MODELS_VARIABLE: json.dumps(models or [])}
    # Streamlit puts main.py's own folder on the path; `inspector` itself must be found from anywhere.
    paths = [str(main.parents[2]), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    app = subprocess.Popen(command, env=environment)  # noqa: S603 - our own interpreter and file
    restore = _pass_on_termination(app)
    try:
        if _answers(app, chosen):
            address = f"http://localhost:{chosen}"
            print(f"Attention Inspector: {address}  (Ctrl+C ends it)", flush=True)
            if open_browser and _has_a_screen():
                webbrowser.open(address)
        return app.wait()
    except KeyboardInterrupt:
        return 0  # Ctrl+C is how one ends it; the app got the signal too
    finally:
        signal.signal(signal.SIGTERM, restore)
        if app.poll() is None:
            app.terminate()
            try:
                app.wait(timeout=10)
            except subprocess.TimeoutExpired:
                app.kill()


def _refuse_taken(port: int) -> None:
    if not 1 <= port <= 65535:
        raise InspectorError(f"Port {port} does not exist: choose one between 1 and 65535.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise InspectorError(
                f"Port {port} cannot be used ({error.strerror}): another program may have it; "
                f"choose another one, for example --port {port % 65535 + 1}."
            ) from None


def _answers(app: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the app answers; False when it ended or did not answer in time."""
    until = time.monotonic() + START_SECONDS
    while app.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    return False


def _has_a_screen() -> bool:
    """Without one, `webbrowser` would start a text browser in this very terminal."""
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _pass_on_termination(app: subprocess.Popen[bytes]) -> Any:
    """A terminated launcher takes the app with it; returns the handler that was there before."""

    def end(_number: int, _frame: object) -> None:
        app.terminate()

    return signal.signal(signal.SIGTERM, end)

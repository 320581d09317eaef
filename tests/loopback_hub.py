"""A folder goes in; a model hub on 127.0.0.1 comes out, serving the folder's repositories to the real client.

`root/owner/name/<files>` is the repository `owner/name`; its revision "main" is a commit made from the files'
contents. A test tells it to misbehave through its attributes and reads `requests` afterwards.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class Request:
    method: str
    path: str
    range: str | None  # the Range header
    authorization: str | None
    sent: int = 0  # bytes of the body


@dataclass
class LoopbackHub:
    """Start with `with LoopbackHub(root) as hub:`; `hub.url` is what HF_ENDPOINT names."""

    root: Path
    refuse: dict[str, tuple[int, str]] = field(default_factory=dict)  # repository -> (status, X-Error-Code)
    cut: dict[str, list[int]] = field(default_factory=dict)  # file -> after how many bytes each answer breaks off
    stall: dict[str, int] = field(default_factory=dict)  # file or "" for all -> bytes until the answer goes silent
    down: dict[str, int] = field(default_factory=dict)  # file or "" for all -> the status it answers instead
    requests: list[Request] = field(default_factory=list)

    def __enter__(self) -> LoopbackHub:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.released = threading.Event()  # ends every silence
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def files(self, repository: str) -> dict[str, Path]:
        folder = self.root / repository
        return {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*")) if p.is_file()}

    def commit(self, repository: str) -> str:
        text = "".join(f"{name} {etag(path)}\n" for name, path in self.files(repository).items())
        return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def bodies(self, file: str) -> list[Request]:
        """The GET requests for the contents of `file`."""
        return [r for r in self.requests if r.method == "GET" and r.path.endswith("/" + file)]


def etag(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        header = self.headers.get
        self.request = Request(self.command, path, header("Range"), header("Authorization"))
        self.hub.requests.append(self.request)
        parts = path.strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        parts = parts[2:] if api else parts
        # An id is "owner/name" or, as of old, a bare name.
        words = {"revision", "tree", "resolve"}
        length = next((i for i, part in enumerate(parts) if part in words), len(parts))
        repository, rest = "/".join(parts[:length]), parts[length:]
        if "" in self.hub.stall:  # it has taken the question, and says nothing
            self.hub.released.wait(300)
            self.close_connection = True
            return None
        if "" in self.hub.down:
            return self._send(self.hub.down[""], b"down")
        if repository in self.hub.refuse:
            status, code = self.hub.refuse[repository]
            return self._send(status, b"", {"X-Error-Code": code})
        if not repository or not (self.hub.root / repository).is_dir():
            return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        commit, files = self.hub.commit(repository), self.hub.files(repository)
        if len(rest) > 1 and rest[1] not in ("main", commit):
            return self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        if api and rest[:1] == ["tree"]:
            listing = [
                {"type": "file", "path": name, "size": p.stat().st_size, "oid": etag(p)[:40]}
                for name, p in files.items()
            ]
            return self._json(listing)
        if api:
            siblings = [{"rfilename": name, "size": p.stat().st_size} for name, p in files.items()]
            return self._json({"id": repository, "sha": commit, "siblings": siblings})
        file = "/".join(rest[2:])
        if file not in files:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        if file in self.hub.down and self.command == "GET":
            return self._send(self.hub.down[file], b"down")
        return self._file(file, files[file], commit)

    def _file(self, name: str, path: Path, commit: str) -> None:
        body = path.read_bytes()
        headers = {"ETag": f'"{etag(path)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        status, first = 200, 0
        if self.request.range is not None:
            first = int(self.request.range.removeprefix("bytes=").split("-")[0])
            status = 206
            headers["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
        cuts = self.hub.cut.get(name, [])
        cut = cuts.pop(0) if cuts and self.command == "GET" else None
        self._send(status, body[first:], headers, cut=cut, stall=self.hub.stall.get(name))

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        *,
        cut: int | None = None,
        stall: int | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if stall is not None:
            self.wfile.write(body[:stall])
            self.hub.released.wait(300)
            self.close_connection = True
            return
        self.request.sent = len(body[:cut])
        self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True  # fewer bytes than promised: a connection that broke

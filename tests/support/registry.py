"""A real registry, Debian's docker-registry, on a free port of loopback; open, or for who says who they are."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.wait import eventually

needs_registry = pytest.mark.skipif(shutil.which("docker-registry") is None, reason="missing: docker-registry")
USER, PASSWORD = "anna", "secret"
# bcrypt, as docker-registry wants it, of PASSWORD.
_HTPASSWD = "anna:$2y$05$S1PnqP2/blufQRA5lvDWGuyOqLraroGkGIZmOxAUs05BxfI8Yzlh6\n"


class Server:
    """Args:
    address: "127.0.0.1:PORT".
    storage: Where it keeps things.
    """

    def __init__(self, address: str, storage: Path) -> None:
        self.address = address
        self.storage = storage

    def get(self, path: str, accept: str = "") -> bytes:
        """What anybody may ask it."""
        request = urllib.request.Request(f"http://{self.address}/v2/{path}")
        if accept:
            request.add_header("Accept", accept)
        with urllib.request.urlopen(request, timeout=10) as response:
            content: bytes = response.read()
            return content

    def tags(self, repository: str) -> list[str]:
        return sorted(json.loads(self.get(f"{repository}/tags/list"))["tags"])


@contextmanager
def registry(directory: Path, authorization: str = "") -> Iterator[Server]:
    """Run one where the calling thread lives.

    Args:
        authorization: YAML of its "auth" section.
    """
    directory.mkdir(parents=True, exist_ok=True)
    address = f"127.0.0.1:{free_port()}"
    storage = directory / "storage"
    configuration = directory / "config.yml"
    configuration.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {storage}}}}}\n"
        f"http: {{addr: '{address}', relativeurls: true}}\n{authorization}"
    )
    with open(directory / "log", "w") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(configuration)], stdout=log, stderr=log)
    try:
        eventually(lambda: _answers(address), what="the registry")
        yield Server(address, storage)
    finally:
        process.terminate()
        process.wait(10)


def basic(directory: Path) -> str:
    """The "auth" section that wants USER and PASSWORD."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "htpasswd").write_text(_HTPASSWD)
    return f"auth: {{htpasswd: {{realm: test, path: {directory / 'htpasswd'}}}}}\n"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/v2/", timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


Handle = Callable[[BaseHTTPRequestHandler], bool]


@contextmanager
def in_between(address: str, handle: Handle) -> Iterator[str]:
    """A server before the registry that may answer itself, or go wrong; yields its address.

    Args:
        handle: Given each request; True if it has answered.
    """

    class Between(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if not handle(self):
                forward(self, address)

        do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = do_GET  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Between)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(asked: BaseHTTPRequestHandler, address: str, body: bytes | None = None) -> tuple[int, Message, bytes]:
    """Ask the registry the same.

    Args:
        body: In place of the request's own.
    """
    headers = {name: value for name, value in asked.headers.items() if name.lower() not in ("host", "connection")}
    content = body_of(asked) if body is None else body
    if content or asked.command in ("POST", "PATCH", "PUT"):
        headers["Content-Length"] = str(len(content))
    path = asked.path[asked.path.index("/", 8) :] if asked.path.startswith("http://") else asked.path
    request = urllib.request.Request(f"http://{address}{path}", content or None, headers, method=asked.command)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def body_of(asked: BaseHTTPRequestHandler) -> bytes:
    return asked.rfile.read(int(asked.headers.get("Content-Length") or 0))


def forward(asked: BaseHTTPRequestHandler, address: str, cut_after: int = -1) -> int:
    """Ask the registry the same and pass on what it says, or as much of it; returns the bytes passed on."""
    status, told, content = ask(asked, address)
    asked.send_response(status)
    for name in ("Content-Type", "Docker-Content-Digest", "Content-Range", "WWW-Authenticate", "Location", "Range"):
        if told.get(name):
            asked.send_header(name, told[name])
    length = told.get("Content-Length", "0") if asked.command == "HEAD" else str(len(content))
    asked.send_header("Content-Length", length)
    asked.end_headers()
    if cut_after >= 0 and len(content) > cut_after:
        asked.wfile.write(content[:cut_after])
        asked.wfile.flush()
        asked.close_connection = True
        asked.connection.shutdown(socket.SHUT_RDWR)
        return cut_after
    asked.wfile.write(content)
    return len(content)


def answer(asked: BaseHTTPRequestHandler, status: int, content: bytes = b"", **headers: str) -> None:
    asked.send_response(status)
    for name, value in headers.items():
        asked.send_header(name.replace("_", "-"), value)
    asked.send_header("Content-Length", str(len(content)))
    asked.end_headers()
    asked.wfile.write(content)


def basic_header() -> str:
    return "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

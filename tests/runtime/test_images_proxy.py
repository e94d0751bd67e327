"""Registries that are reached through a proxy, as the environment says, and those that are not."""

from __future__ import annotations

import select
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from runtime.errors import InvalidSpec
from runtime.images import Images, Reference
from runtime.images.distribution import Pull
from runtime.images.registry import Registries, RegistryFailed, Transport
from runtime.images.registry.proxy import Proxies
from tests.runtime.registry_lab import pushed
from tests.support.registry import Server, answer, forward, in_between, needs_registry

pytestmark = [needs_registry, pytest.mark.kernel]
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="missing: openssl")
NAME = "registry.lan:5000"  # no name that anybody resolves: only the proxy knows where it is
LAN = Registries(insecure=(NAME, "direct.lan"))


@contextmanager
def proxy(target: str, asked: list[str], allowed: str = "", *, tunnels: bool = False) -> Iterator[str]:
    """Passes everything on to one server, by request or by tunnel.

    Args:
        asked: Gets what was asked for.
        allowed: What must be in Proxy-Authorization.
    """

    class Proxying(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path}")
            if self.headers.get("Proxy-Authorization", "") != allowed:
                answer(self, 407)
            elif self.command != "CONNECT":
                forward(self, target)
            elif tunnels:
                self._tunnel()
            else:
                answer(self, 403)

        do_HEAD = do_CONNECT = do_GET  # noqa: N815 - http.server's names

        def _tunnel(self) -> None:
            host, _, port = target.rpartition(":")
            with socket.create_connection((host, int(port)), timeout=5) as far:
                self.send_response(200)
                self.end_headers()
                ends = {self.connection: far, far: self.connection}
                while True:
                    for end in select.select(list(ends), [], [], 5)[0]:
                        piece = end.recv(65536)
                        if not piece:
                            self.close_connection = True
                            return
                        ends[end].sendall(piece)

        def log_message(self, *_: object) -> None: ...

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Proxying)) as port:
        yield f"127.0.0.1:{port}"


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[int]:
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def pull(store: Images, environment: dict[str, str]) -> str:
    transport = Transport(LAN, 5, Proxies.read(environment))
    try:
        return Pull(store, transport).run(Reference.parse(f"{NAME}/lab/app:1")).id
    finally:
        transport.close()


def test_everything_goes_through_it(store: Images, other: Images, server: Server) -> None:
    """It lets nobody tunnel, as many do; so it is asked in the clear, where that is allowed."""
    image, asked = pushed(store, server), list[str]()

    with proxy(server.address, asked) as place:
        environment = {"HTTP_PROXY": f"http://{place}", "HTTPS_PROXY": place, "NO_PROXY": "other.lan"}
        assert pull(other, environment) == image.id

    assert f"GET http://{NAME}/v2/lab/app/manifests/1" in asked
    assert sum("/blobs/" in one for one in asked) == len(image.layers) + 1


def test_it_may_want_to_know_who_asks(store: Images, other: Images, server: Server) -> None:
    image = pushed(store, server)
    allowed = "Basic YW5uYTpwQHNz"  # anna:p@ss
    with proxy(server.address, [], allowed) as place:
        with pytest.raises(RegistryFailed, match="407"):
            pull(other, {"http_proxy": place, "https_proxy": place})
        known = f"http://anna:p%40ss@{place}"
        assert pull(other, {"http_proxy": known, "https_proxy": known}) == image.id


@needs_openssl
def test_with_tls_there_is_a_tunnel_through_it(store: Images, other: Images, server: Server, tmp_path: Path) -> None:
    image, asked = pushed(store, server), list[str]()
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    made = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=lan", "-keyout", key, "-out")
    subprocess.run([*made, certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    class Secure(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            forward(self, server.address)

        def log_message(self, *_: object) -> None: ...

    secure = ThreadingHTTPServer(("127.0.0.1", 0), Secure)
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    with serving(secure) as port, proxy(f"127.0.0.1:{port}", asked, tunnels=True) as place:
        assert pull(other, {"HTTPS_PROXY": place}) == image.id

    assert set(asked) == {f"CONNECT {NAME}"}


def test_one_that_is_down_is_named(other: Images, server: Server) -> None:
    with pytest.raises(RegistryFailed, match=r"through the proxy 127\.0\.0\.1:9 \(Connection refused\)"):
        pull(other, {"HTTPS_PROXY": "http://127.0.0.1:9"})


def test_this_machine_is_asked_directly(store: Images, other: Images, server: Server) -> None:
    image = pushed(store, server)
    with in_between(server.address, lambda _: False) as address:
        transport = Transport(LAN, 5, Proxies.read({"http_proxy": "http://127.0.0.1:9"}))
        try:
            assert Pull(other, transport).run(Reference.parse(f"{address}/lab/app:1")).id == image.id
        finally:
            transport.close()


@pytest.mark.parametrize(
    ("none", "host", "direct"),
    [
        ("lan", "lan", True),
        ("lan", "a.lan", True),
        ("lan", "clan", False),
        (".lan", "a.lan", True),
        (".lan", "lan", False),
        ("*.lan", "a.lan", True),
        ("a.lan, b.lan", "B.lan:5000", True),
        ("a.lan:5000", "a.lan:5000", True),
        ("a.lan:5000", "a.lan", False),
        ("a.lan:443", "a.lan", True),
        ("10.0.0.0/8", "10.1.2.3:5000", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("fd00::/8", "[fd00::1]:5000", True),
        ("10.1.2.3:5000", "10.1.2.3:5000", True),
        ("*", "a.lan", True),
        ("", "a.lan", False),
        ("", "localhost:5000", True),
        ("", "127.0.0.7", True),
        ("", "[::1]:80", True),
    ],
)
def test_who_is_asked_directly(none: str, host: str, direct: bool) -> None:
    proxies = Proxies.read({"https_proxy": "proxy.lan", "no_proxy": none})

    assert (proxies.for_host("https", host) is None) == direct
    assert proxies.for_host("http", host) is None


@pytest.mark.parametrize("text", ["socks5://proxy.lan", "https://proxy.lan", "http://proxy.lan:x", "http://"])
def test_proxies_that_cannot_be_used_are_told(text: str) -> None:
    with pytest.raises(InvalidSpec, match="HTTP_PROXY"):
        Proxies.read({"http_proxy": text})

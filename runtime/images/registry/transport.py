"""HTTP by the standard library: connections kept and used again, redirects, and TLS unless a host is named insecure."""

from __future__ import annotations

import errno
import http.client
import os
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urljoin, urlsplit

from runtime.images.registry.errors import PlainRefused, RegistryFailed
from runtime.images.registry.proxy import Proxies
from runtime.images.registry.settings import Registries
from runtime.images.stream import CHUNK

TIMEOUT_S = 30.0
_REDIRECTS = 5
_IDLE = 8  # connections kept for each host
_CERTIFICATES = Path("/etc/docker/certs.d")  # as Docker's: a directory for each registry
_AGENT = "netmodel"
_NO_TUNNEL = "Tunnel connection failed"  # http.client's words

Body = bytes | Callable[[], BinaryIO] | None


@dataclass(slots=True)
class Response:
    """An answer whose body is still on the way; close it.

    Args:
        url: Of the last redirect.
        headers: Names in lower case.
    """

    status: int
    headers: Mapping[str, str]
    url: str
    _raw: http.client.HTTPResponse
    _done: Callable[[bool], None]
    _closed: bool = field(default=False)

    def read(self, size: int = CHUNK, /) -> bytes:
        """What is there, at least a byte; b"" is the end.

        Raises:
            RegistryFailed: The connection broke.
        """
        try:
            return self._raw.read1(size)
        except (OSError, http.client.HTTPException) as error:
            raise RegistryFailed(_host(self.url), f"the connection broke ({_why(error)})", again=True) from error

    def whole(self, most: int) -> bytes:
        """The body, which must not be longer than most."""
        content = b""
        while piece := self.read(CHUNK):
            content += piece
            if len(content) > most:
                raise RegistryFailed(_host(self.url), f"it answers with more than {most} bytes where few are due")
        return content

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            # Read to its end, the connection serves again; read1() does not tell http.client so.
            whole = self._raw.isclosed() or self._raw.length == 0
            self._raw.close()
            self._done(whole)

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Transport:
    """Usable by several threads at once. Close it when done.

    Args:
        proxies: By default those that the environment names.

    Raises:
        InvalidSpec: It names one that cannot be used.
    """

    def __init__(self, registries: Registries, timeout_s: float = TIMEOUT_S, proxies: Proxies | None = None) -> None:
        self.registries = registries
        self._proxies = Proxies.read(os.environ) if proxies is None else proxies
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._idle: dict[tuple[str, str], list[http.client.HTTPConnection]] = {}
        self._schemes: dict[str, str] = {}

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def scheme(self, host: str) -> str:
        """ "https", or "http" where that alone is spoken and the host may be spoken to so.

        Raises:
            RegistryFailed: It cannot be reached.
        """
        if not self.registries.is_insecure(host):
            return "https"
        with self._lock:
            known = self._schemes.get(host)
        if known is None:
            known = self._try_schemes(host)
            with self._lock:
                self._schemes[host] = known
        return known

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: Body = None, size: int = 0
    ) -> Response:
        """Send a request and read the head of its answer; GET and HEAD follow redirects.

        Args:
            body: Bytes, or what opens the content from its beginning: it may be needed twice.
            size: Of the content that is opened.

        Raises:
            RegistryFailed: There was no answer. PlainRefused.
        """
        sent = {"User-Agent": _AGENT, "Accept-Encoding": "identity", **(headers or {})}
        for _ in range(_REDIRECTS + 1):
            response = self._once(method, url, sent, body, size)
            if response.status not in (301, 302, 303, 307, 308) or method not in ("GET", "HEAD"):
                return response
            target = urljoin(url, response.headers.get("location", ""))
            response.close()
            if _host(target) != _host(url):
                # The token is for the registry, not for where it stores its blobs.
                sent.pop("Authorization", None)
            if url.startswith("https:") and not target.startswith("https:"):
                raise PlainRefused(_host(target), "was named in a redirect from HTTPS, but with plain HTTP")
            url = target
        raise RegistryFailed(_host(url), "it redirects without end")

    def _once(self, method: str, url: str, headers: Mapping[str, str], body: Body, size: int) -> Response:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc:
            raise RegistryFailed(parts.netloc or "?", f"{url!r} is no address")
        if parts.scheme == "http" and not self.registries.is_insecure(parts.netloc):
            raise PlainRefused(parts.netloc, "would be spoken to in the clear")
        key, target = (parts.scheme, parts.netloc), (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        proxy = self._proxies.for_host(*key)
        if proxy is not None and parts.scheme == "http":  # with TLS there is a tunnel through it
            target, headers = f"http://{parts.netloc}{target}", {**headers, **proxy.headers}
        while True:
            connection, fresh = self._connection(*key)
            try:
                raw = self._send(connection, method, target, headers, body, size)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if not fresh and not callable(body):
                    # It had been closed by the other side while it was idle. Of a blob, part may have arrived: whoever
                    # sends it asks how much.
                    continue
                raise self._failed(*key, error) from error
            lowered = {name.lower(): value for name, value in raw.getheaders()}
            return Response(raw.status, lowered, url, raw, partial(self._give_back, key, connection))

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: Body,
        size: int,
    ) -> http.client.HTTPResponse:
        if callable(body):
            with body() as content:
                connection.request(method, target, content, {**headers, "Content-Length": str(size)})
        else:
            length = {"Content-Length": str(len(body or b""))} if method not in ("GET", "HEAD") else {}
            connection.request(method, target, body, {**headers, **length})
        return connection.getresponse()

    def _connection(self, scheme: str, host: str) -> tuple[http.client.HTTPConnection, bool]:
        with self._lock:
            if idle := self._idle.get((scheme, host)):
                return idle.pop(), False
        proxy = self._proxies.for_host(scheme, host)
        if scheme == "http":
            place = host if proxy is None else proxy.place
            return http.client.HTTPConnection(place, timeout=self._timeout_s, blocksize=CHUNK), True
        context = self._context(host)
        place = host if proxy is None else proxy.place
        secure = http.client.HTTPSConnection(place, timeout=self._timeout_s, blocksize=CHUNK, context=context)
        if proxy is not None:
            secure.set_tunnel(host, headers=dict(proxy.headers))
        return secure, True

    def _give_back(self, key: tuple[str, str], connection: http.client.HTTPConnection, reusable: bool) -> None:
        with self._lock:
            idle = self._idle.setdefault(key, [])
            if reusable and connection.sock is not None and len(idle) < _IDLE:
                idle.append(connection)
                return
        connection.close()

    def _context(self, host: str) -> ssl.SSLContext:
        if self.registries.is_insecure(host):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        context = ssl.create_default_context()
        for certificate in sorted((_CERTIFICATES / host).glob("*.crt")):
            context.load_verify_locations(certificate)
        return context

    def _try_schemes(self, host: str) -> str:
        """HTTPS first: who speaks both is not spoken to in the clear. A proxy may let nobody through to such a port."""
        connection, _ = self._connection("https", host)
        try:
            connection.connect()
        except (ssl.SSLError, ConnectionResetError):
            return "http"
        except OSError as error:
            if _NO_TUNNEL in str(error) and self._proxies.for_host("http", host) is not None:
                return "http"
            raise self._failed("https", host, error) from error
        finally:
            with suppress(OSError):
                connection.close()
        return "https"

    def _failed(self, scheme: str, host: str, error: Exception) -> RegistryFailed:
        proxy, hint = self._proxies.for_host(scheme, host), ""
        if isinstance(error, ssl.SSLCertVerificationError):
            why, hint = (
                f"its certificate is not to be trusted ({error.verify_message})",
                (f"put its authority's certificate into {_CERTIFICATES / host}/ca.crt"),
            )
        elif isinstance(error, ssl.SSLError):
            refused = PlainRefused(host, "")
            why, hint = f"it does not speak TLS ({error.reason})", refused.hint
        else:
            through = f" through the proxy {proxy.place}" if proxy is not None else ""
            why = f"it cannot be reached{through} ({_why(error)})"
        return RegistryFailed(host, why, hint, again=_may_pass(error))


def _may_pass(error: Exception) -> bool:
    """Whether it may be better in a moment. Who is not there will not come for us."""
    if isinstance(error, ssl.SSLError | ConnectionRefusedError | socket.gaierror):
        return False
    return not (isinstance(error, OSError) and error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH))


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _why(error: Exception) -> str:
    return str(getattr(error, "strerror", "") or error or type(error).__name__)

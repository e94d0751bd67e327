"""Proxies, as the environment names them: HTTP_PROXY, HTTPS_PROXY and NO_PROXY, or the same in lower case.

Source: golang.org/x/net/http/httpproxy, which Docker's daemon uses.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from runtime.errors import InvalidSpec
from runtime.images.registry.settings import host_name

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """Args:
    headers: That let us use it.
    """

    host: str
    port: int
    headers: Mapping[str, str]

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str, name: str) -> Proxy:
        """From a URL, whose scheme may be left out.

        Args:
            name: Of the variable, for messages.

        Raises:
            InvalidSpec: It is no URL, or of a kind of proxy that we cannot speak to.
        """
        parts = urlsplit(text if "://" in text else f"http://{text}")
        if parts.scheme != "http":
            raise InvalidSpec(f"{name}={parts.scheme}://... is no proxy that can be used", "name one with http://")
        try:
            port = parts.port or _PORTS["http"]
        except ValueError:
            port = 0
        if not parts.hostname or not port:
            raise InvalidSpec(f"{name} names no proxy: {parts.netloc!r}", "write it as http://proxy.lan:3128")
        headers = {}
        if parts.username is not None:
            both = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers["Proxy-Authorization"] = "Basic " + base64.b64encode(both.encode()).decode()
        return cls(host=parts.hostname, port=port, headers=headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxies:
    """Args:
    by_scheme: Of what is asked for.
    none: Who is asked directly: hosts with all below them, addresses, networks, each with a port or without; "*".
    """

    by_scheme: Mapping[str, Proxy]
    none: tuple[str, ...] = ()

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Proxies:
        """Raises: InvalidSpec."""
        found = {}
        for scheme in _PORTS:
            name = f"{scheme}_proxy"
            text = environment.get(name) or environment.get(name.upper())
            if text:
                found[scheme] = Proxy.parse(text, name.upper())
        none = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
        return cls(by_scheme=found, none=tuple(word.lower() for word in none.replace(",", " ").split()))

    def for_host(self, scheme: str, host: str) -> Proxy | None:
        """Who is asked in place of a host, with its port if it has one. This machine is always asked directly."""
        proxy = self.by_scheme.get(scheme)
        return None if proxy is None or self._is_direct(scheme, host.lower()) else proxy

    def _is_direct(self, scheme: str, host: str) -> bool:
        name = host_name(host)
        rest = host.rpartition("]")[2] if host.startswith("[") else host[len(name) :]
        port = rest.removeprefix(":") or str(_PORTS[scheme])
        address = None
        with suppress(ValueError):
            address = ipaddress.ip_address(name)
        if name == "localhost" or (address is not None and address.is_loopback):
            return True
        return any(_fits(wanted, name, port, address) for wanted in self.none)


def _fits(wanted: str, name: str, port: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
    if wanted == "*":
        return True
    if address is not None:
        with suppress(ValueError):
            return address in ipaddress.ip_network(wanted)
    host, colon, only = wanted.rpartition(":")
    if colon and only.isdigit():
        if only != port:
            return False
        wanted = host.strip("[]")
    bare = wanted.removeprefix("*")
    # "lan" is itself and all below it, ".lan" and "*.lan" only what is below.
    return name.endswith(bare) if bare.startswith(".") else name == bare or name.endswith(f".{bare}")

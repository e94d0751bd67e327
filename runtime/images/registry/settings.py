"""What an operator says about registries: mirrors, and which of them may be spoken to in the clear.

{"mirrors": {"docker.io": ["https://mirror.lan"]}, "insecure": ["registry.lan:5000", "10.0.0.0/8"]}
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from runtime.errors import InvalidSpec

_EXAMPLE = '{"mirrors": {"docker.io": ["https://mirror.lan"]}, "insecure": ["registry.lan:5000"]}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Registries:
    """Args:
    mirrors: By registry, URLs to try before it.
    insecure: Hosts, hosts with a port, or networks: plain HTTP and certificates of nobody will do.
    """

    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    insecure: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Registries:
        """From a file; without it there is nothing to say.

        Raises:
            InvalidSpec: It says something else than it can.
        """
        try:
            value = json.loads(path.read_text())
        except FileNotFoundError:
            return cls()
        except ValueError as error:
            raise InvalidSpec(f"{path} is no JSON: {error}", "correct it, or remove it") from error
        try:
            if unknown := set(value) - {"mirrors", "insecure"}:
                raise InvalidSpec(f"{path} has the unknown key {min(unknown)}", 'there are "mirrors" and "insecure"')
            mirrors = {str(key): tuple(map(str, urls)) for key, urls in dict(value.get("mirrors") or {}).items()}
            return cls(mirrors=mirrors, insecure=tuple(map(str, value.get("insecure") or ())))
        except (AttributeError, TypeError, ValueError) as error:
            raise InvalidSpec(f"{path} is wrong: {error}", f"write it as {_EXAMPLE}") from error

    def is_insecure(self, host: str) -> bool:
        """Whether a host, with its port if it has one, may be spoken to in the clear. This machine always may."""
        name = host_name(host)
        if host in self.insecure or name in self.insecure or name == "localhost":
            return True
        with suppress(ValueError):
            address = ipaddress.ip_address(name)
            return address.is_loopback or any(address in network for network in self._networks())
        return False

    def _networks(self) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        networks = []
        for text in self.insecure:
            with suppress(ValueError):
                networks.append(ipaddress.ip_network(text))
        return networks


def host_name(host: str) -> str:
    """Without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]

"""/etc/hosts, /etc/resolv.conf and /etc/hostname of a container, and where its files lie under the root.

The three are bind mounts, so they change in place: a rename would leave the container with the
old file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from netmodel.model import Container, ContainerConfig, Endpoint, IPAddress

DNS_ADDRESS = "127.0.0.11"

_HOSTS_HEAD = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


@dataclass(frozen=True, slots=True)
class ContainerFiles:
    """The paths of one container's own directory."""

    directory: Path

    @property
    def hosts(self) -> Path:
        return self.directory / "hosts"

    @property
    def resolv_conf(self) -> Path:
        return self.directory / "resolv.conf"

    @property
    def hostname(self) -> Path:
        return self.directory / "hostname"

    @property
    def log(self) -> Path:
        return self.directory / "log.jsonl"


def hosts_text(
    hostname: str, domainname: str, endpoints: Sequence[Endpoint], extra: Mapping[str, str], gateway: IPAddress | None
) -> str:
    """What /etc/hosts says: localhost, what was asked for, the container's own names.

    Args:
        extra: Addresses by name, several with commas; "host-gateway" is the default gateway, left out without one.
    """
    lines = [_HOSTS_HEAD]
    for name, addresses in extra.items():
        for address in addresses.split(","):
            if address != "host-gateway":
                lines.append(f"{address}\t{name}\n")
            elif gateway is not None:
                lines.append(f"{gateway}\t{name}\n")
    own = f"{hostname}.{domainname} {hostname}" if domainname else hostname
    lines.extend(f"{address.ip}\t{own}\n" for endpoint in endpoints for address in endpoint.addresses)
    return "".join(lines)


def resolv_text(config: ContainerConfig, host: str) -> str:
    """What /etc/resolv.conf says: our server, and the search list asked for or else the host's."""
    search = list(config.dns_search) or _search_of(host)
    # Names with no dot are ours to answer first; without this, resolvers of some C libraries
    # would append the search list even to them.
    options = list(config.dns_options)
    if not any(option.startswith("ndots:") for option in options):
        options.append("ndots:0")
    lines = [f"nameserver {DNS_ADDRESS}\n"]
    if search and search != ["."]:
        lines.append(f"search {' '.join(search)}\n")
    lines.append(f"options {' '.join(options)}\n")
    return "".join(lines)


def _search_of(resolv_conf: str) -> list[str]:
    """The last "search" or "domain" of a resolv.conf counts (man 5 resolv.conf)."""
    found: list[str] = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if words and words[0] in ("search", "domain"):
            found = words[1:]
    return found


def read_text(path: Path) -> str:
    """A file of the host that may be missing."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def write_in_place(path: Path, text: str) -> None:
    """Replace a file's content and keep the file: it may be mounted in a container."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        data = text.encode()
        # Written before it is cut: a reader never sees an empty file.
        os.pwrite(descriptor, data, 0)
        os.ftruncate(descriptor, len(data))
    finally:
        os.close(descriptor)


def hostname_of(container: Container) -> str:
    """Docker's rule: what was asked for, else the first 12 digits of the id."""
    return container.config.hostname or container.id[:12]

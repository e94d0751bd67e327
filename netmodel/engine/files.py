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
    hostname: str,
    domainname: str,
    endpoints: Sequence[Endpoint],
    extra: Mapping[str, str],
    gateways: Sequence[IPAddress],
    linked: Sequence[tuple[IPAddress, str]] = (),
) -> str:
    """What /etc/hosts says: localhost, what was asked for, the container's own names, those it is linked to.

    Args:
        extra: Addresses by name, several with commas; "host-gateway" stands for the gateways.
        gateways: The host's own addresses on the container's networks; without any, who asks for them has none.
        linked: Addresses of other containers, each with the names that stand behind it.
    """
    lines = [_HOSTS_HEAD, extra_hosts_text(extra, gateways)]
    own = own_names(hostname, domainname)
    lines.extend(f"{address.ip}\t{own}\n" for endpoint in endpoints for address in endpoint.addresses)
    lines.extend(f"{address}\t{names}\n" for address, names in linked)
    return "".join(lines)


def own_names(hostname: str, domainname: str) -> str:
    """What stands behind a container's own addresses."""
    return f"{hostname}.{domainname} {hostname}" if domainname else hostname


def extra_hosts_text(extra: Mapping[str, str], gateways: Sequence[IPAddress]) -> str:
    lines: list[str] = []
    for name, addresses in extra.items():
        for address in addresses.split(","):
            meant = gateways if address == "host-gateway" else (address,)
            lines.extend(f"{one}\t{name}\n" for one in meant)
    return "".join(lines)


def resolv_text(config: ContainerConfig, host: str, lent: Sequence[str] = ()) -> str:
    """What /etc/resolv.conf says: our server; search list and options as asked for, or else the host's.

    Args:
        lent: The search list that came with its addresses, which goes before the host's.
    """
    search = list(config.dns_search or lent) or _last(host, "search", "domain")
    options = resolver_options(config, host)
    # Names with no dot are ours to answer first; without this, resolvers of some C libraries
    # would append the search list even to them.
    if ndots_of(options) is None:
        options.append("ndots:0")
    lines = [f"nameserver {DNS_ADDRESS}\n"]
    if search and search != ["."]:
        lines.append(f"search {' '.join(search)}\n")
    lines.append(f"options {' '.join(options)}\n")
    return "".join(lines)


def resolver_options(config: ContainerConfig, host: str) -> list[str]:
    """The options asked for, or else the host's."""
    return list(config.dns_options) or _last(host, "options")


def ndots_of(options: Sequence[str]) -> int | None:
    """How many dots make a name one to try without the search list first; None where nobody says.

    The last one counts, and what is no number is 0 to the C library (glibc resolv/res_init.c, atoi()).
    """
    values = [option.removeprefix("ndots:") for option in options if option.startswith("ndots:")]
    if not values:
        return None
    return int(values[-1]) if values[-1].isascii() and values[-1].isdigit() else 0


def _last(resolv_conf: str, *keywords: str) -> list[str]:
    """Of several lines with such a keyword, the last one's words: it alone counts (man 5 resolv.conf)."""
    found: list[str] = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if words and words[0] in keywords:
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
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(descriptor)


def edit_in_place(path: Path, before: str, after: str) -> None:
    """Make a file that said before say after, and leave alone what others have changed in it since."""
    current = read_text(path)
    old, new = before.splitlines(), after.splitlines()
    kept = [line for line in current.splitlines() if line in new or line not in old]
    text = "".join(f"{line}\n" for line in [*kept, *(line for line in new if line not in old and line not in kept)])
    if text != current:
        write_in_place(path, text)


def hostname_in(container: Container, owner: Container | None) -> str:
    """What is the host's name in there.

    Args:
        owner: Of its sandbox.
    """
    if container.config.hostname:
        return container.config.hostname
    if container.sandbox == "host" or container.config.uts_mode == "host":
        return os.uname().nodename
    return hostname_of(owner or container)


def hostname_of(container: Container) -> str:
    """Docker's rule: what was asked for, else the first 12 digits of the id."""
    return container.config.hostname or container.id[:12]

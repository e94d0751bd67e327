"""Where names are looked up that are none of ours: as the host's /etc/resolv.conf says, or settings instead of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from netmodel.dns.upstream import ResolvConf
from netmodel.engine.files import read_text
from netmodel.model import IPAddress

_FILE = Path("/etc/resolv.conf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolver:
    """What an engine is told of name service; what is empty is the host's business.

    Args:
        servers: Asked from the host, as its own are.
        search: Domains that names without enough dots are tried in.
        options: As resolv.conf has them.
    """

    servers: tuple[IPAddress, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def text(self) -> str:
        """A resolv.conf: of several lines of a kind the last one counts."""
        lines = [read_text(_FILE)]
        if self.search:
            lines.append(f"search {' '.join(self.search)}")
        if self.options:
            lines.append(f"options {' '.join(self.options)}")
        return "\n".join(lines)

    def asked(self) -> tuple[str, ...]:
        """The servers, in their order."""
        return tuple(str(server) for server in self.servers) or ResolvConf(_FILE).servers()

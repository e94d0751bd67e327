"""Host names, resolved as the programs of a sandbox would: by the resolver at 127.0.0.11 there."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from pathlib import Path

from drivers.kernel.namespace import open_in
from netmodel.probe.exchange import FIRST_PAUSE_S
from netmodel.probe.probe import IPAddress

RESOLVER = ("127.0.0.11", 53)


class Unresolved(Exception):
    """The name has no address there; says why."""


async def resolve(netns: Path | None, name: str, family: int, within_s: float) -> list[IPAddress]:
    """Look a name up inside a sandbox, or on the host.

    Args:
        family: 0 is both, IPv4 first.

    Raises:
        Unresolved: No address, no resolver, or no answer in time.
    """
    if netns is None:
        return await _on_host(name, family)
    families = (family,) if family else (4, 6)
    lookups = [_query(netns, name, each, within_s) for each in families]
    addresses = [address for found in await asyncio.gather(*lookups) for address in found]
    if not addresses:
        raise Unresolved(f"its resolver knows no address of {name}")
    return addresses


async def _on_host(name: str, family: int) -> list[IPAddress]:
    wanted = {0: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}[family]
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(name, None, family=wanted, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise Unresolved(f"{name} does not resolve on the host: {error.strerror}") from error
    addresses = [ip_address(str(info[4][0]).partition("%")[0]) for info in infos]
    return sorted(addresses, key=lambda address: address.version)


async def _query(netns: Path, name: str, family: int, within_s: float) -> list[IPAddress]:
    import dns.message  # 30 ms that a check without host names does not pay
    import dns.rdatatype

    kind = dns.rdatatype.A if family == 4 else dns.rdatatype.AAAA
    question = dns.message.make_query(name, kind)
    wire = await _ask_resolver(netns, question.to_wire(), name, within_s)
    reply = dns.message.from_wire(wire)
    if not question.is_response(reply):
        return []
    return [ip_address(item.to_text()) for rrset in reply.answer if rrset.rdtype == kind for item in rrset]


async def _ask_resolver(netns: Path, question: bytes, name: str, within_s: float) -> bytes:
    def make() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        sock.connect(RESOLVER)
        return sock

    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    pause = FIRST_PAUSE_S * 4
    with open_in(netns, make) as sock:
        while (left_s := deadline - loop.time()) > 0:
            try:
                sock.send(question)
                return await asyncio.wait_for(loop.sock_recv(sock, 65535), min(pause, left_s))
            except TimeoutError:
                pause *= 2
            except OSError as error:
                raise Unresolved(f"{name} does not resolve: no resolver answers at {RESOLVER[0]}") from error
    raise Unresolved(f"{name} does not resolve: the resolver at {RESOLVER[0]} did not answer in {within_s:g} s")

"""What the kernel says of an engine's networks: read with ip(8), nft(8)'s library and plain sockets, not by us."""

from __future__ import annotations

import errno
import hashlib
import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nftables

from tests.support.box import Box

_RETIRED = "nmx"  # what drivers/kernel/reaper.py calls a link that waits for its deletion


@dataclass(frozen=True, kw_only=True)
class LinkView:
    """One link.

    Args:
        addresses: With their prefix lengths; of a link that is no bridge's port.
        bridge: The bridge it is a port of; "" is none.
        isolated: It does not speak to other isolated ports.
    """

    mac: str
    up: bool = True
    addresses: frozenset[str] = frozenset()
    bridge: str = ""
    isolated: bool = False
    alias: str = ""


@dataclass(frozen=True, kw_only=True)
class SandboxView:
    """One network namespace.

    Args:
        links: By name, without lo.
        ways_out: Each default route as "GATEWAY LINK".
    """

    links: dict[str, LinkView]
    ways_out: frozenset[str]


def root_id(root: Path) -> str:
    return hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]


# --- links ------------------------------------------------------------------------------------


def host_links(host: Box) -> dict[str, LinkView]:
    """All links of the host by name, without lo."""
    return _links(json.loads(host.run("ip", "-j", "-d", "addr", "show").stdout))


def is_retired(name: str) -> bool:
    return name.startswith(_RETIRED)


def sandbox(box: Box) -> SandboxView:
    shown = box.run("sh", "-c", "ip -j -d addr show; ip -j -4 route show; ip -j -6 route show").stdout.splitlines()
    links, *routes = (json.loads(line) for line in shown)
    ways = [route for table in routes for route in table if route["dst"] == "default"]
    return SandboxView(
        links=_links(links), ways_out=frozenset(f"{route.get('gateway', '')} {route['dev']}" for route in ways)
    )


def _links(shown: list[dict[str, Any]]) -> dict[str, LinkView]:
    return {
        link["ifname"]: LinkView(
            mac=link["address"],
            up="UP" in link["flags"],
            addresses=frozenset(f"{one['local']}/{one['prefixlen']}" for one in link["addr_info"]),
            bridge=link.get("master", ""),
            isolated=link.get("linkinfo", {}).get("info_slave_data", {}).get("isolated", False),
            alias=link.get("ifalias", ""),
        )
        for link in shown
        if link["ifname"] != "lo"
    }


# --- the firewall -----------------------------------------------------------------------------


def elements(host: Box, table: str) -> dict[str, frozenset[str]]:
    """What the sets and maps of a table hold: "a . b", in a map "a . b : c". The empty ones are left out."""
    code, output, _ = host.open(lambda: _list(table))
    if code != 0:
        return {}
    found: dict[str, frozenset[str]] = {}
    for entry in json.loads(output)["nftables"]:
        one = entry.get("set") or entry.get("map")
        if one and one.get("elem"):
            found[one["name"]] = frozenset(_element(element) for element in one["elem"])
    return found


def _list(table: str) -> tuple[int, str, str]:
    nft = nftables.Nftables()
    nft.set_json_output(True)
    nft.set_numeric_proto_output(True)
    answer: tuple[int, str, str] = nft.cmd(f"list table {table}")
    return answer


def _element(element: Any) -> str:
    if isinstance(element, list):
        return " : ".join(_element(part) for part in element)
    if isinstance(element, dict):
        [(kind, value)] = element.items()
        if kind == "concat":
            return " . ".join(_element(part) for part in value)
        return kind if value is None else f"{kind} {value['target']}"  # a verdict
    return str(element)


# --- sockets, control groups, names -------------------------------------------------------------


def held_ports(host: Box, candidates: Iterable[tuple[str, str, int]]) -> set[tuple[str, str, int]]:
    """Which of these (protocol, address, port) nobody else can bind on the host."""

    def try_all() -> set[tuple[str, str, int]]:
        return {one for one in candidates if not _is_free(*one)}

    return host.open(try_all)


def _is_free(protocol: str, address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM) as tried:
        if family == socket.AF_INET6:
            tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            tried.bind((address, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True


def control_groups(root: Path) -> set[str]:
    """The names of an engine's control groups, in whichever hierarchies."""
    top = Path("/sys/fs/cgroup")
    name = f"netmodel_{root_id(root)}"
    return {path.name for pattern in (f"{name}/*/", f"*/{name}/*/") for path in top.glob(pattern)}


def answer(inside: Box, name: str, family: int) -> frozenset[str]:
    """The addresses that the name server at 127.0.0.11 gives a sandbox for a name."""
    import dns.message
    import dns.rdatatype

    question = dns.message.make_query(name, dns.rdatatype.A if family == 4 else dns.rdatatype.AAAA)
    with inside.open(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as asking:
        asking.settimeout(10)
        asking.sendto(question.to_wire(), ("127.0.0.11", 53))
        reply = dns.message.from_wire(asking.recv(4096))
    return frozenset(record.address for answer in reply.answer for record in answer)

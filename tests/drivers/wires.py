"""What the tests of drivers plug together: an engine's drivers on a test's host, sandboxes, a remote host."""

from __future__ import annotations

import hashlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from drivers.api import Attachment, Endpoint, Network, Pool, PortBinding
from drivers.bridge import Bridge
from drivers.firewall import Firewall, Mark
from drivers.kernel.address import add_address, link_local
from drivers.kernel.link import add_veth, no_link_local, rename, set_up
from drivers.kernel.netlink import Netlink
from drivers.kernel.nft import NftWorker
from drivers.kernel.reaper import Reaper
from drivers.kernel.route import add_route
from tests.support.box import Box

ROOT = "deadbeef"
ANYWHERE = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}
DROPPED_S = 0.25  # long enough for any answer within one machine


def an_id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def an_endpoint(network: Network[Any], box: Box, *addresses: str) -> Endpoint:
    return Endpoint(
        id=an_id(f"{network.name} {box.name}"),
        mac="02:42:" + hashlib.sha256(box.name.encode()).digest()[:4].hex(":"),
        addresses=tuple(ip_interface(address) for address in addresses),
    )


def loopback(port: int, at: str = "127.0.0.1", to: int = 80, protocol: Any = "tcp") -> PortBinding:
    return PortBinding(protocol=protocol, host_address=ip_address(at), host_port=port, container_port=to)


def anywhere(port: int, to: int = 80, protocol: Any = "tcp") -> PortBinding:
    return PortBinding(protocol=protocol, host_port=port, container_port=to)


class Stack:
    """The drivers of one engine, in the namespace of the calling thread."""

    def __init__(self, accepted: Mark | None = None, **settings: bool) -> None:
        self.netlink = Netlink()
        self.nft = NftWorker()
        self.firewall = Firewall(self.nft, ROOT, accepted)
        self.firewall.install()
        self.reaper = Reaper(ROOT)
        self.bridge = Bridge(self.netlink, self.firewall, self.reaper, ROOT, **settings)

    def close(self) -> None:
        self.bridge.close()
        self.firewall.close()
        self.reaper.close()
        self.nft.close()
        self.netlink.close()

    def network(self, called: str, /, *subnets: str, internal: bool = False, **options: str) -> Network[Any]:
        """Create a network; options by their keys, of which com.docker.network.bridge. may be left out."""
        keys = {key if "." in key else f"com.docker.network.bridge.{key}": value for key, value in options.items()}
        network = Network(
            id=an_id(called),
            name=called,
            options=self.bridge.parse(keys),
            internal=internal,
            pools=tuple(Pool(subnet=ip_network(s), gateway=next(ip_network(s).hosts())) for s in subnets),
        )
        self.bridge.create_network(network)
        return network

    def attach(self, network: Network[Any], box: Box, *addresses: str, **options: str) -> Endpoint:
        """Give a box an endpoint, configured as the sandbox would; its default routes are this network's.

        Args:
            options: The endpoint's, by their keys.
        """
        endpoint = replace(an_endpoint(network, box, *addresses), options=options)
        self.bridge.create_endpoint(network, endpoint)
        configure(box, endpoint, self.bridge.join(network, endpoint, box.path))
        self.bridge.wait_until_carried(network, endpoint)
        return endpoint

    def links(self) -> set[str]:
        return {link.name for link in self.netlink.links()}


def configure(box: Box, endpoint: Endpoint, attachment: Attachment) -> None:
    with Netlink(box.path) as netlink:
        index = netlink.index(attachment.link)
        netlink.apply(
            [
                rename(index, f"{attachment.interface_prefix}{index}"),
                no_link_local(index),
                *[add_address(index, address) for address in endpoint.addresses],
                set_up(index),
                add_address(index, link_local(endpoint.mac)),
                *[add_route(ANYWHERE[gateway.version], via=gateway, ifindex=index) for gateway in attachment.gateways],
            ]
        )


def wire(host: Box, remote: Box, number: int = 2) -> None:
    """A cable between the host (192.0.NUMBER.1, 2001:db8:NUMBER::1) and another (.2, ::2), without more routes."""
    with Netlink(host.path) as here, Netlink(remote.path) as there:
        here.apply([add_veth(f"wan{number}", "wan0", remote.fd)])
        for netlink, name, last in ((here, f"wan{number}", 1), (there, "wan0", 2)):
            link = netlink.link(name)
            assert link is not None
            index, mac = link.index, link.mac
            v4, v6 = ip_interface(f"192.0.{number}.{last}/24"), ip_interface(f"2001:db8:{number}::{last}/64")
            addresses = [v4, v6, link_local(mac)]
            netlink.apply([no_link_local(index), set_up(index), *[add_address(index, one) for one in addresses]])


def route(box: Box, destination: str, via: str) -> None:
    with Netlink(box.path) as netlink:
        netlink.apply([add_route(ip_network(destination), via=ip_address(via))])


@contextmanager
def serving(box: Box, port: int = 80) -> Iterator[None]:
    """Inside the block, a box answers on a TCP and a UDP port with its name and whom it heard from."""
    with box.open(lambda: socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)) as tcp:
        udp = box.open(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        udp.bind(("::", port))
        threads = [threading.Thread(target=work, args=(one, box)) for work, one in ((_tcp, tcp), (_udp, udp))]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            _stop(box, port)
            for thread in threads:
                thread.join()
            udp.close()


def ask(box: Box, address: str, port: int = 80, *, udp: bool = False, timeout_s: float = 3) -> str:
    """What answers there: "NAME heard ADDRESS"; "refused" or "silence" otherwise."""
    with _client(box, address, udp=udp) as client:
        client.settimeout(timeout_s)
        try:
            client.connect((address, port))
            client.send(b"hello")
            return client.recv(200).decode()
        except TimeoutError:
            return "silence"
        except ConnectionRefusedError:
            return "refused"
        except OSError as error:
            return f"failed: {error.strerror}"


@dataclass(frozen=True)
class Reply:
    ttl: int


def ping(box: Box, address: str, timeout_s: float = 3) -> Reply | None:
    """One ICMP echo from a box; None when nothing comes back in time."""
    with box.open(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)) as raw:
        raw.settimeout(timeout_s)
        request = struct.pack("!BBHHH", 8, 0, 0, 77, 1)
        total = sum(struct.unpack("!4H", request))
        try:
            raw.sendto(struct.pack("!BBHHH", 8, 0, ~(total + (total >> 16)) & 0xFFFF, 77, 1), (address, 0))
            while True:
                packet = raw.recv(200)
                if packet[20] == 0:
                    return Reply(ttl=packet[8])
        except OSError:
            return None


def _client(box: Box, address: str, *, udp: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return box.open(lambda: socket.socket(family, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM))


def _tcp(server: socket.socket, box: Box) -> None:
    while True:
        connection, peer = server.accept()
        with connection:
            if connection.recv(200) == b"stop":
                return
            connection.sendall(f"{box.name} heard {peer[0].removeprefix('::ffff:')}".encode())


def _udp(server: socket.socket, box: Box) -> None:
    while True:
        data, peer = server.recvfrom(200)
        if data == b"stop":
            return
        server.sendto(f"{box.name} heard {peer[0].removeprefix('::ffff:')}".encode(), peer)


def _stop(box: Box, port: int) -> None:
    for udp in (False, True):
        with _client(box, "127.0.0.1", udp=udp) as client:
            client.connect(("127.0.0.1", port))
            client.send(b"stop")

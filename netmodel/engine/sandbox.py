"""Sandboxes: what is configured inside a network namespace, written once for every driver.

A driver puts a link there and says what it is called; the name, the addresses, the routes, the
announcements and the DNS server at 127.0.0.11 are this module's. All of it goes into the
namespace as one netlink batch.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
import threading
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_interface
from math import ceil
from pathlib import Path

from drivers.dns_redirect import redirect_dns, redirect_dns_here
from drivers.kernel.address import add_address, delete_address
from drivers.kernel.link import no_link_local, rename, set_down, set_mtu, set_up
from drivers.kernel.namespace import open_in
from drivers.kernel.netlink import Netlink
from drivers.kernel.route import add_blackhole, add_route, delete_route
from drivers.kernel.sysctl import write_sysctl
from drivers.kernel.wire import Request
from netmodel.dns import Alias
from netmodel.dns.upstream import OpenSocket
from netmodel.engine.core import Core
from netmodel.engine.files import DNS_ADDRESS, ndots_of, resolver_options
from netmodel.engine.link_options import sysctls
from netmodel.engine.networks import BRIDGE
from netmodel.engine.routing import EVERYTHING, Joined, declared_default, gateway_endpoint
from netmodel.engine.undo import every_step
from netmodel.model import ContainerConfig, Endpoint, IPAddress, IPInterface, LinkConfig, RouteConfig

# Source: Linux include/uapi/linux/sockios.h, if.h, in.h.
_SIOCGIFINDEX = 0x8933
_IFREQ = struct.Struct("16si20x")
_LOOPBACK = 1  # the index of lo in every namespace
_DNS_BACKLOG = 32


@dataclass(slots=True)
class Sandbox:
    """One network stack that we configure.

    Args:
        name: The id of the container that owns it.
        udp, tcp: The name server's, at 127.0.0.11.
        fresh: The netlink socket that a new one is configured by, so that its namespace is entered once.
        links: By endpoint id, in the order they joined.
        routes: Those declared with x-routes.
        servers: That it names for its queries to be forwarded to.
        redirected: Queries for port 53 go to our sockets.
    """

    name: str
    netns: Path
    udp: socket.socket
    tcp: socket.socket
    fresh: Netlink | None = None
    redirected: bool = False
    routes: tuple[RouteConfig, ...] = ()
    servers: tuple[str, ...] = ()
    links: dict[str, Joined] = field(default_factory=dict)

    def index(self, link: str) -> int | None:
        """A link's index in there, or None: an ioctl on any of its sockets costs no dump."""
        try:
            answer = fcntl.ioctl(self.udp, _SIOCGIFINDEX, _IFREQ.pack(link.encode(), 0))
        except OSError:
            return None
        return int(_IFREQ.unpack(answer)[1])

    def netlink(self) -> Netlink:
        """The caller closes it: a thousand sandboxes need no thousand sockets more."""
        netlink, self.fresh = self.fresh, None
        return netlink or Netlink(self.netns)

    def close(self) -> None:
        if self.fresh is not None:
            self.fresh.close()
        self.udp.close()
        self.tcp.close()
        self.links.clear()  # nobody takes them for links that are there still


class Sandboxes:
    """The sandboxes we are connected to, by name. A namespace itself is the spawner's to hold."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._lock = threading.Lock()
        self._open: dict[str, Sandbox] = {}

    def get(self, name: str) -> Sandbox | None:
        return self._open.get(name)

    # --- the whole sandbox --------------------------------------------------------------------

    def open(self, name: str, netns: Path, config: ContainerConfig, *, redirect: bool = False) -> Sandbox:
        """Get our sockets into a namespace; one that is open stays as it is.

        Args:
            redirect: The namespace is new, and name service is to come: send queries there at once.
        """
        found = self._open.get(name)
        if found is not None and found.netns == netns:
            return found
        self.close(name)
        # One thread enters once for all that we need in there.
        netlink, udp, tcp = open_in(netns, partial(_enter, redirect))
        sandbox = Sandbox(
            name=name,
            netns=netns,
            udp=udp,
            tcp=tcp,
            fresh=netlink,
            redirected=redirect,
            routes=config.routes,
            servers=tuple(str(server) for server in config.dns),
        )
        with self._lock:
            self._open[name] = sandbox
        return sandbox

    def configure(self, sandbox: Sandbox, links: Sequence[Joined], config: ContainerConfig) -> None:
        """Bring up these links, and name service with them."""
        for link in links:
            sandbox.links[link.endpoint.id] = link
        self._bring_up(sandbox, links)
        self.serve_dns(sandbox, config)

    def serve_dns(self, sandbox: Sandbox, config: ContainerConfig) -> None:
        """Answer at 127.0.0.11, port 53, in there."""
        self._core.dns.serve(
            sandbox.name,
            sandbox.udp,
            sandbox.tcp,
            self._networks(sandbox),
            self._forwards(sandbox),
            *self._upstreams(sandbox),
            forward_single_labels=not ndots_of(resolver_options(config, self._core.settings.resolver.text())),
            links=_lookups(sandbox),
        )
        if sandbox.redirected:
            return
        ports = sandbox.udp.getsockname()[1], sandbox.tcp.getsockname()[1]
        redirect_dns(self._core.nft, sandbox.netns, *ports)
        sandbox.redirected = True

    def close(self, name: str) -> None:
        """Let go of a sandbox that ends, or whose namespace is another now."""
        with self._lock:
            sandbox = self._open.pop(name, None)
        if sandbox is None:
            return
        self._core.dns.forget(name)
        sandbox.close()

    def held_by(self, spawner_pid: int) -> list[str]:
        """The names of those whose namespaces a spawner holds or held."""
        holder = Path(f"/proc/{spawner_pid}")
        return [name for name, sandbox in list(self._open.items()) if holder in sandbox.netns.parents]

    def close_all(self) -> None:
        for name in list(self._open):
            self.close(name)

    # --- a link that comes or goes while processes run ------------------------------------------

    def add(self, sandbox: Sandbox, link: Joined, config: ContainerConfig) -> None:
        """Configure one more link and choose the default gateways anew."""
        sandbox.links[link.endpoint.id] = link
        try:
            self._bring_up(sandbox, [link])
        except BaseException:
            sandbox.links.pop(link.endpoint.id, None)
            raise
        if not sandbox.redirected:  # the first one of a container that started with none
            self.serve_dns(sandbox, config)
            return
        self._tell_dns(sandbox, link)

    def prepare(self, sandbox: Sandbox, link: Joined) -> None:
        """Name a link and bring it up without addresses: they are asked for by it."""
        with sandbox.netlink() as netlink:
            naming = self._named(sandbox, [link], netlink)
            netlink.apply([*naming, set_up(self._index_of(sandbox, link))])

    def readdress(self, sandbox: Sandbox, link: Joined) -> None:
        """Give a link that is there the addresses and routes that it has now, and choose the default gateways anew."""
        before = sandbox.links[link.endpoint.id]
        index = self._index_of(sandbox, link)
        requests = [
            delete_route(route.destination, via=route.via, ifindex=index)
            for route in before.attachment.routes
            if route not in link.attachment.routes
        ]
        # Gone before others come: a second one of a subnet would go with the first.
        requests += [
            delete_address(index, address)
            for address in before.endpoint.addresses
            if address not in link.endpoint.addresses
        ]
        if link.attachment.mtu:
            requests.append(set_mtu(index, link.attachment.mtu))
        sandbox.links[link.endpoint.id] = link
        with sandbox.netlink() as netlink:
            netlink.apply([*requests, *self._link_requests(sandbox, link), *self._route_requests(sandbox)])
        self._tell_dns(sandbox, link, before)

    def remove(self, sandbox: Sandbox, endpoint_id: str) -> None:
        """Take a link out of service and choose the default gateways anew."""
        link = sandbox.links.pop(endpoint_id, None)
        if link is None:
            return
        with every_step(f"cannot take {link.endpoint.interface} out of the sandbox") as step:
            with step, sandbox.netlink() as netlink:
                index = sandbox.index(link.endpoint.interface)
                # Its name is free at once; the link itself goes with the host's end of it.
                away = [] if index is None else _put_away(index)
                netlink.apply([*away, *self._route_requests(sandbox)])
            with step:
                self._tell_dns(sandbox, link)

    def relink(self, sandbox: Sandbox, endpoint: Endpoint) -> None:
        """An endpoint in there has other legacy links now."""
        sandbox.links[endpoint.id] = replace(sandbox.links[endpoint.id], endpoint=endpoint)
        self._update_dns(sandbox)

    def clear(self, sandbox: Sandbox) -> None:
        """Forget the links: their endpoints left, and the next start brings new ones."""
        sandbox.links.clear()

    # --- requests -----------------------------------------------------------------------------

    def _bring_up(self, sandbox: Sandbox, links: Sequence[Joined]) -> None:
        """Name links, give them what is theirs, and route by them: in one batch, unless a link has settings.

        Those are found by the link's name, and some do nothing once it is up (accept_ra, accept_dad).
        """
        rest = [request for link in links for request in self._link_requests(sandbox, link)]
        rest += self._route_requests(sandbox)
        with sandbox.netlink() as netlink:
            netlink.apply([*self._named(sandbox, links, netlink), *rest])

    def _named(self, sandbox: Sandbox, links: Sequence[Joined], netlink: Netlink) -> list[Request]:
        """What names links, unless it had to be done already because one has settings."""
        naming = [request for link in links for request in self._naming_requests(sandbox, link)]
        settings = [setting for link in links for setting in _settings(link)]
        if settings:
            netlink.apply(naming)
            naming = []
            for name, value in settings:
                write_sysctl(name, value, sandbox.netns)
        return naming

    def _naming_requests(self, sandbox: Sandbox, link: Joined) -> list[Request]:
        index = self._index_of(sandbox, link)
        requests: list[Request] = []
        stale = sandbox.index(link.endpoint.interface)
        if stale is not None and stale != index:
            # Left by a stop; the reaper has not deleted it yet.
            requests += _put_away(stale)
        if not (_configures_itself(link) or any(one.version == 6 for one in link.endpoint.addresses)):
            requests.append(no_link_local(index))
        if stale != index:
            requests.append(rename(index, link.endpoint.interface))
        if link.attachment.mtu:
            requests.append(set_mtu(index, link.attachment.mtu))
        return requests

    def _link_requests(self, sandbox: Sandbox, link: Joined) -> list[Request]:
        index = self._index_of(sandbox, link)
        requests = [add_address(index, address, valid_s=_valid_s(link)) for address in link.endpoint.addresses]
        requests += [add_address(index, address) for address in _link_local(link)]
        requests.append(set_up(index))
        requests += [
            add_route(route.destination, via=route.via, ifindex=index)
            for route in link.attachment.routes
            if route.destination.prefixlen  # the default one is chosen among all links
        ]
        return requests

    def _route_requests(self, sandbox: Sandbox) -> list[Request]:
        """The default route of each family, then what x-routes declares."""
        requests: list[Request] = []
        links = sandbox.links.values()
        for family, everything in EVERYTHING.items():
            if declared_default(sandbox.routes, family):
                continue
            chosen = gateway_endpoint(links, family)
            if chosen is None and family == 6 and any(_configures_itself(link) for link in links):
                continue  # the kernel has one from a router
            if chosen is None:
                requests.append(delete_route(everything))  # of a network that was disconnected
                continue
            way = chosen.way_out(family)
            assert way is not None
            index = self._index_of(sandbox, chosen)
            onlink = way.via is not None and _is_outside(way.via, chosen)
            requests.append(add_route(everything, via=way.via, ifindex=index, onlink=onlink))
        for route in sandbox.routes:
            if route.blackhole:
                requests.append(add_blackhole(route.destination))
                continue
            carrier = _carrier(route, links)
            if carrier is None:
                continue  # its network is not connected now; connecting brings it
            requests.append(add_route(route.destination, via=route.via, ifindex=self._index_of(sandbox, carrier)))
        return requests

    def _index_of(self, sandbox: Sandbox, link: Joined) -> int:
        # While it is being configured it has the driver's name still.
        index = sandbox.index(link.attachment.link) or sandbox.index(link.endpoint.interface)
        assert index is not None, f"{link.endpoint.interface} is not in the sandbox"
        return index

    # --- name service ---------------------------------------------------------------------------

    def _update_dns(self, sandbox: Sandbox) -> None:
        self._core.dns.update(sandbox.name, self._networks(sandbox), self._forwards(sandbox), _lookups(sandbox))

    def _networks(self, sandbox: Sandbox) -> list[str]:
        return [link.endpoint.network_id for link in sandbox.links.values()]

    def _forwards(self, sandbox: Sandbox) -> bool:
        """Names of the world are no business of one that cannot reach it.

        Its own servers it may always ask: from inside, where nothing leaves its networks.
        """
        own = self._upstreams(sandbox)[0] is not None
        return own or any(link.leads_outside for link in sandbox.links.values())

    def _upstreams(self, sandbox: Sandbox) -> tuple[list[str] | None, OpenSocket | None]:
        """Its own servers, or those that come with its addresses; None are the host's.

        They are asked from inside: they may be nodes of the topology, or nobody else's to reach.
        """
        leases = [link.endpoint.lease for link in sandbox.links.values() if link.endpoint.lease is not None]
        lent = dict.fromkeys(str(server) for lease in leases for server in lease.name_servers)
        servers = list(sandbox.servers or lent)
        return (servers, partial(open_in, sandbox.netns)) if servers else (None, None)

    def _tell_dns(self, sandbox: Sandbox, *links: Joined) -> None:
        """Let its name service know of links that came, went or changed."""
        self._update_dns(sandbox)
        if any(link.endpoint.lease is not None for link in links):
            self._core.dns.ask(sandbox.name, *self._upstreams(sandbox))


def _settings(link: Joined) -> list[tuple[str, str]]:
    """What is written below /proc/sys/net before the link is up."""
    interface = link.endpoint.interface
    own = [(f"net/ipv6/conf/{interface}/accept_ra", "2")] if _configures_itself(link) else []
    return own + sysctls(link.endpoint.config.driver_opts, interface)


def _configures_itself(link: Joined) -> bool:
    """Whether the kernel makes IPv6 addresses of what routers advertise."""
    return link.network.config.leased and link.network.config.enable_ipv6


def _valid_s(link: Joined) -> int | None:
    """When the lease is over the address goes by itself, whether or not there is an engine then."""
    expires_at = link.endpoint.lease.expires_at if link.endpoint.lease is not None else None
    if expires_at is None:
        return None
    return max(ceil((expires_at - datetime.now(UTC)).total_seconds()), 1)


def _lookups(sandbox: Sandbox) -> list[Alias]:
    """The legacy links: what the name service is to look up instead."""
    return [
        Alias(one.network.id, link.alias, one.network.name, _looked_up(one, link))
        for one in sandbox.links.values()
        for link in one.endpoint.config.links
    ]


def _looked_up(joined: Joined, link: LinkConfig) -> str:
    """On the default network the target is an id, whose beginning is a name."""
    return link.target[:12] if joined.network.name == BRIDGE else link.target


def _link_local(link: Joined) -> list[IPInterface]:
    """Its addresses that mean something on this link alone, with the prefixes of RFC 3927 and RFC 4291."""
    prefixes = {4: 16, 6: 64}
    return [ip_interface((address, prefixes[address.version])) for address in link.endpoint.config.link_local_ips]


def _put_away(index: int) -> list[Request]:
    """Free a link's name; the reaper may delete the link at any moment."""
    gone = (errno.ENODEV,)
    return [set_down(index, harmless=gone), rename(index, f"gone{index}", harmless=gone)]


def _is_outside(gateway: IPAddress, link: Joined) -> bool:
    """Whether no subnet of the link says that the gateway is on it."""
    return not any(gateway in address.network for address in link.endpoint.addresses)


def _carrier(route: RouteConfig, links: Iterable[Joined]) -> Joined | None:
    for link in links:
        if route.dev is not None:
            if link.endpoint.interface == route.dev:
                return link
        elif any(route.via in address.network for address in link.endpoint.addresses):
            return link
    return None


def _enter(redirect: bool) -> tuple[Netlink, socket.socket, socket.socket]:
    """Bring the loopback up in the calling thread's namespace and open our sockets there."""
    with ExitStack() as undo:
        netlink = undo.enter_context(Netlink())
        # Before the sockets are bound: 127.0.0.11 is an address of ours only with the loopback, and
        # IP_FREEBIND does not help, for it leaves a socket in a new namespace without a source address.
        # Source: Linux net/ipv4/fib_frontend.c, __inet_dev_addr_type(): RTN_BROADCAST without a local table.
        netlink.apply([set_up(_LOOPBACK)])
        udp = undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC))
        tcp = undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC))
        for opened in (udp, tcp):
            opened.bind((DNS_ADDRESS, 0))
            opened.setblocking(False)
        tcp.listen(_DNS_BACKLOG)
        if redirect:
            redirect_dns_here(udp.getsockname()[1], tcp.getsockname()[1])
        undo.pop_all()
    return netlink, udp, tcp

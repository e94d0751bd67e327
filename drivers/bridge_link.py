"""The bridge that a network is: made or adopted, set up, and taken away again."""

from __future__ import annotations

import errno
import hashlib
from contextlib import ExitStack
from ipaddress import ip_interface

from drivers.api import Network, Pool
from drivers.bridge_options import NAME, Options
from drivers.bridge_rules import bridge_name
from drivers.errors import BridgeGone, LinkTaken, NoServer
from drivers.kernel.address import IPInterface, add_address, delete_address, link_local
from drivers.kernel.bridge import add_bridge
from drivers.kernel.errors import KernelError
from drivers.kernel.link import (
    IFLA_ADDRESS,
    Link,
    alias,
    change,
    get_link,
    no_link_local,
    read_link,
    route_localnet,
    set_mtu,
    set_up,
)
from drivers.kernel.netlink import Netlink
from drivers.kernel.reaper import Reaper
from drivers.kernel.sysctl import read_sysctl, write_sysctl
from drivers.kernel.wire import mac
from drivers.surroundings import find_way_out

# Marks a gateway's address as given by us (IFA_PROTO), so that one that an adopted bridge had
# before is kept when the network goes.
ORIGIN = 0x6E


class BridgeLinks:
    """Makes and removes bridges, for any number of networks.

    Args:
        host: Opened in the host's namespace.
        root_id: In the tag of every bridge we make.
    """

    def __init__(self, host: Netlink, reaper: Reaper, root_id: str) -> None:
        self._host = host
        self._reaper = reaper
        self._root_id = root_id

    def ensure(self, network: Network[Options], undo: ExitStack) -> None:
        """Make the bridge, or adopt it, and give it what the network needs of it."""
        name = bridge_name(network)
        link = self._host.link(name)
        if link is None:
            link = self._make(network, name, undo)
        elif not self.is_ours(network, link):
            self._check_adoptable(network, link)
        self._set_up(network, link)

    def remove(self, network: Network[Options]) -> None:
        """Retire the bridge if we made it; else take back what we gave it. One that is gone is no error."""
        name = bridge_name(network)
        link = self._host.link(name)
        if link is None:
            return
        if self.is_ours(network, link):
            self._reaper.retire([name])
        elif network.options.name:
            ours = [one for one in self._host.addresses() if one.link == link.index and one.origin == ORIGIN]
            self._host.apply([delete_address(link.index, one.interface) for one in ours])

    def find(self, network: Network[Options]) -> Link:
        """The bridge as it is now.

        Raises:
            BridgeGone: Somebody deleted it.
        """
        try:
            [bridge] = self._host.get(get_link(bridge_name(network)), read_link)
        except KernelError as error:
            if error.errno == errno.ENODEV:
                raise BridgeGone(network.name, bridge_name(network)) from error
            raise
        return bridge

    def keep_mac(self, network: Network[Options]) -> str:
        """The bridge's MAC address, which it keeps from now on.

        One that we did not make takes another whenever a port comes or goes, unless somebody gave it one.
        """
        bridge = self.find(network)
        if not self.is_ours(network, bridge):
            keep = [mac(IFLA_ADDRESS, bridge.mac)]
            self._host.apply([change(bridge.name, f"keep the address of {bridge.name}", keep)])
        return bridge.mac

    def is_ours(self, network: Network[Options], link: Link) -> bool:
        return link.alias == self._tag(network)

    def segment(self, options: Options) -> str:
        """A bridge that somebody else has put a segment on; on one of ours are containers alone."""
        link = self._host.link(options.name) if options.name else None
        if link is None or link.alias.startswith("netmodel:"):
            missing = link is None and options.name
            why = f"there is no bridge {options.name}" if missing else "on a bridge of ours are containers alone"
            raise NoServer(why, f"name a bridge that a segment is on: -o {NAME}=LINK")
        return options.name

    def advice(self, network: Network[Options]) -> list[str]:
        """What of the bridge works, but not as one would wish."""
        link = self._host.link(bridge_name(network))
        outside = self._mtu_outside(network)
        if link is None or not 0 < outside < link.mtu:
            return []
        sizes = f"an MTU of {link.mtu}, the way out of this host one of {outside}"
        return [f"network {network.name} has {sizes}: larger packets are fragmented on the way, or lost"]

    def _make(self, network: Network[Options], name: str, undo: ExitStack) -> Link:
        tag = change(name, f"tag link {name}", [alias(self._tag(network))])
        options = network.options
        bridge = add_bridge(
            name,
            _mac_of(network.id),
            options.mtu or self._mtu_outside(network),
            stp=options.stp,
            group_forward_mask=options.group_forward_mask,
        )
        # One datagram: nothing can stop us between making the link and tagging it as ours.
        self._host.apply([bridge, tag])
        undo.callback(self._reaper.retire, [name])
        # Before the link is up: an advertisement accepted in between would leave a route and an
        # address, and accept_ra=0 removes neither. Without IPv6 in the kernel there is no such setting.
        if read_sysctl(f"net/ipv6/conf/{name}/accept_ra") is not None:
            write_sysctl(f"net/ipv6/conf/{name}/accept_ra", "0")
        link = self._host.link(name)
        assert link is not None
        self._host.apply([no_link_local(link.index)])
        return link

    def _check_adoptable(self, network: Network[Options], link: Link) -> None:
        """A bridge that the user names is used as it is; anything else in our way is an error."""
        if link.alias.startswith("netmodel:"):
            raise LinkTaken(link.name, "the bridge of another network", f"give {NAME} another name")
        if not network.options.name:
            raise LinkTaken(link.name, "not ours", "remove it, or create the network again")
        if link.kind != "bridge":
            raise LinkTaken(link.name, f"no bridge but a {link.kind or 'network card'}", f"give {NAME} another name")
        if network.options.stp or network.options.group_forward_mask:
            raise LinkTaken(link.name, "set up by somebody else", "leave out the options of the bridge itself")

    def _set_up(self, network: Network[Options], link: Link) -> None:
        mtu = network.options.mtu
        requests = [set_mtu(link.index, mtu)] if mtu and mtu != link.mtu else []
        requests.append(route_localnet(link.index))
        requests += [add_address(link.index, gateway, origin=ORIGIN) for gateway in self._gateways(network, link)]
        requests.append(set_up(link.index))
        if not link.up and any(pool.subnet.version == 6 for pool in _met_by_host(network)):
            requests.append(add_address(link.index, link_local(link.mac)))
        self._host.apply(requests)

    def _gateways(self, network: Network[Options], link: Link) -> list[IPInterface]:
        """The gateways' addresses that the bridge lacks."""
        wanted = [
            ip_interface((pool.gateway, pool.subnet.prefixlen))
            for pool in _met_by_host(network)
            if pool.gateway is not None and not (pool.subnet.version == 4 and network.options.inhibit_ipv4)
        ]
        if not link.up:
            return wanted  # it has just been made
        has = {(one.interface.ip) for one in self._host.addresses() if one.link == link.index}
        return [gateway for gateway in wanted if gateway.ip not in has]

    def _mtu_outside(self, network: Network[Options]) -> int:
        """The MTU of the way out of the host; 0 where there is none, or the network does not take it."""
        if network.internal:
            return 0
        ways = [find_way_out(self._host, pool.subnet.version) for pool in network.pools]
        return min((way.mtu for way in ways if way is not None), default=0)

    def _tag(self, network: Network[Options]) -> str:
        return f"netmodel:{self._root_id}:bridge:{network.id}"


def _met_by_host(network: Network[Options]) -> list[Pool]:
    """The pools in which the host itself is on the network."""
    return [pool for pool in network.pools if network.options.gateway_mode(pool.subnet.version) != "isolated"]


def _mac_of(network_id: str) -> str:
    """Locally administered, and the same whenever the network is made: neighbours' caches stay right."""
    return "02:" + hashlib.sha256(network_id.encode()).digest()[:5].hex(":")

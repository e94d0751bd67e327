"""The bridge that a network is: made or adopted, set up, and taken away again."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from ipaddress import ip_interface

from drivers.api import Network, Pool
from drivers.bridge_options import NAME, Options
from drivers.bridge_rules import bridge_name, host_link
from drivers.bridge_vlan import BridgeVlans, make_quiet
from drivers.errors import BridgeGone, LinkTaken, MissingBridgeFeature, NoServer
from drivers.kernel.address import IPInterface, add_address, delete_address, link_local
from drivers.kernel.bridge import add_bridge
from drivers.kernel.errors import KernelError
from drivers.kernel.link import (
    IFLA_ADDRESS,
    Link,
    change,
    get_link,
    read_link,
    route_localnet,
    set_master,
    set_mtu,
    set_up,
)
from drivers.kernel.netlink import Netlink
from drivers.kernel.reaper import Reaper
from drivers.kernel.wire import mac
from drivers.surroundings import find_way_out
from drivers.vrf import check_vrf, find_vrf

# Marks a gateway's address as given by us (IFA_PROTO), so that one that an adopted bridge had
# before is kept when the network goes.
ORIGIN = 0x6E
BRIDGE = "bridge"  # the kind in the tag of a bridge that we made


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
        self._vlans = BridgeVlans(host, reaper, root_id)

    def ensure(self, network: Network[Options], undo: ExitStack) -> None:
        """Make the bridge, or adopt it, and give the host's link to it what the network needs."""
        vrf = find_vrf(self._host, network.options.vrf)
        bridge = self._ensure_bridge(network, vrf, undo)
        link = bridge
        if host_link(network) != bridge.name:
            link = self._vlans.ensure(network, bridge, vrf, undo)
        if not self.is_ours(network, link):
            check_vrf(self._host, link, vrf, network.options.vrf)
        self._set_up(network, bridge, link, vrf)

    def remove(self, network: Network[Options], made: bool, in_use: Callable[[str], bool]) -> None:
        """Retire what of it we made, and take back what we gave to the rest. What is gone is no error.

        Args:
            made: The network was there; otherwise it may have been refused because somebody needs the link.
            in_use: Whether a link is another network's, too: others are VLANs of the same bridge.
        """
        bridge = self._host.link(bridge_name(network))
        link = self._host.link(host_link(network))
        if network.options.name:
            both = [one for one in dict.fromkeys((bridge, link)) if one is not None]
            theirs = [one.index for one in both if not one.alias.startswith("netmodel:") and not in_use(one.name)]
            given = [one for one in self._host.addresses() if one.link in theirs and one.origin == ORIGIN]
            requests = [delete_address(one.link, one.interface) for one in given]
            if made or given:
                # Without the firewall, who sends to 127.0.0.1 from there would be heard.
                requests += [route_localnet(index, on=False) for index in theirs]
            self._host.apply(requests)
        if host_link(network) != bridge_name(network):
            self._vlans.remove(network, bridge)
        if bridge is not None and self.is_ours(network, bridge):
            self._reaper.retire([bridge.name])

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
        return link.alias == self._tag(network) or self._vlans.is_ours(network, link)

    def segment(self, options: Options) -> str:
        """Of a bridge that somebody else has put a segment on; on one of ours are containers alone."""
        link = self._host.link(options.name) if options.name else None
        if link is None or link.alias.startswith("netmodel:"):
            missing = link is None and options.name
            why = f"there is no bridge {options.name}" if missing else "on a bridge of ours are containers alone"
            raise NoServer(why, f"name a bridge that a segment is on: -o {NAME}=LINK")
        return options.host_link

    def advice(self, network: Network[Options]) -> list[str]:
        """What of the bridge works, but not as one would wish."""
        vrf = self._host.link(network.options.vrf) if network.options.vrf else None
        told = []
        if network.options.vrf and (vrf is None or not vrf.up):
            what = "is gone" if vrf is None else "is down"
            told.append(f"network {network.name} leads nowhere: its VRF {network.options.vrf} {what}")
        link = self._host.link(host_link(network))
        outside = self._mtu_outside(network, vrf.index if vrf else 0)
        if link is not None and 0 < outside < link.mtu:
            sizes = f"an MTU of {link.mtu}, the way out of this host one of {outside}"
            told.append(f"network {network.name} has {sizes}: larger packets are fragmented on the way, or lost")
        return told

    def _ensure_bridge(self, network: Network[Options], vrf: int, undo: ExitStack) -> Link:
        name, options = bridge_name(network), network.options
        link = self._host.link(name)
        if link is not None:
            if not self.is_ours(network, link):
                self._check_adoptable(network, link)
            return link
        itself = host_link(network) == name
        request = add_bridge(
            name,
            _mac_of(network.id),
            options.mtu or self._mtu_outside(network, vrf),
            stp=options.stp,
            group_forward_mask=options.group_forward_mask,
            # A bridge that is one network alone is in its VLAN as all its ports are.
            default_vlan=(options.vlan if itself else 0) if options.vlan else None,
            master=vrf if itself else 0,
        )
        try:
            return make_quiet(self._host, request, name, self._tag(network), self._reaper, undo)
        except KernelError as error:
            if options.vlan and error.errno == errno.EOPNOTSUPP:
                raise MissingBridgeFeature("know no VLANs", "CONFIG_BRIDGE_VLAN_FILTERING") from error
            raise

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

    def _set_up(self, network: Network[Options], bridge: Link, link: Link, vrf: int) -> None:
        mtu = network.options.mtu
        both = dict.fromkeys((bridge, link))
        requests = [set_mtu(one.index, mtu) for one in both if mtu and mtu != one.mtu]
        fresh = not link.up
        if self.is_ours(network, link) and link.master != vrf:
            # The VRF was deleted and made again. The kernel takes the link's IPv6 addresses away as it moves.
            self._host.apply([set_master(link.index, vrf)])
            fresh = True
        # Of the bridge, too: br_netfilter has the answer to 127.0.0.1 routed as if it came from there.
        requests += [route_localnet(one.index) for one in both]
        requests += [add_address(link.index, gateway, origin=ORIGIN) for gateway in self._gateways(network, link)]
        requests += [set_up(one.index) for one in both]
        if fresh and any(pool.subnet.version == 6 for pool in _met_by_host(network)):
            requests.append(add_address(link.index, link_local(link.mac)))
        self._host.apply(requests)

    def _gateways(self, network: Network[Options], link: Link) -> list[IPInterface]:
        """The gateways' addresses that the host's link lacks."""
        wanted = [
            ip_interface((pool.gateway, pool.subnet.prefixlen))
            for pool in _met_by_host(network)
            if pool.gateway is not None and not (pool.subnet.version == 4 and network.options.inhibit_ipv4)
        ]
        if not link.up:
            return wanted  # it has just been made
        has = {(one.interface.ip) for one in self._host.addresses() if one.link == link.index}
        return [gateway for gateway in wanted if gateway.ip not in has]

    def _mtu_outside(self, network: Network[Options], vrf: int) -> int:
        """The MTU of the way out of the host; 0 where there is none, or the network does not take it."""
        if network.internal:
            return 0
        ways = [find_way_out(self._host, pool.subnet.version, vrf) for pool in network.pools]
        return min((way.mtu for way in ways if way is not None), default=0)

    def _tag(self, network: Network[Options]) -> str:
        return f"netmodel:{self._root_id}:{BRIDGE}:{network.id}"


def _met_by_host(network: Network[Options]) -> list[Pool]:
    """The pools in which the host itself is on the network."""
    return [pool for pool in network.pools if network.options.gateway_mode(pool.subnet.version) != "isolated"]


def _mac_of(network_id: str) -> str:
    """Locally administered, and the same whenever the network is made: neighbours' caches stay right."""
    return "02:" + hashlib.sha256(network_id.encode()).digest()[:5].hex(":")

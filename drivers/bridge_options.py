"""Options of bridge networks: Docker's under Docker's keys, and a few of our own for labs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Literal, cast

from drivers import options as read
from drivers.errors import InvalidOption
from drivers.kernel.link import NAME_BYTES

GatewayMode = Literal["nat", "nat-unprotected", "routed", "isolated"]

_PREFIX = "com.docker.network."
NAME = _PREFIX + "bridge.name"
ICC = _PREFIX + "bridge.enable_icc"
MASQUERADE = _PREFIX + "bridge.enable_ip_masquerade"
HOST_BINDING = _PREFIX + "bridge.host_binding_ipv4"
INHIBIT_IPV4 = _PREFIX + "bridge.inhibit_ipv4"
GATEWAY_MODE = {4: _PREFIX + "bridge.gateway_mode_ipv4", 6: _PREFIX + "bridge.gateway_mode_ipv6"}
TRUSTED = _PREFIX + "bridge.trusted_host_interfaces"
DEFAULT_BRIDGE = _PREFIX + "bridge.default_bridge"
HOST_IPV4, HOST_IPV6 = _PREFIX + "host_ipv4", _PREFIX + "host_ipv6"
MTU = _PREFIX + "driver.mtu"
INTERFACE_PREFIX = _PREFIX + "container_iface_prefix"
# Docker has none of these.
PUBLISH_TO_HOST = "netmodel.bridge.publish_to_host"
GROUP_FORWARD_MASK = "netmodel.bridge.group_fwd_mask"
STP = "netmodel.bridge.stp"
TX_CHECKSUM = "netmodel.bridge.tx_checksum"
MAC_CHECK = "netmodel.bridge.mac_check"
VLAN = "netmodel.bridge.vlan"
VLAN_TRUNK = "netmodel.bridge.vlan_trunk"
VRF = "netmodel.bridge.vrf"
KNOWN = (
    NAME,
    ICC,
    MASQUERADE,
    HOST_BINDING,
    INHIBIT_IPV4,
    *GATEWAY_MODE.values(),
    TRUSTED,
    DEFAULT_BRIDGE,
    HOST_IPV4,
    HOST_IPV6,
    MTU,
    INTERFACE_PREFIX,
    PUBLISH_TO_HOST,
    GROUP_FORWARD_MASK,
    STP,
    TX_CHECKSUM,
    MAC_CHECK,
    VLAN,
    VLAN_TRUNK,
    VRF,
)
# The kernel's own bounds of a bridge's MTU; IPv4 needs 68 (RFC 791).
SMALLEST_MTU, LARGEST_MTU = 68, 65535
_MODES = ("nat", "nat-unprotected", "routed", "isolated")
# BR_GROUPFWD_RESTRICTED: spanning tree, pause frames and link aggregation are the bridge's own.
# Source: Linux net/bridge/br_private.h.
_RESTRICTED = 0x0007


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a bridge network may be asked for.

    Args:
        name: Of the link on the host; "" takes one made of the network's id.
        icc: Inter-container communication within the network.
        host_binding: The host's address for ports published without one.
        mtu: In bytes; 0 is that of the way out of the host.
        inhibit_ipv4: The bridge does not get the IPv4 gateway's address: something else has it.
        gateway_mode_ipv4, gateway_mode_ipv6: What stands between the network and the outside:
            "nat" translates and hides what is not published, "nat-unprotected" translates and hides
            nothing, "routed" translates nothing and hides what is not published, "isolated" (of
            internal networks) keeps even the host away.
        trusted: Links of the host behind which published ports may be reached at the containers' own addresses.
        host_ipv4, host_ipv6: The address by which the outside sees the containers.
        publish_to_host: An internal network's published ports are reached from the host itself.
        group_forward_mask: Which frames to 01:80:C2:00:00:0X, by X, the bridge forwards like any other.
        stp: The bridge takes part in spanning trees; its ports then carry nothing for their first four seconds.
        tx_checksum: False makes the endpoints compute their checksums themselves instead of leaving
            it to a card that may never come: for who reads packets off the link.
        mac_check: What an endpoint sends under another MAC address than its own is dropped where it arrives.
        vlan: The network is this VLAN of the bridge, whose ports know nothing of it; 0 is none.
        vlan_trunk: Beside it the endpoints are in these, from first to last, and tag their frames themselves.
        vrf: The host's routing table for the network is that of this VRF; "" is the main one.
    """

    name: str = ""
    icc: bool = True
    masquerade: bool = True
    host_binding: IPv4Address | IPv6Address | None = None
    mtu: int = 0
    inhibit_ipv4: bool = False
    interface_prefix: str = "eth"
    gateway_mode_ipv4: GatewayMode = "nat"
    gateway_mode_ipv6: GatewayMode = "nat"
    trusted: tuple[str, ...] = ()
    host_ipv4: IPv4Address | None = None
    host_ipv6: IPv6Address | None = None
    publish_to_host: bool = False
    group_forward_mask: int = 0
    stp: bool = False
    tx_checksum: bool = True
    mac_check: bool = False
    vlan: int = 0
    vlan_trunk: tuple[tuple[int, int], ...] = ()
    vrf: str = ""

    @property
    def host_link(self) -> str:
        """The host's own link to the network: the bridge, or a VLAN of it; "" where the bridge has no name."""
        return f"{self.name}.{self.vlan}" if self.name and self.vlan else self.name

    def gateway_mode(self, version: int) -> GatewayMode:
        return self.gateway_mode_ipv4 if version == 4 else self.gateway_mode_ipv6


def parse(driver: str, options: Mapping[str, str]) -> Options:
    """Read the options of a network.

    Raises:
        InvalidOption: Unknown, or its value does not fit.
    """
    read.refuse_unknown(driver, options, KNOWN)
    found = Options(
        name=read.link_name(options, NAME, ""),
        icc=read.flag(options, ICC, True),
        masquerade=read.flag(options, MASQUERADE, True),
        host_binding=read.address(options, HOST_BINDING),
        mtu=0 if options.get(MTU) == "0" else read.number(options, MTU, 0, SMALLEST_MTU, LARGEST_MTU),
        inhibit_ipv4=read.flag(options, INHIBIT_IPV4, False),
        interface_prefix=read.link_name(options, INTERFACE_PREFIX, "eth", limit=10),
        gateway_mode_ipv4=_mode(options, 4),
        gateway_mode_ipv6=_mode(options, 6),
        trusted=read.link_names(options, TRUSTED, ":"),
        host_ipv4=read.ipv4(options, HOST_IPV4),
        host_ipv6=read.ipv6(options, HOST_IPV6),
        publish_to_host=read.flag(options, PUBLISH_TO_HOST, False),
        group_forward_mask=read.mask(options, GROUP_FORWARD_MASK, _RESTRICTED),
        stp=read.flag(options, STP, False),
        tx_checksum=read.flag(options, TX_CHECKSUM, True),
        mac_check=read.flag(options, MAC_CHECK, False),
        vlan=read.number(options, VLAN, 0, 1, 4094),
        vlan_trunk=read.ranges(options, VLAN_TRUNK, 1, 4094),
        vrf=read.link_name(options, VRF, ""),
    )
    if found.name and len(found.host_link.encode()) > NAME_BYTES:
        raise InvalidOption(
            f"option {VLAN}: the host's link in it would be {found.host_link}, longer than a link's name may be",
            hint=f"name a bridge of at most {NAME_BYTES - len(f'.{found.vlan}')} bytes",
        )
    if found.vlan_trunk and not found.vlan:
        raise InvalidOption(f"option {VLAN_TRUNK} is of no use without {VLAN}", hint=f"add {VLAN}")
    return found


def check_modes(options: Options, internal: bool) -> None:
    """Refuse what only internal networks, or only others, can be asked for.

    Raises:
        InvalidOption.
    """
    for family, key in GATEWAY_MODE.items():
        mode = options.gateway_mode(family)
        if mode == "isolated" and not internal:
            raise InvalidOption(f"option {key}: only an internal network can be isolated", hint="make it internal")
        if mode == "isolated" and options.publish_to_host:
            raise InvalidOption(
                f"options {key}=isolated and {PUBLISH_TO_HOST} exclude each other", hint="leave out one of them"
            )
        if mode in ("routed", "nat-unprotected") and internal:
            raise InvalidOption(
                f"option {key}: nothing outside reaches an internal network, so it cannot be {mode}",
                hint="leave the option out, or do not make the network internal",
            )
    if options.vrf and internal:
        raise InvalidOption(
            f"option {VRF}: an internal network is routed nowhere, so no VRF has a use for it",
            hint="leave the option out, or do not make the network internal",
        )
    for key, chosen in ((HOST_IPV4, options.host_ipv4), (HOST_IPV6, options.host_ipv6), (TRUSTED, options.trusted)):
        if options.vrf and chosen:
            raise InvalidOption(
                f"options {VRF} and {key} exclude each other",
                hint=f"leave out {key}: in a VRF packets leave by its own links' addresses, and no port is published",
            )
    if options.publish_to_host and not internal:
        raise InvalidOption(
            f"option {PUBLISH_TO_HOST}: this network publishes to everybody", hint="it is for internal networks"
        )


def _mode(options: Mapping[str, str], version: int) -> GatewayMode:
    return cast(GatewayMode, read.choice(options, GATEWAY_MODE[version], "nat", _MODES))

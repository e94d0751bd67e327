"""Options of bridge networks, under Docker's keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from drivers import options as read

_PREFIX = "com.docker.network."
NAME = _PREFIX + "bridge.name"
ICC = _PREFIX + "bridge.enable_icc"
MASQUERADE = _PREFIX + "bridge.enable_ip_masquerade"
HOST_BINDING = _PREFIX + "bridge.host_binding_ipv4"
INHIBIT_IPV4 = _PREFIX + "bridge.inhibit_ipv4"
DEFAULT_BRIDGE = _PREFIX + "bridge.default_bridge"
MTU = _PREFIX + "driver.mtu"
INTERFACE_PREFIX = _PREFIX + "container_iface_prefix"
_KNOWN = (NAME, ICC, MASQUERADE, HOST_BINDING, INHIBIT_IPV4, DEFAULT_BRIDGE, MTU, INTERFACE_PREFIX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a bridge network may be asked for.

    Args:
        name: Of the link on the host; "" takes one made of the network's id.
        icc: Inter-container communication within the network.
        host_binding: The host's address for ports published without one.
        mtu: In bytes; 0 is the kernel's.
        inhibit_ipv4: The bridge does not get the IPv4 gateway's address: something else has it.
    """

    name: str = ""
    icc: bool = True
    masquerade: bool = True
    host_binding: IPv4Address | None = None
    mtu: int = 0
    inhibit_ipv4: bool = False
    interface_prefix: str = "eth"


def parse(driver: str, options: Mapping[str, str]) -> Options:
    """Read the options of a network.

    Raises:
        InvalidOption: Unknown, or its value does not fit.
    """
    read.refuse_unknown(driver, options, _KNOWN)
    # The kernel's own bounds of a bridge's MTU; IPv4 needs 68 (RFC 791).
    return Options(
        name=read.link_name(options, NAME, ""),
        icc=read.flag(options, ICC, True),
        masquerade=read.flag(options, MASQUERADE, True),
        host_binding=read.ipv4(options, HOST_BINDING),
        mtu=0 if options.get(MTU) == "0" else read.number(options, MTU, 0, 68, 65535),
        inhibit_ipv4=read.flag(options, INHIBIT_IPV4, False),
        interface_prefix=read.link_name(options, INTERFACE_PREFIX, "eth", limit=10),
    )

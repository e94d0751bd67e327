"""What the firewall knows of a network, and which elements of its sets and maps that is."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

_FAMILIES = (4, 6)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRules:
    """What the firewall knows of a network.

    Args:
        bridge: Name of the host's link to it.
        beneath: The bridge of which it is one VLAN; "" where it is all of a bridge.
        vrf: The VRF that the host's link is in; what the host forwards from there comes in by that name.
        subnets: Of a network in a VRF: by these its containers are known, then.
        icc: Containers of the network reach each other.
        masquerade: Address families (4, 6) in which the outside sees them by an address of the host.
        sources: Which one, where it was chosen; at most one of each family.
        unprotected, routed: Families in which they may be reached at their own addresses: at all
            ports, or at those that are open.
        trusted: Links of the host from behind which that holds for open ports.
        open_to_all: It holds for open ports from everywhere.
        relays: What no rule can carry of a published port, the engine does.
    """

    bridge: str
    beneath: str = ""
    vrf: str = ""
    subnets: tuple[IPv4Network | IPv6Network, ...] = ()
    internal: bool = False
    icc: bool = True
    masquerade: tuple[int, ...] = _FAMILIES
    sources: tuple[IPv4Address | IPv6Address, ...] = ()
    unprotected: tuple[int, ...] = ()
    routed: tuple[int, ...] = ()
    trusted: tuple[str, ...] = ()
    open_to_all: bool = False
    relays: bool = True

    @property
    def elements(self) -> list[tuple[str, str]]:
        """The sets and maps it is in, and as what."""
        bridge = f'"{self.bridge}"'
        pair = f"{bridge} . {bridge}"
        elements = [
            ("bridges", bridge),
            ("same_bridge", pair),
            ("within", f"{pair} : {'accept' if self.icc else 'goto linked'}"),
        ]
        if self.internal:
            elements.append(("internal", bridge))
        if self.beneath:
            elements.append(("beneath", f'"{self.beneath}"'))
        if self.vrf:
            elements.append(("same_bridge", f'"{self.vrf}" . {bridge}'))
            known = [one for one in self.subnets if one.version in self.masquerade]
            elements += [(f"masqueraded{one.version}", f'"{self.vrf}" . {one}') for one in known]
        else:
            elements += [("masqueraded", f"ipv{family} . {bridge}") for family in self.masquerade]
        elements += [(f"source{one.version}", f"{bridge} : {one}") for one in self.sources]
        elements += [("unprotected", f"ipv{family} . {bridge}") for family in self.unprotected]
        elements += [("routed", f"ipv{family} . {bridge}") for family in self.routed]
        elements += [("trusted", f'"{link}" . {bridge}') for link in self.trusted]
        if self.open_to_all:
            elements.append(("open_to_all", bridge))
        return elements


def every_element(bridge: str) -> list[tuple[str, str]]:
    """Wherever a network might be that we have not seen being added."""
    most = NetworkRules(bridge=bridge, internal=True, unprotected=_FAMILIES, routed=_FAMILIES, open_to_all=True)
    return [*most.elements, ("source4", f'"{bridge}"'), ("source6", f'"{bridge}"')]

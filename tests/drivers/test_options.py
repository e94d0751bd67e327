"""Options of drivers: what is accepted, and how a wrong one is refused."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any, cast

import pytest

from drivers.api import Driver, Publishes
from drivers.bridge import Bridge
from drivers.bridge_options import Options
from drivers.errors import InvalidOption
from drivers.host import Host
from drivers.null import Null

BRIDGE = "com.docker.network.bridge."
OURS = "netmodel.bridge."


def bridge() -> Bridge:
    return Bridge.__new__(Bridge)  # parsing needs no kernel


def test_dockers_options() -> None:
    parsed = bridge().parse(
        {
            BRIDGE + "name": "lan0",
            BRIDGE + "enable_icc": "false",
            BRIDGE + "enable_ip_masquerade": "0",
            BRIDGE + "host_binding_ipv4": "127.0.0.1",
            BRIDGE + "inhibit_ipv4": "true",
            BRIDGE + "default_bridge": "true",
            "com.docker.network.driver.mtu": "1400",
            "com.docker.network.container_iface_prefix": "lan",
            BRIDGE + "gateway_mode_ipv4": "nat-unprotected",
            BRIDGE + "gateway_mode_ipv6": "routed",
            BRIDGE + "trusted_host_interfaces": "wg0:eth1:wg0",
            "com.docker.network.host_ipv4": "192.0.2.9",
            "com.docker.network.host_ipv6": "2001:db8::9",
        }
    )

    assert parsed == Options(
        name="lan0",
        icc=False,
        masquerade=False,
        host_binding=IPv4Address("127.0.0.1"),
        mtu=1400,
        inhibit_ipv4=True,
        interface_prefix="lan",
        gateway_mode_ipv4="nat-unprotected",
        gateway_mode_ipv6="routed",
        trusted=("wg0", "eth1"),
        host_ipv4=IPv4Address("192.0.2.9"),
        host_ipv6=IPv6Address("2001:db8::9"),
    )
    assert bridge().parse({}) == Options()


def test_our_own_options_for_labs() -> None:
    parsed = bridge().parse({OURS + "group_fwd_mask": "0x4000", OURS + "stp": "true", OURS + "tx_checksum": "false"})
    assert parsed == Options(group_forward_mask=0x4000, stp=True, tx_checksum=False)
    assert bridge().parse({OURS + "publish_to_host": "1"}) == Options(publish_to_host=True)
    assert bridge().parse({OURS + "mac_check": "true"}) == Options(mac_check=True)
    assert bridge().parse({OURS + "vlan": "4094", OURS + "vrf": "blue"}) == Options(vlan=4094, vrf="blue")
    trunk = bridge().parse({OURS + "vlan": "10", OURS + "vlan_trunk": "20, 30-40"}).vlan_trunk
    assert trunk == ((20, 20), (30, 40))


def test_the_hosts_link_to_a_vlan_needs_a_name_that_fits() -> None:
    with pytest.raises(
        InvalidOption, match=r"the host's link in it would be a-bridge-01\.4000, longer than"
    ) as refusal:
        bridge().parse({BRIDGE + "name": "a-bridge-01", OURS + "vlan": "4000"})
    assert refusal.value.hint == "name a bridge of at most 10 bytes"
    assert bridge().parse({BRIDGE + "name": "a-bridge-0", OURS + "vlan": "4000"}).host_link == "a-bridge-0.4000"


def test_the_default_binding_may_be_an_ipv6_address() -> None:
    assert bridge().parse({BRIDGE + "host_binding_ipv4": "2001:db8::1"}).host_binding == IPv6Address("2001:db8::1")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        (BRIDGE + "enable_icc", "maybe", "'maybe' is neither true nor false"),
        (BRIDGE + "host_binding_ipv4", "localhost", "'localhost' is not an IP address"),
        ("com.docker.network.host_ipv4", "::1", "'::1' is not an IPv4 address"),
        ("com.docker.network.host_ipv6", "192.0.2.1", "'192.0.2.1' is not an IPv6 address"),
        (BRIDGE + "gateway_mode_ipv4", "router", "'router' is none of nat, nat-unprotected, routed, isolated"),
        (BRIDGE + "trusted_host_interfaces", "eth0:a/b", "'a/b' is no name for a link"),
        (OURS + "group_fwd_mask", "0x4001", "is not a mask of 0 to 0xffff, without the bits 0x7"),
        (OURS + "group_fwd_mask", "lldp", "is not a mask"),
        (OURS + "mac_check", "strict", "'strict' is neither true nor false"),
        (OURS + "vlan", "4095", "'4095' is not a number from 1 to 4094"),
        (OURS + "vlan", "0", "'0' is not a number from 1 to 4094"),
        (OURS + "vlan_trunk", "20,", "'' is neither a number from 1 to 4094 nor a range of such"),
        (OURS + "vlan_trunk", "40-30", "'40-30' is neither a number"),
        (OURS + "vlan_trunk", "4000-5000", "'4000-5000' is neither a number"),
        (OURS + "vlan_trunk", "20", "is of no use without netmodel.bridge.vlan"),
        (OURS + "vrf", "blue:red", "'blue:red' is no name for a link"),
        (BRIDGE + "name", "a-name-of-16-byte", "is no name for a link"),
        (BRIDGE + "name", "a/b", "is no name for a link"),
        (BRIDGE + "name", "", "is no name for a link"),
        ("com.docker.network.driver.mtu", "60", "'60' is not a number from 68 to 65535"),
        ("com.docker.network.driver.mtu", "-1", "is not a number"),
        ("com.docker.network.driver.mtu", "²", "is not a number"),
    ],
)
def test_a_value_that_does_not_fit(option: str, value: str, message: str) -> None:
    with pytest.raises(InvalidOption, match=message) as refusal:
        bridge().parse({option: value})
    assert option in str(refusal.value)
    assert refusal.value.kind == "invalid"


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        (BRIDGE + "enable_ic", f"did you mean {BRIDGE}enable_icc?"),
        ("enable_icc", f"did you mean {BRIDGE}enable_icc?"),
        ("mtu", "did you mean com.docker.network.driver.mtu?"),
    ],
)
def test_an_unknown_option_is_refused_with_what_was_meant(option: str, hint: str) -> None:
    with pytest.raises(InvalidOption, match=f"driver bridge knows no option {option}") as refusal:
        bridge().parse({option: "x"})
    assert refusal.value.hint == hint


@pytest.mark.parametrize("driver", [Host(), Null()])
def test_drivers_without_options_and_links(driver: Any) -> None:
    driver = cast(Driver, driver)
    with pytest.raises(InvalidOption) as refusal:
        driver.parse({"mtu": "9000"})
    assert refusal.value.hint == f"driver {driver.name} has no options"
    assert driver.parse({}) is None
    assert not driver.wants_pools
    assert not isinstance(driver, Publishes)

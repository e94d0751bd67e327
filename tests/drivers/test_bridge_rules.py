"""What each option of a bridge network, and a published port on it, become in the firewall."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.bridge_rules import bridge_name
from tests.drivers.test_firewall import compare
from tests.drivers.wires import Stack, an_endpoint, anywhere, loopback
from tests.support.box import Box

pytestmark = pytest.mark.kernel
DOCKER = "com.docker.network."

# By the name of its bridge, which tells the rows of the golden file apart.
MATRIX: dict[str, dict[str, Any]] = {
    "plain": {},
    "no-icc": {"enable_icc": "false"},
    "no-masq": {"enable_ip_masquerade": "false"},
    "open": {"gateway_mode_ipv4": "nat-unprotected", "gateway_mode_ipv6": "nat-unprotected"},
    "routed": {"gateway_mode_ipv4": "routed", "gateway_mode_ipv6": "routed"},
    "routed6": {"gateway_mode_ipv6": "routed"},
    "trusting": {"trusted_host_interfaces": "wg0:eth1"},
    "source": {DOCKER + "host_ipv4": "192.0.2.9", DOCKER + "host_ipv6": "2001:db8:2::9"},
    "source-no-masq": {DOCKER + "host_ipv4": "192.0.2.9", "enable_ip_masquerade": "false"},
    "bound": {"host_binding_ipv4": "127.0.0.1"},
    "inside": {"internal": True},
    "inside-no-icc": {"internal": True, "enable_icc": "false"},
    "isolated": {"internal": True, "gateway_mode_ipv4": "isolated", "gateway_mode_ipv6": "isolated"},
    "to-host": {"internal": True, "netmodel.bridge.publish_to_host": "true"},
}


def test_golden_options(stack: Stack, host: Box) -> None:
    """Ports are published on those networks alone on which the engine does."""
    for number, (name, options) in enumerate(MATRIX.items(), 1):
        subnets = f"10.{number}.0.0/24", f"fd{number:02}::/64"
        network = stack.network(name, *subnets, name=name, **options)
        assert bridge_name(network) == name
        if network.internal and not stack.bridge.publishes_to_host(network):
            continue
        endpoint = an_endpoint(network, host, f"10.{number}.0.2/24", f"fd{number:02}::2/64")
        local = [] if network.options.gateway_mode_ipv4 == "routed" else [loopback(9000 + number, protocol="udp")]
        stack.bridge.publish(network, endpoint, [anywhere(8000 + number), *local])
    compare(stack.firewall, "options")

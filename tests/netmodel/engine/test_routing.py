"""Which way out is chosen, as values."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_interface, ip_network

from drivers.api import Attachment, Route
from netmodel.engine.routing import Joined, gateway_endpoint, publishing_endpoint
from netmodel.model import Endpoint, EndpointConfig, Network, NetworkConfig

EVERYTHING = ip_network("0.0.0.0/0")
BY_GATEWAY = Attachment(link="nm1", gateways=(ip_address("10.1.0.1"),))
ON_LINK = Attachment(link="nm2", routes=(Route(destination=EVERYTHING), Route(destination=ip_network("10.7.0.0/16"))))
NOWHERE = replace(BY_GATEWAY, leads_outside=False)


def joined(name: str, attachment: Attachment, gw_priority: int = 0, internal: bool = False) -> Joined:
    network = Network(id=name, config=NetworkConfig(name=name, internal=internal), created_at=datetime.now(UTC))
    endpoint = Endpoint(
        id=f"{name}-end",
        network_id=name,
        container_id="c",
        config=EndpointConfig(network=name, gw_priority=gw_priority),
        mac="",
        interface="eth0",
        addresses=(ip_interface("10.1.0.2/24"),),
    )
    return Joined(endpoint=endpoint, network=network, attachment=attachment)


def test_a_gateway_is_a_way_out() -> None:
    assert joined("lan", BY_GATEWAY).way_out(4) == Route(destination=EVERYTHING, via=ip_address("10.1.0.1"))
    assert joined("lan", BY_GATEWAY).way_out(6) is None


def test_so_is_a_link_that_everything_is_on() -> None:
    """As of ipvlan's modes that route; its other routes are none."""
    assert joined("lan", ON_LINK).way_out(4) == Route(destination=EVERYTHING)
    assert joined("lan", ON_LINK).way_out(6) is None


def test_what_leads_nowhere_is_none() -> None:
    assert joined("lan", NOWHERE).way_out(4) is None
    assert joined("lan", ON_LINK, internal=True).way_out(4) is None
    assert not joined("lan", NOWHERE).leads_outside


def test_priority_goes_before_the_name() -> None:
    first, second, third = joined("a", BY_GATEWAY), joined("b", ON_LINK, 1), joined("c", NOWHERE, 2)

    assert gateway_endpoint([third, second, first], 4) is second
    assert gateway_endpoint([third, first], 4) is first
    assert gateway_endpoint([third], 4) is None
    assert publishing_endpoint([third, second, first]) is second

"""What the tests of macvlan and ipvlan stand on: a link of the host with a neighbour behind it."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from drivers.api import Endpoint, Network, Pool
from drivers.kernel.address import add_address
from drivers.kernel.link import Link, add_veth, set_up
from drivers.kernel.netlink import Netlink
from drivers.kernel.route import add_route
from drivers.sublinks import SubLinks
from tests.drivers.wires import an_endpoint, an_id, configure, ping
from tests.support.box import Box


def stand_outside(host: Box, outside: Box, parent: str = "parent") -> None:
    """A neighbour at 10.5.0.254 behind a link of the host's, which has no address itself."""
    with Netlink(host.path) as here, Netlink(outside.path) as there:
        here.apply([add_veth(parent, "wan", outside.fd, up=True)])
        there.apply([add_address(there.index("wan"), ip_interface("10.5.0.254/24")), set_up("wan")])


def a_network(driver: SubLinks[Any], name: str = "net", *, internal: bool = False, **options: str) -> Network[Any]:
    pool = Pool(subnet=ip_network("10.5.0.0/24"), gateway=None if internal else ip_address("10.5.0.254"))
    network = Network(id=an_id(name), name=name, options=driver.parse(options), pools=(pool,), internal=internal)
    driver.create_network(network)
    return network


def attach(driver: SubLinks[Any], network: Network[Any], box: Box, address: str) -> Endpoint:
    endpoint = an_endpoint(network, box, address)
    driver.create_endpoint(network, endpoint)
    attachment = driver.join(network, endpoint, box.path)
    configure(box, endpoint, attachment)
    with Netlink(box.path) as inside:
        index = next(link.index for link in links(box).values())
        inside.apply([add_route(route.destination, via=route.via, ifindex=index) for route in attachment.routes])
    return endpoint


def links(box: Box) -> dict[str, Link]:
    with Netlink(box.path) as netlink:
        return {link.name: link for link in netlink.links() if link.name != "lo"}


def reaches(box: Box, address: str) -> bool:
    return ping(box, address, timeout_s=0.5) is not None

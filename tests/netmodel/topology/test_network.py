from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

from netmodel.model import PoolConfig
from tests.netmodel.topology.support import network, project


def test_every_key(tmp_path: Path) -> None:
    found = network(
        tmp_path,
        """
        name: office
        driver: bridge
        driver_opts: {com.docker.network.bridge.name: br-office, mtu: 1400}
        internal: true
        attachable: true
        enable_ipv4: true
        enable_ipv6: true
        labels: {a: b}
        ipam:
          driver: default
          options: {x: y}
          config:
            - subnet: 10.1.0.0/16
              ip_range: 10.1.4.0/24
              gateway: 10.1.0.254
              aux_addresses: {printer: 10.1.0.5}
            - subnet: fd00:1::/64
        """,
    )

    assert (found.name, found.driver, found.internal, found.attachable) == ("office", "bridge", True, True)
    assert found.options == {"com.docker.network.bridge.name": "br-office", "mtu": "1400"}
    assert (found.enable_ipv4, found.enable_ipv6) == (True, True)
    assert (found.ipam_driver, found.ipam_options) == ("default", {"x": "y"})
    assert found.pools == (
        PoolConfig(
            subnet=ip_network("10.1.0.0/16"),
            ip_range=ip_network("10.1.4.0/24"),
            gateway=ip_address("10.1.0.254"),
            auxiliary={"printer": ip_address("10.1.0.5")},
        ),
        PoolConfig(subnet=ip_network("fd00:1::/64")),
    )
    assert found.labels["a"] == "b"
    assert found.labels["com.docker.compose.network"] == "lan"
    assert len(found.labels["com.docker.compose.config-hash"]) == 64


def test_a_subnet_of_any_address_asks_for_its_size(tmp_path: Path) -> None:
    found = network(tmp_path, "ipam: {config: [{subnet: 0.0.0.0/26}, {subnet: '::/80'}]}")

    assert found.pools == (PoolConfig(size=26), PoolConfig(size=80, family=6))
    assert found.enable_ipv6


def test_an_ipv6_subnet_asks_for_ipv6(tmp_path: Path) -> None:
    assert network(tmp_path, "ipam: {config: [{subnet: 'fd00::/64'}]}").enable_ipv6


def test_a_gateway_nobody_chose_gives_way_to_a_router_that_somebody_did(tmp_path: Path) -> None:
    found = project(
        tmp_path,
        """
        services:
          r1: {image: host, networks: {lan: {ipv4_address: 10.1.0.1}}}
          r2: {image: host, networks: {lan: {ipv4_address: 10.1.0.2}}}
        networks: {lan: {ipam: {config: [{subnet: 10.1.0.0/24, aux_addresses: {x: 10.1.0.3}}]}}}
        """,
    )

    assert found.networks[0].config.pools[0].gateway == ip_address("10.1.0.4")


def test_a_gateway_that_nobody_disputes_is_left_to_ipam(tmp_path: Path) -> None:
    found = project(
        tmp_path,
        """
        services: {r1: {image: host, networks: {lan: {ipv4_address: 10.1.0.9}}}}
        networks: {lan: {ipam: {config: [{subnet: 10.1.0.0/24}]}}}
        """,
    )

    assert found.networks[0].config.pools[0].gateway is None


def test_the_old_form_of_external(tmp_path: Path) -> None:
    found = project(tmp_path, "networks: {lan: {external: {name: theirs}}}")

    assert [(one.key, one.config.name, one.external) for one in found.networks] == [("lan", "theirs", True)]

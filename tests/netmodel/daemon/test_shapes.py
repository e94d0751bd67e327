"""Our records in Docker's words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from netmodel.daemon.wire import network as networks
from netmodel.daemon.wire.container import Seen, ago, inspect, line
from netmodel.daemon.wire.ports import published, summary
from netmodel.model import (
    Container,
    ContainerConfig,
    ContainerState,
    Endpoint,
    EndpointConfig,
    Network,
    NetworkConfig,
    NetworkPool,
    PortConfig,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NETWORK = Network(
    id="a" * 64,
    config=NetworkConfig(name="lan"),
    created_at=NOW,
    pools=(NetworkPool(subnet=ip_network("10.1.0.0/24"), gateway=ip_address("10.1.0.1")),),
)
ENDPOINT = Endpoint(
    id="e" * 64,
    network_id=NETWORK.id,
    container_id="c" * 64,
    config=EndpointConfig(network="lan", aliases=("www",)),
    mac="02:42:0a:01:00:02",
    interface="eth0",
    addresses=(ip_interface("10.1.0.2/24"),),
)


def container(status: str = "running", **config: object) -> Container:
    return Container(
        id="c" * 64,
        name="web",
        config=ContainerConfig(image="host", networks=(EndpointConfig(network="lan"),), **config),  # type: ignore[arg-type]
        created_at=NOW,
        sandbox="c" * 64,
        idmap_base=100000,
        state=ContainerState(status=status, pid=7, started_at=NOW, finished_at=NOW),  # type: ignore[arg-type]
        ports=(PortConfig(container_port=80, host_port=8080),),
    )


def seen(status: str = "running") -> Seen:
    one = container(status)
    published = [(port, [ip_address("0.0.0.0")]) for port in one.ports]
    networks = {NETWORK.id: NETWORK}
    return Seen(
        container=one,
        endpoints=[ENDPOINT],
        networks=networks,
        argv=("sleep", "60"),
        published=published,
        hostname="web1",
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (150, "2 minutes"),
        (3600, "About an hour"),
        (7200, "2 hours"),
        (86400 * 3, "3 days"),
        (86400 * 20, "2 weeks"),
        (86400 * 90, "3 months"),
    ],
)
def test_durations_in_docker_s_words(seconds: int, words: str) -> None:
    assert ago(NOW - timedelta(seconds=seconds), NOW) == words


def test_a_line_of_ps() -> None:
    found = line(seen(), NOW + timedelta(minutes=5))

    assert found["Names"] == ["/web"]
    assert found["Status"] == "Up 5 minutes"
    assert found["HostConfig"]["NetworkMode"] == "lan"
    assert found["NetworkSettings"]["Networks"]["lan"]["IPAddress"] == "10.1.0.2"
    assert found["NetworkSettings"]["Networks"]["lan"]["Gateway"] == "10.1.0.1"
    assert found["Ports"][0] == {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}


def test_a_stopped_container_has_no_address_to_show() -> None:
    found = inspect(seen("exited"))

    assert found["State"]["Pid"] == 0
    assert found["NetworkSettings"]["Ports"] == {}
    assert found["NetworkSettings"]["Networks"]["lan"]["IPAddress"] == ""
    assert found["NetworkSettings"]["Networks"]["lan"]["Aliases"] == ["www"]


def test_times_are_utc_and_never_is_go_s_zero() -> None:
    found = inspect(Seen(container=container("created"), endpoints=[], networks={}))

    assert found["Created"] == "2026-01-02T03:04:05.000000Z"
    assert inspect(seen())["State"]["StartedAt"] == "2026-01-02T03:04:05.000000Z"


def test_members_of_a_network() -> None:
    found = networks.shape(NETWORK, [(container(), ENDPOINT)])

    assert found["IPAM"]["Config"] == [{"Subnet": "10.1.0.0/24", "Gateway": "10.1.0.1"}]
    assert found["Containers"]["c" * 64]["IPv4Address"] == "10.1.0.2/24"


def test_a_network_has_every_field_of_docker_s() -> None:
    """Those of `Network` in Docker's API 1.47; Peers and Services are of swarm mode, and left out without it."""
    found = networks.shape(NETWORK, [(container(), ENDPOINT)])

    assert set(found) == {
        "Name", "Id", "Created", "Scope", "Driver", "EnableIPv4", "EnableIPv6", "IPAM", "Internal", "Attachable",
        "Ingress", "ConfigFrom", "ConfigOnly", "Containers", "Options", "Labels",
    }  # fmt: skip
    assert set(found["IPAM"]) == {"Driver", "Options", "Config"}
    assert set(found["Containers"]["c" * 64]) == {"Name", "EndpointID", "MacAddress", "IPv4Address", "IPv6Address"}


def test_a_port_that_is_only_exposed() -> None:
    exposed = (PortConfig(container_port=80), PortConfig(container_port=90, protocol="udp"))
    bound = [(PortConfig(container_port=80, host_port=1), [ip_address("127.0.0.1")])]

    assert published(exposed, bound) == {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "1"}], "90/udp": None}
    assert summary(exposed, bound)[1] == {"PrivatePort": 90, "Type": "udp"}

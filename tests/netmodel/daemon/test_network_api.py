"""What moby's own tests ask of the network API, asked of ours: each test is named by theirs.

Source: moby integration/network, integration/networking.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any

import pytest

from netmodel.client import ApiError
from tests.netmodel.daemon.test_api import refusal, request, sleeper
from tests.support.daemon import Daemon

pytestmark = pytest.mark.kernel


def create(daemon: Daemon, name: str, *pools: Mapping[str, Any], **body: Any) -> str:
    wanted = {"Name": name, **body, **({"IPAM": {"Config": list(pools)}} if pools else {})}
    made: str = daemon.client.post("/networks/create", wanted)["Id"]
    return made


def names(daemon: Daemon) -> list[str]:
    return [network["Name"] for network in daemon.client.get("/networks")]


def routes(daemon: Daemon, container: str, family: str) -> str:
    return daemon.ok("exec", container, "ip", family, "route", "show", "default")


@pytest.mark.parametrize("path", ["/networks/create", "/networks/bridge/connect", "/networks/bridge/disconnect"])
def test_network_invalid_json(daemon: Daemon, path: str) -> None:
    """TestNetworkInvalidJSON"""
    for body, told in (
        (b"{invalid json", "JSON is malformed"),
        (b"{} trailing content", "JSON is malformed"),
        (b"", "name"),
    ):
        code, message = refusal(request(daemon, "POST", path, body))
        assert code == 400
        assert told in message
    curl = ("curl", "-s", "--unix-socket", str(daemon.host), "-H", "Content-Type: text/plain", "-d", "{}")
    message = json.loads(daemon.run(*curl, f"http://netmodel{path}").stdout)["message"]
    assert "unsupported Content-Type header (text/plain): must be 'application/json'" in message


def test_network_list(daemon: Daemon) -> None:
    """TestNetworkList, TestAPINetworkGetDefaults, TestAPINetworkFilter"""
    for path in ("/networks", "/networks/", "/v1.44/networks/"):
        with request(daemon, "GET", path) as response:
            assert {"bridge", "host", "none"} <= {network["Name"] for network in json.loads(response.read())}
    found = daemon.client.get("/networks", filters={"name": ["bridge"]})
    assert "bridge" in [network["Name"] for network in found]


def test_network_create_delete(daemon: Daemon) -> None:
    """TestNetworkCreateDelete, TestForbidDuplicateNetworkNames"""
    create(daemon, "made")
    with pytest.raises(ApiError) as error:
        create(daemon, "made")
    assert error.value.status == 409
    daemon.client.delete("/networks/made")
    assert "made" not in names(daemon)


def test_network_delete_prefers_id(daemon: Daemon) -> None:
    """TestDockerNetworkDeletePreferID: an id goes before a name, and a name before the beginning of an id."""
    first = create(daemon, "original")
    create(daemon, first[:12])
    create(daemon, first)

    daemon.client.delete(f"/networks/{first[:12]}")
    daemon.client.delete(f"/networks/{first}")

    left = names(daemon)
    assert first in left
    assert first[:12] not in left
    assert "original" not in left
    daemon.client.delete(f"/networks/{first}")
    assert first not in names(daemon)


def test_network_inspect_with_scope(daemon: Daemon) -> None:
    """TestNetworkInspectWithScope: one of another scope is not found; and verbose is understood."""
    create(daemon, "scoped")
    assert daemon.client.get("/networks/scoped", scope="local", verbose="true")["Scope"] == "local"
    for query, code in (("scope=swarm", 404), ("scope=nonsense", 404), ("verbose=perhaps", 400)):
        assert refusal(request(daemon, "GET", f"/networks/scoped?{query}"))[0] == code
    daemon.client.delete("/networks/scoped")


@pytest.mark.parametrize("name", ["bridge", "host", "none"])
def test_create_delete_predefined_networks(daemon: Daemon, name: str) -> None:
    """TestCreateDeletePredefinedNetworks"""
    body = json.dumps({"Name": name}).encode()
    code, message = refusal(request(daemon, "POST", "/networks/create", body))
    assert (code, "operation is not permitted on predefined" in message) == (403, True)
    code, message = refusal(request(daemon, "DELETE", f"/networks/{name}"))
    assert (code, "is a pre-defined network and cannot be removed" in message) == (403, True)
    assert name in names(daemon)


def test_create_with_multi_networks(daemon: Daemon) -> None:
    """TestCreateWithMultiNetworks"""
    for name in ("testnet1", "testnet2"):
        create(daemon, name)
    sleeper(
        daemon.client,
        "multi",
        HostConfig={"NetworkMode": "testnet1"},
        NetworkingConfig={"EndpointsConfig": {"testnet1": {}, "testnet2": {}}},
    )
    assert len(daemon.ok("exec", "multi", "ip", "-o", "-4", "address", "show").splitlines()) == 3
    daemon.ok("rm", "-f", "multi")
    daemon.ok("network", "rm", "testnet1", "testnet2")


def test_ipv6_of_our_own(daemon: Daemon) -> None:
    """TestCreateWithIPv6DefaultsToULAPrefix, TestNetworkInspectGateway, TestSetIPWithNoConfiguredSubnet"""
    create(daemon, "ula", EnableIPv6=True)
    pools = daemon.client.get("/networks/ula")["IPAM"]["Config"]
    assert all(pool["Gateway"] for pool in pools)
    four, six = sorted((ip_network(pool["Subnet"]) for pool in pools), key=lambda subnet: subnet.version)
    assert six.subnet_of(ip_network("fd00::/8"))  # type: ignore[arg-type]

    wanted = {"IPv4Address": str(four[2]), "IPv6Address": str(six[2])}
    sleeper(
        daemon.client,
        "chosen",
        HostConfig={"NetworkMode": "ula"},
        NetworkingConfig={"EndpointsConfig": {"ula": {"IPAMConfig": wanted}}},
    )
    shown = daemon.ok("exec", "chosen", "ip", "address", "show", "eth0")
    assert all(address in shown for address in wanted.values())
    daemon.ok("rm", "-f", "chosen")
    daemon.ok("network", "rm", "ula")


@pytest.mark.parametrize("subnet", ["fd2e:b68c:ce26::/64", "fd2e:b68c:ce26::/56"])
@pytest.mark.parametrize("ip_range", ["", "fd2e:b68c:ce26::/64"])
@pytest.mark.parametrize("gateway", ["", "fd2e:b68c:ce26::1"])
def test_64_bit_ip_range(daemon: Daemon, subnet: str, ip_range: str, gateway: str) -> None:
    """Test64BitIPRange"""
    create(daemon, "test64br", {"Subnet": subnet, "IPRange": ip_range, "Gateway": gateway}, EnableIPv6=True)
    daemon.client.delete("/networks/test64br")


@pytest.mark.parametrize(
    ("subnet", "ip_range"),
    [
        ("fda9:8d04:86e::/64", "fda9:8d04:86e::ffff:ffff:ffff:ff0e/127"),
        ("fda9:8d04:86e::/64", "fda9:8d04:86e::ffff:ffff:ffff:fffe/127"),
        ("fda9:8d04:86e::/56", "fda9:8d04:86e:aa:ffff:ffff:ffff:fffe/127"),
    ],
)
def test_ip_range_at_64_bit_limit(daemon: Daemon, subnet: str, ip_range: str) -> None:
    """TestIPRangeAt64BitLimit"""
    create(daemon, "test64bl", {"Subnet": subnet, "IPRange": ip_range}, EnableIPv6=True)
    sleeper(daemon.client, "at-limit", HostConfig={"NetworkMode": "test64bl"})
    daemon.ok("rm", "-f", "at-limit")
    daemon.client.delete("/networks/test64bl")


def test_published_port_already_in_use(daemon: Daemon) -> None:
    """TestPublishedPortAlreadyInUse, TestPublishAllWithNilPortBindings"""
    ports = {"ExposedPorts": {"80/tcp": {}}, "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "8000"}]}}}
    sleeper(daemon.client, "first", **ports)
    second = daemon.client.post("/containers/create", {"Image": "host", "Cmd": ["true"], **ports}, name="second")["Id"]
    with pytest.raises(ApiError) as error:
        daemon.client.post(f"/containers/{second}/start")
    assert "8000" in str(error.value)
    assert daemon.client.get("/containers/second/json")["State"]["Status"] == "created"
    every = {"PublishAllPorts": True, "PortBindings": {"80/tcp": None}}
    sleeper(daemon.client, "all", ExposedPorts={"80/tcp": {}}, HostConfig=every)
    assert daemon.client.get("/containers/all/json")["NetworkSettings"]["Ports"]["80/tcp"]
    daemon.ok("rm", "-f", "first", "second", "all")


def test_connect_with_priority(daemon: Daemon) -> None:
    """TestCreateWithPriority, TestConnectWithPriority"""
    for number in range(1, 6):
        pools = ({"Subnet": f"10.100.{number}0.0/24"}, {"Subnet": f"fd4c:{number}::/64"})
        create(daemon, f"prio{number}", *pools, EnableIPv6=True)
    sleeper(daemon.client, "ranked", HostConfig={"NetworkMode": "prio1"})

    def leads_to(number: int) -> None:
        assert f"via 10.100.{number}0.1 " in routes(daemon, "ranked", "-4")
        assert f"via fd4c:{number}::1 " in routes(daemon, "ranked", "-6")

    leads_to(1)
    for number, priority, chosen in ((5, -100, 1), (2, 100, 2), (3, 10, 2), (4, 10, 2)):
        body = {"Container": "ranked", "EndpointConfig": {"GwPriority": priority}}
        daemon.client.post(f"/networks/prio{number}/connect", body)
        leads_to(chosen)
    found = daemon.client.get("/containers/ranked/json")["NetworkSettings"]["Networks"]
    assert [found[f"prio{number}"]["GwPriority"] for number in range(1, 6)] == [0, 100, 10, 10, -100]
    for number, chosen in ((2, 3), (3, 4), (4, 1)):
        daemon.client.post(f"/networks/prio{number}/disconnect", {"Container": "ranked", "Force": True})
        leads_to(chosen)
    daemon.ok("rm", "-f", "ranked")

    both = {"prio1": {"GwPriority": 10}, "prio2": {"GwPriority": 100}}
    sleeper(daemon.client, "made", HostConfig={"NetworkMode": "prio1"}, NetworkingConfig={"EndpointsConfig": both})
    assert "via 10.100.20.1 " in routes(daemon, "made", "-4")
    daemon.ok("rm", "-f", "made")
    daemon.ok("network", "rm", *[f"prio{number}" for number in range(1, 6)])

"""What Docker's own tests ask of networks through its API, under their names."""

from __future__ import annotations

from typing import Any

import pytest

from netmodel.client import ApiError, Client
from tests.support.daemon import Daemon

pytestmark = pytest.mark.kernel


def run(client: Client, name: str, **body: Any) -> dict[str, Any]:
    wanted = {"Image": "host", "Cmd": ["sleep", "infinity"], **body}
    made = client.post("/containers/create", wanted, name=name)["Id"]
    client.post(f"/containers/{made}/start")
    found: dict[str, Any] = client.get(f"/containers/{made}/json")
    return found


def addresses(daemon: Daemon, name: str) -> str:
    return daemon.ok("exec", name, "ip", "-o", "addr", "show", "dev", "eth0")


def test_watchtower_create(daemon: Daemon) -> None:
    """TestWatchtowerCreate: a container made anew from what inspect said of it keeps its address, MAC and names."""
    client = daemon.client
    subnet = {"Config": [{"Subnet": "10.61.0.0/24"}]}
    client.post("/networks/create", {"Name": "tower", "IPAM": subnet})
    asked = {"IPAMConfig": {"IPv4Address": "10.61.0.77"}, "MacAddress": "02:42:ac:11:00:77", "Aliases": ["lookout"]}
    before = run(client, "watched", NetworkingConfig={"EndpointsConfig": {"tower": asked}})
    client.delete(f"/containers/{before['Id']}", force=True)

    again = {
        **before["Config"],
        "HostConfig": before["HostConfig"],
        "NetworkingConfig": {"EndpointsConfig": before["NetworkSettings"]["Networks"]},
    }
    after = run(client, "watched", **again)

    endpoint = after["NetworkSettings"]["Networks"]["tower"]
    assert (endpoint["IPAddress"], endpoint["MacAddress"]) == ("10.61.0.77", "02:42:ac:11:00:77")
    assert "10.61.0.77/24" in addresses(daemon, "watched")
    assert "02:42:ac:11:00:77" in daemon.ok("exec", "watched", "cat", "/sys/class/net/eth0/address")
    run(client, "guest", HostConfig={"NetworkMode": "tower"})
    for name in ("watched", "lookout"):
        assert "1 received" in daemon.ok("exec", "guest", "ping", "-c1", "-W2", name)


def test_set_ip_with_no_configured_subnet(daemon: Daemon) -> None:
    """TestSetIPWithNoConfiguredSubnet: an address may be chosen out of a subnet that was not."""
    client = daemon.client
    client.post("/networks/create", {"Name": "unset"})
    [pool] = client.get("/networks/unset")["IPAM"]["Config"]
    wanted = pool["Subnet"].rpartition(".")[0] + ".99"

    run(client, "placed", NetworkingConfig={"EndpointsConfig": {"unset": {"IPAMConfig": {"IPv4Address": wanted}}}})

    assert f" {wanted}/" in addresses(daemon, "placed")


def test_publish_all_with_nil_port_bindings(daemon: Daemon) -> None:
    """TestPublishAllWithNilPortBindings: a port without a binding is published like those that are exposed."""
    host = {"PublishAllPorts": True, "PortBindings": {"80/tcp": None}}

    found = run(daemon.client, "everything", ExposedPorts={"80/tcp": {}, "81/udp": {}}, HostConfig=host)

    ports = found["NetworkSettings"]["Ports"]
    assert set(ports) == {"80/tcp", "81/udp"}
    assert all(int(one["HostPort"]) for bindings in ports.values() for one in bindings)


def test_network_inspect_gateway(daemon: Daemon) -> None:
    """TestNetworkInspectGateway: an address without a prefix, of a network that did not ask for one, too."""
    daemon.client.post("/networks/create", {"Name": "gated", "EnableIPv6": True})

    gateways = [pool["Gateway"] for pool in daemon.client.get("/networks/gated")["IPAM"]["Config"]]

    assert len(gateways) == 2
    on_host = daemon.run("ip", "-o", "addr").stdout
    for gateway in gateways:
        assert "/" not in gateway
        assert f" {gateway}/" in on_host


def test_no_network_is_called_default(daemon: Daemon) -> None:
    """Docker's clients say default for the default network, so nobody could be put on one of that name."""
    with pytest.raises(ApiError, match="predefined default network"):
        daemon.client.post("/networks/create", {"Name": "default"})

    assert "default" not in {network["Name"] for network in daemon.client.get("/networks")}


def test_what_was_asked_for_is_shown_of_who_does_not_run(daemon: Daemon) -> None:
    """So that whoever makes it anew from that has all of it again: the name of the link, too."""
    client = daemon.client
    client.post("/networks/create", {"Name": "wished"})
    options = {"com.docker.network.endpoint.ifname": "wan0"}
    asked = {"MacAddress": "02:42:ac:11:00:78", "DriverOpts": options}
    host = {"PublishAllPorts": True, "PortBindings": {"80/tcp": [{"HostPort": "8088"}]}, "NetworkMode": "wished"}
    body = {"Image": "host", "Cmd": ["sleep"], "Hostname": "far", "ExposedPorts": {"81/udp": {}}, "HostConfig": host}
    body["NetworkingConfig"] = {"EndpointsConfig": {"wished": asked}}
    made = client.post("/containers/create", body, name="stopped")["Id"]

    found = client.get(f"/containers/{made}/json")

    endpoint = found["NetworkSettings"]["Networks"]["wished"]
    assert (endpoint["DriverOpts"], endpoint["MacAddress"]) == (options, "02:42:ac:11:00:78")
    assert endpoint["DNSNames"] == ["stopped", made[:12], "far"]
    assert found["HostConfig"]["PublishAllPorts"] is True
    assert found["HostConfig"]["PortBindings"] == {"80/tcp": [{"HostIp": "", "HostPort": "8088"}]}
    with pytest.raises(ApiError, match="network wished keeps addresses for containers that do not run: stopped"):
        client.delete("/networks/wished")
    client.delete(f"/containers/{made}")
    client.delete("/networks/wished")


def test_who_has_the_hosts_network_or_none_or_anothers(daemon: Daemon) -> None:
    """Shown as such, with the host name that it has."""
    client = daemon.client
    for mode in ("host", "none"):
        found = run(client, f"on-{mode}", HostConfig={"NetworkMode": mode})
        members = client.get(f"/networks/{mode}")["Containers"]
        assert members[found["Id"]]["Name"] == f"on-{mode}"
        [(name, endpoint)] = found["NetworkSettings"]["Networks"].items()
        assert (name, endpoint["NetworkID"]) == (mode, client.get(f"/networks/{mode}")["Id"])
        assert set(endpoint) == set(run(client, f"as-{mode}")["NetworkSettings"]["Networks"]["bridge"])
        assert found["Config"]["Hostname"] == daemon.ok("exec", f"on-{mode}", "hostname").strip()

    lender = run(client, "lender", Hostname="lent")
    user = run(client, "user", HostConfig={"NetworkMode": "container:lender"})

    assert user["HostConfig"]["NetworkMode"] == f"container:{lender['Id']}"
    assert user["Config"]["Hostname"] == "lent" == daemon.ok("exec", "user", "hostname").strip()


def test_the_default_network_says_what_docker_s_does(daemon: Daemon) -> None:
    options = daemon.client.get("/networks/bridge")["Options"]

    assert options["com.docker.network.bridge.default_bridge"] == "true"
    assert options["com.docker.network.bridge.enable_icc"] == "true"
    daemon.box.run("ip", "link", "show", options["com.docker.network.bridge.name"])


def test_compose_makes_a_container_anew_with_its_fixed_addresses(daemon: Daemon) -> None:
    """As `docker compose up` does: the new one is created first, under another name, while the old one runs."""
    client = daemon.client
    subnets = {"Config": [{"Subnet": "10.62.0.0/24"}, {"Subnet": "fd62::/64"}]}
    client.post("/networks/create", {"Name": "shop_n", "EnableIPv6": True, "IPAM": subnets})
    wish = {"IPAMConfig": {"IPv4Address": "10.62.0.9", "IPv6Address": "fd62::9"}}

    def body(number: str, **changed: Any) -> dict[str, Any]:
        labels = {"project": "shop", "service": "web", "container-number": number}
        return {
            "Labels": {f"com.docker.compose.{key}": value for key, value in labels.items()},
            "HostConfig": {"NetworkMode": "shop_n", "PortBindings": {"80/tcp": [{"HostPort": "8091"}]}},
            "NetworkingConfig": {"EndpointsConfig": {"shop_n": wish}},
            **changed,
        }

    def create(name: str, wanted: dict[str, Any]) -> str:
        made: str = client.post("/containers/create", {"Image": "host", "Cmd": ["sleep", "9"], **wanted}, name=name)[
            "Id"
        ]
        return made

    old = run(client, "shop-web-1", **body("1"))["Id"]
    with pytest.raises(ApiError, match=r"10\.62\.0\.9 of network shop_n is taken by container shop-web-1"):
        create("shop-web-2", body("2"))
    new = create("tmp_shop-web-1", body("1", Env=["NEW=1"]))
    with pytest.raises(ApiError, match=r"10\.62\.0\.9 of network shop_n is taken by container shop-web-1"):
        client.post(f"/containers/{new}/start")
    client.post(f"/containers/{old}/stop", t=0)
    client.delete(f"/containers/{old}")
    client.post(f"/containers/{new}/rename", name="shop-web-1")
    daemon.stop()
    daemon.start()
    client.post(f"/containers/{new}/start")

    assert "10.62.0.9/24" in addresses(daemon, "shop-web-1")
    assert "fd62::9/64" in addresses(daemon, "shop-web-1")
    endpoint = client.get(f"/containers/{new}/json")["NetworkSettings"]["Networks"]["shop_n"]
    assert (endpoint["IPAddress"], endpoint["MacAddress"]) == ("10.62.0.9", "02:42:0a:3e:00:09")
    usage = client.get("/networks/shop_n")["Status"]["IPAM"]["Subnets"]["10.62.0.0/24"]["IPsInUse"]
    client.delete(f"/containers/{new}", force=True)
    assert client.get("/networks/shop_n")["Status"]["IPAM"]["Subnets"]["10.62.0.0/24"]["IPsInUse"] == usage - 1


def test_an_older_compose_starts_the_new_one_while_the_old_one_is_there(daemon: Daemon) -> None:
    """It has stopped it; whoever starts that one again hears who has its address now."""
    client = daemon.client
    client.post("/networks/create", {"Name": "inn_n", "IPAM": {"Config": [{"Subnet": "10.63.0.0/24"}]}})
    labels = {"project": "inn", "service": "bar", "container-number": "1"}
    body = {
        "Image": "host",
        "Cmd": ["sleep", "infinity"],
        "Labels": {f"com.docker.compose.{key}": value for key, value in labels.items()},
        "HostConfig": {"NetworkMode": "inn_n"},
        "NetworkingConfig": {"EndpointsConfig": {"inn_n": {"IPAMConfig": {"IPv4Address": "10.63.0.9"}}}},
    }
    old = run(client, "inn_bar_1", **body)["Id"]
    client.post(f"/containers/{old}/stop", t=0)
    client.post(f"/containers/{old}/rename", name="old_inn_bar_1")

    new = run(client, "inn_bar_1", **body)["Id"]

    assert "10.63.0.9/24" in addresses(daemon, "inn_bar_1")
    with pytest.raises(ApiError, match=r"10\.63\.0\.9 of network inn_n is taken by container inn_bar_1"):
        client.post(f"/containers/{old}/start")
    client.delete(f"/containers/{old}")
    with pytest.raises(ApiError, match="is taken by container inn_bar_1"):
        run(client, "thief", **{**body, "Labels": {}})
    client.delete(f"/containers/{new}", force=True)
    client.delete("/networks/inn_n")

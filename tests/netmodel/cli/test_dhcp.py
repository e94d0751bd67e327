"""Leased addresses from the command line and in topologies, on an engine that is killed."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from drivers.kernel.link import set_up
from drivers.kernel.netlink import Netlink
from tests.drivers.parents import stand_outside
from tests.support.box import Box
from tests.support.daemon import NETMODEL, Daemon, running
from tests.support.dhcp import Dnsmasq, Seekers, serving
from tests.support.wait import eventually

pytestmark = pytest.mark.kernel

TOPOLOGY = """\
name: office
services:
  web: {image: host, command: sleep infinity, networks: [lan]}
  user: {image: host, command: sleep infinity, networks: {lan: {mac_address: "02:00:00:00:05:02"}}}
networks:
  lan: {driver: macvlan, driver_opts: {parent: parent}, ipam: {driver: dhcp}}
x-expect:
  - user -> web: {icmp: true}
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path) as started:
        yield started


@pytest.fixture
def outside(daemon: Daemon) -> Iterator[Box]:
    """The segment behind the host's link "parent"."""
    made = Box("outside")
    with daemon.box.entered():
        stand_outside(daemon.box, made)
        with Netlink() as netlink:
            netlink.apply([set_up("parent")])
    yield made
    made.close()


@pytest.fixture
def server(outside: Box, tmp_path: Path) -> Iterator[Dnsmasq]:
    with serving(Dnsmasq(outside, tmp_path, "10.5.0.10", "10.5.0.60")) as started:
        yield started


def attachment(daemon: Daemon, container: str) -> dict[str, Any]:
    [found] = json.loads(daemon.ok("inspect", container))
    networks: dict[str, Any] = found["NetworkSettings"]["Networks"]
    return networks["lan"]


def test_a_lease_is_shown(daemon: Daemon, server: Dnsmasq) -> None:
    daemon.ok("network", "create", "-d", "macvlan", "--ipam-driver", "dhcp", "-o", "parent=parent", "lan")
    daemon.ok("run", "-d", "--name", "web", "--network", "lan", "host", "sleep", "infinity")

    seen = attachment(daemon, "web")
    assert seen["IPAddress"] in server.leases()
    assert (seen["IPPrefixLen"], seen["Gateway"]) == (24, "10.5.0.254")
    assert seen["Lease"]["Server"] == "10.5.0.254"
    assert seen["Lease"]["Renews"] < seen["Lease"]["Expires"]
    [network] = json.loads(daemon.ok("network", "inspect", "lan"))
    assert (network["IPAM"]["Driver"], network["IPAM"]["Config"]) == ("dhcp", [])
    assert [one["IPv4Address"] for one in network["Containers"].values()] == [f"{seen['IPAddress']}/24"]
    row = next(line for line in daemon.ok("network", "ls").splitlines() if " lan " in line)
    assert row.split()[1:] == ["lan", "macvlan", "by", "DHCP"]


def test_an_engine_that_was_killed_goes_on(daemon: Daemon, server: Dnsmasq) -> None:
    daemon.ok("network", "create", "-d", "macvlan", "--ipam-driver", "dhcp", "-o", "parent=parent", "lan")
    daemon.ok("run", "-d", "--name", "web", "--network", "lan", "host", "sleep", "infinity")
    before = attachment(daemon, "web")

    daemon.stop(signal.SIGKILL)
    daemon.start()

    assert attachment(daemon, "web") == before
    assert server.log().count("DHCPDISCOVER") == 1
    daemon.ok("exec", "web", "ping", "-c1", "-W1", "10.5.0.254")
    daemon.ok("rm", "-f", "web")
    eventually(lambda: server.leases() == {}, what="the lease")


def test_killed_while_it_waits_for_a_server(daemon: Daemon, outside: Box, tmp_path: Path) -> None:
    """Nobody was told that the container runs: it does not, and may be started."""
    daemon.ok("network", "create", "-d", "macvlan", "--ipam-driver", "dhcp", "-o", "parent=parent", "lan")
    daemon.ok("create", "--name", "web", "--network", "lan", "host", "sleep", "infinity")
    with closing(Seekers(outside)) as seekers:
        waiting = daemon.popen(NETMODEL, "start", "web")
        seekers.wait_for(1)
        daemon.stop(signal.SIGKILL)
        waiting.communicate(timeout=30)

    daemon.start()
    assert daemon.ok("inspect", "-f", "{{.State.Status}}", "web") == "created"
    with serving(Dnsmasq(outside, tmp_path, "10.5.0.10", "10.5.0.60")) as server:
        daemon.ok("start", "web")
        assert attachment(daemon, "web")["IPAddress"] in server.leases()


def test_a_topology(daemon: Daemon, server: Dnsmasq, tmp_path: Path) -> None:
    file = tmp_path / "office.yaml"
    file.write_text(TOPOLOGY)

    planned = daemon.ok("plan", str(file))
    daemon.ok("up", str(file))

    assert "addresses by DHCP" in next(line for line in planned.splitlines() if "office_lan" in line)
    assert "02:00:00:00:05:02" in {fields[1] for fields in server.leases().values()}
    daemon.ok("check", str(file))
    assert {line.split()[0] for line in daemon.ok("plan", str(file)).splitlines()[1:]} == {"keep"}
    changed = tmp_path / "changed.yaml"
    changed.write_text(TOPOLOGY.replace("{driver: dhcp}", "{config: [{subnet: 10.5.0.0/24}]}"))
    assert "ipam.driver" in next(line for line in daemon.ok("plan", str(changed)).splitlines() if "office_lan" in line)
    daemon.ok("down", str(file))
    eventually(lambda: server.leases() == {}, what="the leases")


def test_an_address_of_ones_own_is_refused_in_a_file(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "office.yaml"
    file.write_text(TOPOLOGY.replace("networks: [lan]", "networks: {lan: {ipv4_address: 10.5.0.7}}"))

    refused = daemon.netmodel("plan", str(file))

    assert refused.returncode == 2
    assert 'ipv4_address: network "lan" has the addresses that its DHCP server lends' in refused.stderr

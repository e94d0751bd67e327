"""Networks, volumes, events and completion from the command line, on a real engine."""

from __future__ import annotations

import json

import pytest

from tests.support.daemon import NETMODEL, Daemon

pytestmark = pytest.mark.kernel


def test_a_network_s_life(daemon: Daemon) -> None:
    made = daemon.ok("network", "create", "--subnet", "10.88.1.0/24", "--gateway", "10.88.1.9", "--internal", "back")
    daemon.ok("run", "-d", "--name", "db", "--network", "back", "host", "sleep", "infinity")
    daemon.ok("run", "-d", "--name", "app", "host", "sleep", "infinity")

    daemon.ok("network", "connect", "--ip", "10.88.1.50", "--alias", "also", "--interface", "lan0", "back", "app")
    assert "lan0" in daemon.ok("exec", "app", "ip", "-br", "link")
    assert "1 received" in daemon.ok("exec", "db", "ping", "-c1", "-W2", "also")

    (found,) = json.loads(daemon.ok("network", "inspect", "back"))
    assert found["Id"] == made
    assert {one["Name"]: one["IPv4Address"] for one in found["Containers"].values()} == {
        "db": "10.88.1.1/24",
        "app": "10.88.1.50/24",
    }
    row = next(line for line in daemon.ok("network", "ls").splitlines() if " back " in line)
    assert row.split() == [made[:12], "back", "bridge", "10.88.1.0/24", "internal"]

    busy = daemon.netmodel("network", "rm", "back")
    assert (busy.returncode, "active endpoints" in busy.stderr) == (1, True)
    daemon.ok("network", "disconnect", "back", "app")
    daemon.ok("rm", "-f", "db")
    daemon.ok("network", "rm", "back")
    assert daemon.ok("network", "ls", "-q", "--filter", "name=back") == ""


def test_settings_kept_for_networks(daemon: Daemon) -> None:
    daemon.ok("network", "create", "--config-only", "--subnet", "/26", "kept")
    daemon.ok("network", "create", "--config-from", "kept", "--internal", "taking")

    (kept,) = json.loads(daemon.ok("network", "inspect", "kept"))
    assert kept["IPAM"]["Config"] == [{"Subnet": "0.0.0.0/26"}]
    row = next(line for line in daemon.ok("network", "ls").splitlines() if " kept " in line)
    assert row.split()[1:] == ["kept", "null", "0.0.0.0/26", "settings", "alone"]
    assert daemon.ok("network", "inspect", "-f", "{{.ConfigFrom.Network}} {{.Internal}}", "taking") == "kept true"
    busy = daemon.netmodel("network", "rm", "kept")
    assert (busy.returncode, "has the settings of: taking" in busy.stderr) == (1, True)
    daemon.ok("network", "rm", "taking", "kept")


def test_a_subnet_by_its_size_and_how_full_it_is(daemon: Daemon) -> None:
    """As Status.IPAM in Docker's API 1.52, where addresses that no host can have count as used."""
    daemon.ok("network", "create", "--subnet", "/26", "--subnet", "/80", "--ipv6", "sized")
    daemon.ok("create", "--name", "sized-1", "--network", "sized", "host", "sleep", "infinity")

    (found,) = json.loads(daemon.ok("network", "inspect", "sized"))
    v4, v6 = (pool["Subnet"] for pool in found["IPAM"]["Config"])
    assert (v4.split("/")[1], v6.split("/")[1]) == ("26", "80")
    assert found["Status"]["IPAM"]["Subnets"] == {
        v4: {"IPsInUse": 4, "DynamicIPsAvailable": 60},
        v6: {"IPsInUse": 3, "DynamicIPsAvailable": 2**48 - 3},
    }
    daemon.ok("network", "create", "--ipv6", "--subnet", "fd44::/56", "wide")
    (wide,) = json.loads(daemon.ok("network", "inspect", "wide"))
    assert wide["Status"]["IPAM"]["Subnets"]["fd44::/56"] == {"IPsInUse": 2, "DynamicIPsAvailable": 2**64 - 1}
    daemon.ok("rm", "sized-1")
    daemon.ok("network", "rm", "sized", "wide")


def test_link_local_addresses(daemon: Daemon) -> None:
    daemon.ok("network", "create", "--internal", "links")
    daemon.ok("network", "create", "--internal", "more")
    daemon.ok(
        "run",
        "-d",
        "--name",
        "linked",
        "--network",
        "name=links,link-local-ip=169.254.8.1",
        "host",
        "sleep",
        "infinity",
    )
    daemon.ok("network", "connect", "--link-local-ip", "fe80::8", "more", "linked")

    (found,) = json.loads(daemon.ok("inspect", "linked"))
    networks = found["NetworkSettings"]["Networks"]
    assert networks["links"]["IPAMConfig"] == {"LinkLocalIPs": ["169.254.8.1"]}
    assert networks["more"]["IPAMConfig"] == {"LinkLocalIPs": ["fe80::8"]}
    shown = daemon.ok("exec", "linked", "ip", "-o", "addr")
    assert "169.254.8.1/16" in shown
    assert "fe80::8/64" in shown
    daemon.ok("rm", "-f", "linked")
    daemon.ok("network", "rm", "links", "more")


@pytest.mark.parametrize(
    ("argv", "code", "told"),
    [
        (("network", "create", "--subnet", "10.88.2.1/24", "x"), 2, "hint: write 10.88.2.0/24"),
        (("network", "create", "--subnet", "10.88.2", "x"), 2, "not in CIDR notation"),
        (("network", "create", "--subnet", "/33", "x"), 2, "asks for a subnet, but IPv6 is off"),
        (("network", "create", "--subnet", "/24", "--gateway", "10.0.0.1", "x"), 2, "is in none of the subnets"),
        (("network", "create", "--ipam-opt", "speed=9", "x"), 2, "has no option 'speed'"),
        (("network", "create", "-d", "nosuch", "x"), 2, "nosuch"),
        (("network", "create", "-o", "com.docker.network.bridge.nmae=x", "x"), 2, "nmae"),
        (("network", "connect", "nosuch", "nobody"), 1, "no such"),
        (("network", "rm", "bridge"), 1, "error: "),
        (("network", "create", "bridge"), 1, "bridge"),
        (("volume", "create", "-d", "nosuch", "x"), 2, "nosuch"),
        (("volume", "rm", "nosuch"), 1, "nosuch"),
    ],
)
def test_what_cannot_be(daemon: Daemon, argv: tuple[str, ...], code: int, told: str) -> None:
    done = daemon.netmodel(*argv)

    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert told in done.stderr
    assert done.stderr.startswith("error: ")


def test_volumes(daemon: Daemon) -> None:
    assert daemon.ok("volume", "create", "--label", "a=b", "kept") == "kept"
    daemon.ok("run", "--rm", "-v", "kept:/data", "host", "sh", "-c", "echo here > /data/file")

    assert daemon.ok("run", "--rm", "-v", "kept:/data:ro", "host", "cat", "/data/file") == "here"
    assert [one["Name"] for one in json.loads(daemon.ok("volume", "ls", "--json", "--filter", "label=a=b"))] == ["kept"]
    (whole,) = json.loads(daemon.ok("volume", "inspect", "kept"))
    assert whole["Labels"] == {"a": "b"}
    assert daemon.ok("volume", "rm", "kept") == "kept"


def test_events(daemon: Daemon) -> None:
    daemon.ok("network", "create", "heard")

    told = daemon.ok("events", "--since", "1h", "--until", "0s", "--filter", "network=heard", "--json")

    assert [json.loads(line)["Action"] for line in told.splitlines()] == ["create"]


def test_the_shell_completes_names(daemon: Daemon) -> None:
    daemon.ok("network", "create", "completed")
    daemon.ok("create", "--name", "complete-me", "host", "true")

    def complete(*words: str) -> list[str]:
        done = daemon.run(
            "env",
            f"COMP_WORDS={' '.join(words)}",
            f"COMP_CWORD={len(words) - 1}",
            "_NETMODEL_COMPLETE=bash_complete",
            NETMODEL,
        )
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    assert complete("netmodel", "rm", "compl") == ["complete-me"]
    assert complete("netmodel", "network", "rm", "compl") == ["completed"]
    assert "network" in complete("netmodel", "net")
    create = ("netmodel", "network", "create")
    assert complete(*create, "-d", "ma") == ["macvlan"]
    assert complete(*create, "--ipam-driver", "dh") == ["dhcp"]
    assert complete(*create, "-o", "com.docker.network.bridge.enable_ic") == ["com.docker.network.bridge.enable_icc="]
    assert "parent=" in complete(*create, "-d", "macvlan", "-o", "")
    assert "parent=" not in complete(*create, "-o", "")
    assert complete("netmodel", "network", "ls", "--filter", "dangling=") == ["dangling=false", "dangling=true"]
    daemon.ok("network", "create", "--config-only", "keep-it")
    assert complete(*create, "--config-from", "") == ["keep-it"]
    daemon.ok("run", "-d", "--name", "open", "-p", "80", "-p", "81/udp", "host", "sleep", "infinity")
    assert complete("netmodel", "port", "open", "") == ["80/tcp", "81/udp"]
    daemon.ok("rm", "-f", "open")
    daemon.ok("network", "rm", "keep-it")

"""The doctor is right about this machine, changes nothing, and is quick."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from drivers.kernel.nft import NftWorker
from netmodel.doctor import Finding, examine
from netmodel.doctor.settings import settings
from tests.support.box import Box

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Finding]:
    found = examine(tmp_path_factory.mktemp("root"))
    return {(finding.area, finding.feature): finding for finding in found}


def test_each_thing_is_looked_at_once_and_every_loss_has_its_cost(
    findings: dict[tuple[str, str], Finding], tmp_path: Path
) -> None:
    assert len(findings) == len(examine(tmp_path))
    assert {area for area, _ in findings} == {
        "rights", "limits", "namespaces", "storage", "cgroups", "network", "firewall", "security", "settings",
    }  # fmt: skip
    for finding in findings.values():
        assert finding.detail
        assert bool(finding.cost) == (not finding.ok), finding


@pytest.mark.not_on("it lacks nftables' inet family", "uml")
def test_what_these_tests_need_is_there(findings: dict[tuple[str, str], Finding]) -> None:
    assert [finding for finding in findings.values() if finding.needed and not finding.ok] == []


KINDS = {
    "veth": "veth",
    "bridge": "bridge",
    "macvlan": "macvlan link p0",
    "ipvlan": "ipvlan link p0",
    "vlan": "vlan id 7 link p0",
    "vxlan": "vxlan id 7 dstport 4789",
    "vrf": "vrf table 7",
    "dummy": "dummy",
    "wireguard": "wireguard",
    "ifb": "ifb",
}


@pytest.mark.parametrize("kind", KINDS)
def test_link_kinds_are_those_that_ip_can_make(findings: dict[tuple[str, str], Finding], host: Box, kind: str) -> None:
    host.run("ip", "link", "add", "p0", "type", "veth", "peer", "name", "p1")
    words = KINDS[kind].split()
    parent = words[words.index("link") :] if "link" in words else []
    options = words[1 : words.index("link")] if parent else words[1:]

    made = host.run("ip", "link", "add", *parent, "name", "x0", "type", words[0], *options, check=False)

    assert findings["network", kind].ok == (made.returncode == 0), made.stderr


def test_a_bridge_can_what_the_bridge_command_can(findings: dict[tuple[str, str], Finding], host: Box) -> None:
    vlans = host.run("ip", "link", "add", "br1", "type", "bridge", "vlan_filtering", "1", check=False)
    assert findings["network", "bridge VLANs"].ok == (vlans.returncode == 0)
    host.run("ip", "link", "add", "br0", "type", "bridge")
    host.run("ip", "link", "add", "p0", "master", "br0", "type", "veth", "peer", "name", "p1")

    locked = host.run("bridge", "link", "set", "dev", "p0", "locked", "on", check=False)

    shown = host.run("bridge", "-d", "link", "show", "dev", "p0").stdout
    assert findings["network", "bridge port lock"].ok == (locked.returncode == 0 and "locked on" in shown)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("netem", "delay 1ms"), ("tbf", "rate 1mbit burst 10kb latency 10ms"), ("htb", "default 1")],
)
def test_queueing_disciplines_are_those_that_tc_can_make(
    findings: dict[tuple[str, str], Finding], host: Box, kind: str, options: str
) -> None:
    host.run("ip", "link", "add", "p0", "type", "veth", "peer", "name", "p1")

    made = host.run("tc", "qdisc", "add", "dev", "p0", "root", kind, *options.split(), check=False)

    assert findings["network", kind].ok == (made.returncode == 0), made.stderr


def test_capabilities_are_those_that_we_have(findings: dict[tuple[str, str], Finding]) -> None:
    status = Path("/proc/self/status").read_text()
    held = int(status.partition("CapEff:")[2].split()[0], 16)

    assert (("rights", "CAP_SYS_RESOURCE") in findings) == (not held >> 24 & 1)


@pytest.mark.not_on("it lacks nftables' inet family", "uml")
@pytest.mark.parametrize(
    ("rules", "blocked", "in_part"),
    [
        ("", [], False),
        ("ct status dnat accept", ["way out"], False),
        ("", ["published ports", "way out"], False),
        ("tcp dport 80 accept", ["published ports", "way out"], True),
    ],
)
def test_rules_of_others_that_are_in_the_way_are_named(
    host: Box, tmp_path: Path, rules: str, blocked: list[str], in_part: bool
) -> None:
    policy = "drop" if blocked else "accept"
    chain = f"type filter hook forward priority 0; policy {policy}; ct state established accept; {rules}"
    host.run("nft", f"table inet strict {{ chain forward {{ {chain} ; }}; }}")

    found = {finding.feature: finding for finding in examine(tmp_path) if finding.area == "firewall"}

    assert [feature for feature in ("published ports", "way out") if not found[feature].ok] == blocked
    for feature in blocked:
        assert found[feature].detail.endswith("by table inet strict chain forward (policy drop)")
        assert found[feature].cost
    assert ("in part" in found["published ports"].detail) is in_part


@pytest.mark.parametrize(
    ("text", "ok", "detail", "cost"),
    [
        (None, True, "nothing is set", ""),
        ('{"icc": false, "mtu": 1400}', True, "sets icc, mtu", ""),
        ('{"icc": "no"}', False, 'engine.json: icc: "no" is neither true nor false', "write true or false"),
        ('{"ip-forward-no-drop": false}', False, "is never dropped by us", "in the chain user of our table"),
        ('{"bip6": "fd00::1/64"}', False, "the default network has no IPv6", 'set "ipv6": true'),
        ("{", False, "engine.json: not JSON", "correct it"),
    ],
)
def test_mistakes_in_the_settings_are_told(tmp_path: Path, text: str | None, ok: bool, detail: str, cost: str) -> None:
    if text is not None:
        (tmp_path / "engine.json").write_text(text)

    [found] = settings(tmp_path)

    assert (found.ok, found.needed) == (ok, not ok)
    assert detail in found.detail
    assert cost in found.cost


def test_it_changes_nothing(host: Box, tmp_path: Path) -> None:
    mountinfo = Path("/proc/self/mountinfo")
    rules = NftWorker()  # here, where the test is
    groups = [line.split()[4] for line in mountinfo.read_text().splitlines() if " - cgroup" in line]

    def state() -> tuple[object, ...]:
        return (
            host.run("ip", "-o", "link").stdout,
            rules.run("list ruleset\n"),
            [line for line in mountinfo.read_text().splitlines() if str(tmp_path) in line],
            [found for point in groups for found in Path(point).glob("netmodel_doctor*")],
            list(tmp_path.iterdir()),
        )

    def descriptors() -> list[str]:
        return sorted(str(found.readlink()) for found in Path("/proc/self/fd").iterdir() if found.is_symlink())

    before, open_before = state(), descriptors()
    examine(tmp_path / "not/there/yet")

    assert state() == before
    assert descriptors() == open_before
    rules.close()


def test_without_roots_powers_it_says_so_and_survives() -> None:
    """Who asks in a container or without sudo deserves findings, not a traceback."""
    code = "import pathlib\nfrom netmodel.doctor import examine\n"
    code += "for f in examine(pathlib.Path('/var/lib/netmodel')): print(f.area, f.feature, f.ok)"
    # User 0 all the same: the checkout may lie where only its owner may enter.
    told = subprocess.run(
        ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )

    assert told.returncode == 0, told.stderr
    assert "rights CAP_NET_ADMIN False" in told.stdout
    assert "network links False" in told.stdout
    assert "firewall nftables False" in told.stdout

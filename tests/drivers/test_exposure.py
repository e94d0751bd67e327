"""What is said of a published port's reach is what packets find: others' rules in the way, of every make."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from drivers.exposure import Exposure
from drivers.relayed import Relayed
from drivers.ruleset import read
from tests.drivers.wires import DROPPED_S, Stack, anywhere, ask, loopback, route, serving
from tests.support.box import Box

pytestmark = pytest.mark.kernel
Boxes = Callable[[str], Box]

UFW = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:ufw-before-forward - [0:0]
:ufw-user-forward - [0:0]
-A FORWARD -j ufw-before-forward
-A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-forward -p icmp --icmp-type echo-request -j ACCEPT
-A ufw-before-forward -j ufw-user-forward
{rules}
COMMIT
"""
FIREWALLD = """
table inet firewalld {{
    chain filter_FORWARD {{
        type filter hook forward priority filter + 10; policy accept;
        ct state {{ established, related }} accept
        {rules}
        iifname "lo" accept
        jump filter_FORWARD_POLICIES
        ct state invalid drop
        reject with icmpx admin-prohibited
    }}
    chain filter_FORWARD_POLICIES {{
        iifname "nothere0" jump filter_FWD_public
        goto filter_FWD_public
    }}
    chain filter_FWD_public {{ meta l4proto {{ icmp, ipv6-icmp }} accept; }}
}}
"""
PLAIN = """
table inet filter {{
    set allowed {{ type inet_service; elements = {{ 80, 443 }}; }}
    chain forward {{
        type filter hook forward priority 0; policy {policy};
        ct state vmap {{ established : accept, related : accept, invalid : drop }}
        {rules}
    }}
}}
"""
EARLY = """
table inet early {{
    chain in {{ type filter hook prerouting priority raw; policy accept; {rules} }}
}}
"""


def plain(rules: str = "", policy: str = "drop") -> str:
    return PLAIN.format(rules=rules, policy=policy)


LISTING = """\
table inet t {
\tset s {
\t\ttype ifname . ifname
\t\telements = { "a" . "b",
\t\t\t     "c{d" . "e" }
\t}

\tchain c {
\t\ttype filter hook forward priority filter + 10; policy drop;
\t\ttcp dport { 1, 2,
\t\t\t    3 } counter log prefix "drop me" accept
\t}
}
"""

CASES = {
    "nobody": ("", "open", ""),
    "policy": (plain(), "blocked", "table inet filter chain forward (policy drop)"),
    "accepted by port": (plain("tcp dport 80 accept"), "open", ""),
    "another port": (plain("tcp dport { 22, 8080-8090 } accept"), "blocked", "(policy drop)"),
    "by a named set": (plain("tcp dport @allowed accept"), "open", ""),
    "by the map": (plain("iifname vmap { eth9 : drop, wan2 : accept }"), "open", ""),
    "by status": (plain("ct status dnat accept"), "open", ""),
    "by bridge": (plain('oifname "br-*" accept'), "open", ""),
    "by address": (plain("ip daddr 10.1.0.0/16 accept"), "open", ""),
    "not by address": (plain("ip daddr != 10.1.0.0/16 accept"), "blocked", "(policy drop)"),
    "matching drop": (
        plain("tcp dport 80 drop", policy="accept"),
        "blocked",
        "table inet filter chain forward (tcp dport 80 drop)",
    ),
    "reject": (plain("meta l4proto tcp reject", policy="accept"), "blocked", "chain forward (meta l4proto 6 reject)"),
    "another protocol": (plain("udp dport 80 drop", policy="accept"), "open", ""),
    "firewalld": (FIREWALLD.format(rules="ct status dnat accept"), "open", ""),
    "firewalld, strict": (
        FIREWALLD.format(rules=""),
        "blocked",
        "table inet firewalld chain filter_FORWARD (reject with icmpx admin-prohibited)",
    ),
    "before the host port is translated": (
        EARLY.format(rules="tcp dport 8080 drop;"),
        "blocked",
        "table inet early chain in (tcp dport 8080 drop)",
    ),
    "the container's port before that": (EARLY.format(rules="tcp dport 80 drop;"), "open", ""),
    "other engines": (
        "table inet netmodel_00c0ffee { chain forward { type filter hook forward priority 0; }; }",
        "open",
        "",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_said_is_what_packets_find(stack: Stack, host: Box, remote: Box, box: Boxes, case: str) -> None:
    rules, state, why = CASES[case]
    network, a = stack.network("n", "10.1.0.0/24"), box("a")
    endpoint = stack.attach(network, a, "10.1.0.2/24")
    route(host, "0.0.0.0/0", "192.0.2.2")
    stack.bridge.publish(network, endpoint, [anywhere(8080)])
    host.run("nft", "-f", "-", text=rules)

    [(port, found), _relayed] = stack.bridge.exposures(stack.bridge.look_around(), network, endpoint, anywhere(8080))

    assert (found.state, found.why.endswith(why)) == (state, True), found
    assert port.target_port == 80
    with serving(a):
        answer = ask(remote, "192.0.2.1", 8080, timeout_s=3 if state == "open" else DROPPED_S)
    assert (answer == "a heard 192.0.2.2") is (state == "open")


@pytest.mark.skipif(not shutil.which("iptables-restore"), reason="iptables is not installed")
@pytest.mark.parametrize(
    ("rules", "state", "why"),
    [
        ("", "blocked", "table ip filter chain FORWARD (policy drop)"),
        ("-A ufw-user-forward -p tcp --dport 80 -j ACCEPT", "open", ""),
        ("-A ufw-user-forward -p tcp -d 10.1.0.2 --dport 80 -j ACCEPT", "open", ""),
        ("-A ufw-user-forward -p tcp --dport 8080 -j ACCEPT", "blocked", "(policy drop)"),
        ("-A ufw-user-forward -m conntrack --ctstate DNAT -j ACCEPT", "open", ""),
    ],
)
def test_ufw(stack: Stack, host: Box, remote: Box, box: Boxes, rules: str, state: str, why: str) -> None:
    """Its rules are iptables', which nft lists."""
    network, a = stack.network("n", "10.1.0.0/24"), box("a")
    endpoint = stack.attach(network, a, "10.1.0.2/24")
    route(host, "0.0.0.0/0", "192.0.2.2")
    stack.bridge.publish(network, endpoint, [anywhere(8080)])
    host.run("iptables-restore", text=UFW.format(rules=rules))

    seen = stack.bridge.look_around()
    [(_, found), _relayed] = stack.bridge.exposures(seen, network, endpoint, anywhere(8080))

    assert (found.state, found.why.endswith(why)) == (state, True), found
    with serving(a), serving(remote, 443):
        answer = ask(remote, "192.0.2.1", 8080, timeout_s=3 if state == "open" else DROPPED_S)
        assert (answer == "a heard 192.0.2.2") is (state == "open")
        assert seen.of_way_out("br-n").state == "blocked"
        assert ask(a, "192.0.2.2", 443, timeout_s=DROPPED_S) == "silence"


def test_rules_that_we_cannot_judge_are_said_to_be_such(stack: Stack, host: Box, remote: Box, box: Boxes) -> None:
    network = stack.network("n", "10.1.0.0/24")
    endpoint = stack.attach(network, box("a"), "10.1.0.2/24")
    host.run("nft", "-f", "-", text=plain("ip saddr 192.0.2.0/24 accept"))
    [(_, found), _relayed] = stack.bridge.exposures(stack.bridge.look_around(), network, endpoint, anywhere(8080))
    assert found == Exposure("partly", "table inet filter chain forward (policy drop)")
    assert str(found) == "open to some only, by table inet filter chain forward (policy drop)"


def test_the_administrators_own_chain_counts(stack: Stack, host: Box, remote: Box, box: Boxes) -> None:
    network = stack.network("n", "10.1.0.0/24", "fd01::/64")
    endpoint = stack.attach(network, box("a"), "10.1.0.2/24", "fd01::2/64")
    stack.nft.run(f"add rule {stack.firewall.table} user ip daddr 10.1.0.2 drop")

    seen = stack.bridge.look_around()
    told = stack.bridge.exposures(seen, network, endpoint, anywhere(8080))
    found = {port.target.version: exposure.state for port, exposure in told}

    assert found == {4: "blocked", 6: "open"}


@pytest.mark.parametrize(
    ("hook", "accepted", "state", "why"),
    [
        ("input", "8080", "open", ""),
        ("input", "80", "blocked", "table inet others chain c (policy drop)"),
        ("forward", "80", "open", ""),  # what the relay sends on is not forwarded
    ],
)
def test_a_relayed_port_is_reached_as_far_as_the_host_itself(
    stack: Stack, host: Box, remote: Box, box: Boxes, hook: str, accepted: str, state: str, why: str
) -> None:
    a = box("a")
    network = stack.network("n", "10.1.0.0/24")
    endpoint = stack.attach(network, a, "10.1.0.2/24")
    route(host, "::/0", "2001:db8:2::2")
    stack.bridge.publish(network, endpoint, [anywhere(8080)])
    rules = (
        f"type filter hook {hook} priority 0; policy drop;",
        "ct state established accept",
        "meta l4proto ipv6-icmp accept",  # how the host is found at all
        f"tcp dport {accepted} accept",
    )
    host.run("nft", "-f", "-", text="\n".join(("table inet others {", "chain c {", *rules, "}", "}", "")))

    [_translated, (port, found)] = stack.bridge.exposures(stack.bridge.look_around(), network, endpoint, anywhere(8080))

    assert isinstance(port, Relayed)
    assert (found.state, found.why) == (state, why)
    with serving(a):
        answer = ask(remote, "2001:db8:2::1", 8080, timeout_s=3 if state == "open" else DROPPED_S)
    assert (answer == "a heard 10.1.0.1") is (state == "open")


def test_ports_for_the_host_alone(stack: Stack, host: Box, box: Boxes) -> None:
    network = stack.network("n", "10.1.0.0/24")
    inside = stack.network("inside", "10.2.0.0/24", internal=True, **{"netmodel.bridge.publish_to_host": "true"})
    one, two = stack.attach(network, box("a"), "10.1.0.2/24"), stack.attach(inside, box("b"), "10.2.0.2/24")
    seen = stack.bridge.look_around()

    for where, endpoint, port in ((network, one, loopback(8080)), (inside, two, anywhere(8080))):
        assert {found.state for _, found in stack.bridge.exposures(seen, where, endpoint, port)} == {"host"}


def test_a_listing_is_read_whole() -> None:
    [table] = read(LISTING)
    assert (table.name, list(table.chains), list(table.sets)) == ("inet t", ["c"], ["s"])
    hook = table.chains["c"].hook
    assert hook is not None
    assert (hook.name, hook.priority, hook.policy) == ("forward", 10, "drop")
    assert table.chains["c"].rules == [
        ["tcp", "dport", "{", "1", ",", "2", ",", "3", "}", "counter", "log", "prefix", '"drop me"', "accept"]
    ]

"""Expectations against a real small network: each verdict for the right reason."""

from __future__ import annotations

import json
import socket
from io import StringIO
from typing import Any

import pytest

from netmodel.probe import Result, check, exit_code, render_table, to_json
from tests.netmodel.probe.lab import Lab
from tests.support.box import Box

pytestmark = pytest.mark.kernel


@pytest.fixture
def two_lans(lab: Lab) -> Lab:
    """h1 and h2 on one segment, db on another; the host is on both and routes nothing."""
    lab.segment("front", "10.1.0.1/24", "fd01::1/64")
    lab.segment("back", "10.2.0.1/24")
    lab.node("h1", front=("10.1.0.10/24", "fd01::10/64"))
    lab.node("h2", front=("10.1.0.11/24", "fd01::11/64"))
    lab.node("db", back="10.2.0.3/24")
    return lab


def expect(source: str, arrow: str, target: str, via: str = "icmp", port: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "source": source,
        "target": target,
        "reachable": arrow == "->",
        "via": via,
        "port": port,
        "within_s": 0.5,
        **more,
    }


def one(lab: Lab, *what: Any, **more: Any) -> Result:
    [result] = check(lab.view(), [expect(*what, **more)])
    return result


def serve(box: Box, address: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    def make() -> socket.socket:
        sock = socket.socket(socket.AF_INET, kind)
        sock.bind((address, port))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        return sock

    return box.open(make)


def rules(box: Box, hook: str, rule: str) -> None:
    """Give a box a firewall of its own."""
    chain = f"type filter hook {hook} priority 0\n{rule}"
    box.run("nft", "-f", "-", text=f"table inet t {{\nchain c {{\n{chain}\n}}\n}}\n")


# --- reachable ---------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [4, 6])
def test_an_echo_reply_is_reaching(two_lans: Lab, family: int) -> None:
    result = one(two_lans, "h1", "->", "h2", family=family)

    assert result.verdict == "held"
    assert "echo reply from" in result.decisive.reason
    assert result.took_s < 0.4


def test_the_host_reaches_and_is_reached(two_lans: Lab) -> None:
    results = check(two_lans.view(), [expect("host", "->", "db"), expect("db", "->", "host")])

    assert [result.verdict for result in results] == ["held", "held"]


def test_silence_tells_how_far_the_probe_came(two_lans: Lab) -> None:
    """A readable reason: how many left, from where, and that none arrived."""
    result = one(two_lans, "h1", "->", "db")

    assert result.verdict == "failed"
    reason = result.decisive.reason
    assert reason.startswith("no answer in 0.5 s; ")
    assert "echo requests left h1 (10.1.0.10)" in reason
    assert "none arrived at db" in reason


def test_a_syn_ack_is_reaching(two_lans: Lab) -> None:
    with serve(two_lans.boxes["h2"], "0.0.0.0", 80):
        result = one(two_lans, "h1", "->", "h2", "tcp", 80)

    assert result.verdict == "held"
    assert result.decisive.received.startswith("SYN-ACK")


def test_the_program_behind_the_port_never_sees_a_connection(two_lans: Lab) -> None:
    with serve(two_lans.boxes["h2"], "0.0.0.0", 80) as listener:
        assert one(two_lans, "h1", "->", "h2", "tcp", 80).verdict == "held"
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_closed_port_is_told_apart_from_silence(two_lans: Lab) -> None:
    result = one(two_lans, "h1", "->", "h2", "tcp", 81)

    assert result.verdict == "failed"
    assert result.decisive.reason == "h2 (10.1.0.11) was reached, but port 81 is closed: it answers RST"


@pytest.mark.parametrize("family", [4, 6])
def test_udp_is_sent_back_by_a_listener_placed_where_nothing_is_bound(two_lans: Lab, family: int) -> None:
    result = one(two_lans, "h1", "->", "h2", "udp", 53, family=family)

    assert result.verdict == "held"
    assert "our datagram, sent back" in result.decisive.reason


def test_udp_is_seen_at_a_program_that_does_not_answer(two_lans: Lab) -> None:
    with serve(two_lans.boxes["h2"], "0.0.0.0", 53, socket.SOCK_DGRAM):
        result = one(two_lans, "h1", "->", "h2", "udp", 53)

    assert result.verdict == "held"
    assert "delivered to the target's stack" in result.decisive.reason


def test_an_own_firewall_of_the_target_is_named(two_lans: Lab) -> None:
    rules(two_lans.boxes["h2"], "input", "drop")

    reason = one(two_lans, "h1", "->", "h2").decisive.reason

    assert "came in on h2's link, but its own firewall let none through" in reason


def test_an_icmp_error_is_put_into_words(two_lans: Lab) -> None:
    router = two_lans.node("r1", front="10.1.0.2/24", back="10.2.0.2/24")
    router.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    rules(router, "forward", "reject with icmpx admin-prohibited")
    two_lans.boxes["h1"].run("ip", "route", "add", "10.2.0.0/24", "via", "10.1.0.2")

    reason = one(two_lans, "h1", "->", "db").decisive.reason

    assert "last ICMP error: communication administratively prohibited from 10.1.0.2" in reason


def test_a_refusal_with_an_icmp_error_holds_without_waiting_for_silence(two_lans: Lab) -> None:
    router = two_lans.node("r1", front="10.1.0.2/24", back="10.2.0.2/24")
    router.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.icmp_ratelimit=0")
    rules(router, "forward", "reject with icmpx admin-prohibited")
    two_lans.boxes["h1"].run("ip", "route", "add", "10.2.0.0/24", "via", "10.1.0.2")

    result = one(two_lans, "h1", "-/>", "db", "tcp", 5432)

    assert result.verdict == "held"
    assert "administratively prohibited from 10.1.0.2" in result.decisive.reason
    assert result.took_s < 0.9


def test_a_missing_route_is_said_plainly(two_lans: Lab) -> None:
    two_lans.boxes["h1"].run("ip", "route", "del", "default")

    assert one(two_lans, "h1", "->", "db").decisive.reason == "h1 cannot send it: it has no route to 10.2.0.3"


def test_it_may_become_true_within_the_time(two_lans: Lab) -> None:
    """A route that comes late wakes the probe at once: no timer is waited for."""
    box = two_lans.boxes["h1"]
    box.run("ip", "route", "del", "10.1.0.0/24")
    box.run("ip", "route", "flush", "default")
    process = box.popen("sh", "-c", "sleep 0.5; ip route add 10.1.0.0/24 dev eth0")

    result = one(two_lans, "h1", "->", "h2", within_s=5)

    process.communicate()
    assert result.verdict == "held"
    assert 0.3 < result.took_s < 2


def test_every_replica_must_hold(two_lans: Lab) -> None:
    two_lans.node("web1", service="web", front="10.1.0.21/24")
    two_lans.node("web2", service="web", front="10.1.0.22/24")
    rules(two_lans.boxes["web2"], "input", "drop")

    result = one(two_lans, "h1", "->", "web")

    assert result.verdict == "failed"
    assert [(outcome.target, outcome.verdict) for outcome in result.outcomes] == [
        ("web1", "held"),
        ("web2", "failed"),
    ]


def test_a_target_that_is_nobody_fails_with_a_reason(two_lans: Lab) -> None:
    result = one(two_lans, "h1", "->", "nosuch")

    assert result.verdict == "failed"
    assert "nosuch" in result.decisive.reason


# --- unreachable -------------------------------------------------------------------------------


@pytest.mark.parametrize(("via", "port"), [("icmp", 0), ("tcp", 5432), ("udp", 5432)])
def test_silence_holds_after_a_positive_control(two_lans: Lab, via: str, port: int) -> None:
    result = one(two_lans, "h1", "-/>", "db", via, port)

    assert result.verdict == "held"
    assert "host reached db (10.2.0.3)" in result.decisive.control
    assert "none arrived at db" in result.decisive.reason


@pytest.mark.parametrize(("via", "port"), [("icmp", 0), ("tcp", 5432), ("udp", 5432)])
def test_what_is_reached_after_all_fails(two_lans: Lab, via: str, port: int) -> None:
    """Nothing listens on h2, yet the door is open: the listener we place proves it."""
    result = one(two_lans, "h1", "-/>", "h2", via, port)

    assert result.verdict == "failed"
    assert result.decisive.reason.startswith("it was reached: ")


def test_an_open_ipv6_door_is_a_door(two_lans: Lab) -> None:
    rules(two_lans.boxes["h2"], "input", "ip saddr 10.1.0.10 drop")

    result = one(two_lans, "h1", "-/>", "h2")

    assert result.verdict == "failed"
    assert {outcome.address: outcome.verdict for outcome in result.outcomes} == {
        "10.1.0.11": "held",
        "fd01::11": "failed",
    }


def test_a_target_that_is_down_is_inconclusive(two_lans: Lab) -> None:
    """Nobody reaches it, so that h1 does not either shows nothing."""
    two_lans.boxes["db"].run("ip", "link", "set", "eth0", "down")

    result = one(two_lans, "h1", "-/>", "db", "tcp", 5432)

    assert result.verdict == "inconclusive"
    assert "db" in result.decisive.reason


def test_a_source_that_is_cut_off_is_inconclusive(two_lans: Lab) -> None:
    rules(two_lans.boxes["h1"], "input", "drop")

    result = one(two_lans, "h1", "-/>", "db")

    assert result.verdict == "inconclusive"
    assert "h1 may be cut off altogether" in result.decisive.reason


def test_a_source_without_a_route_holds(two_lans: Lab) -> None:
    two_lans.boxes["h1"].run("ip", "route", "del", "default")

    result = one(two_lans, "h1", "-/>", "db", "tcp", 5432)

    assert result.verdict == "held"
    assert result.decisive.reason == "h1 cannot send it: it has no route to 10.2.0.3"


def test_a_firewall_that_answers_with_a_reset_holds(two_lans: Lab) -> None:
    """The RST is not the target's: nothing was delivered there."""
    rules(two_lans.boxes["h2"], "input", "ip saddr 10.1.0.10 tcp dport 22 reject with tcp reset")

    result = one(two_lans, "h1", "-/>", "h2", "tcp", 22, family=4)

    assert result.verdict == "held"
    assert "RST that is not the target's" in result.decisive.reason


def test_a_port_that_only_its_own_host_reaches_holds(two_lans: Lab) -> None:
    """The outside is shut for everybody; the target's own loopback and its live link are the control."""
    rules(two_lans.boxes["h2"], "input", "iif lo accept; tcp dport 22 drop")

    result = one(two_lans, "h1", "-/>", "h2", "tcp", 22, family=4)

    assert result.verdict == "held"
    assert "h2 itself reached" in result.decisive.control


def test_a_stranger_that_answers_nobody_is_inconclusive(two_lans: Lab) -> None:
    assert one(two_lans, "h1", "-/>", "203.0.113.9").verdict == "inconclusive"


def test_an_address_of_the_host_is_watched_there(two_lans: Lab) -> None:
    """The host answers db at its address on h1's network as well: the weak host model of Linux."""
    result = one(two_lans, "db", "-/>", "10.1.0.1", "tcp", 2222)

    assert result.verdict == "failed"
    rules(two_lans.host, "input", 'iifname "br-back" ip daddr 10.1.0.1 drop')
    assert one(two_lans, "db", "-/>", "10.1.0.1", "tcp", 2222).verdict == "held"


def test_a_stopped_source_shows_nothing(two_lans: Lab) -> None:
    [result] = check(two_lans.view(h1="exited"), [expect("h1", "-/>", "db")])

    assert result.verdict == "inconclusive"
    assert result.decisive.reason == "h1 does not run (exited)"


def test_a_placed_listener_makes_no_other_expectation_come_true(two_lans: Lab) -> None:
    negative = expect("h1", "-/>", "db", "tcp", 5432)
    positive = expect("host", "->", "db", "tcp", 5432)

    verdicts = [result.verdict for result in check(two_lans.view(), [negative, positive])]

    assert verdicts == ["held", "failed"]


def test_placed_listeners_are_gone_afterwards(two_lans: Lab) -> None:
    one(two_lans, "h1", "-/>", "db", "tcp", 5432)

    serve(two_lans.boxes["db"], "10.2.0.3", 5432).close()


def test_many_run_side_by_side(two_lans: Lab) -> None:
    negatives = [expect("h1", "-/>", "db", "tcp", 6000 + number) for number in range(20)]

    results = check(two_lans.view(), negatives)

    assert all(result.verdict == "held" for result in results)
    assert max(result.took_s for result in results) < 5


# --- what people and programs read ---------------------------------------------------------------


def test_output(two_lans: Lab) -> None:
    results = check(two_lans.view(), [expect("h1", "->", "h2"), expect("h1", "->", "h2", "tcp", 81)])
    out = StringIO()

    render_table(results, out)

    assert "h1 -> h2: tcp 81" in out.getvalue()
    assert "1 of 2 hold, 1 failed" in out.getvalue()
    assert json.loads(json.dumps(to_json(results)))[1]["verdict"] == "failed"
    assert exit_code(results) == 1
    assert exit_code(results[:1]) == 0
    assert exit_code([]) == 2

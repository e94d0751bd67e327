"""Options of endpoints that are netmodel's own, over a container's and an engine's life."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from drivers.kernel.netlink import Netlink
from drivers.kernel.qdisc import get_queues, read_queue
from netmodel.engine import Engine
from netmodel.errors import Invalid
from netmodel.model import EndpointConfig, NetworkConfig, PoolConfig
from tests.netmodel.engine.conftest import Run, clean_up, execute, runner
from tests.support.box import Box
from tests.support.daemon import Daemon, running
from tests.support.wait import eventually

pytestmark = pytest.mark.kernel
LIMITS = {"netmodel.endpoint.ingress_rate": "8mbit", "netmodel.endpoint.egress_rate": "4mbit"}
SLEEP = ("host", "sleep", "infinity")


def limited() -> list[str]:
    """The links of the calling thread's host that send no faster than they may, by the first letters of their names."""
    with Netlink() as host:
        names = {link.index: link.name for link in host.links()}
        found = [one for one in host.get(get_queues(), read_queue) if one.kind == "tbf"]
    in_service = [names[one.link] for one in found if not names[one.link].startswith("nmx")]  # others are retired
    return sorted(name[:2] for name in in_service)


def a_lan(engine: Engine, **config: object) -> None:
    pool = PoolConfig(subnet=IPv4Network("10.9.0.0/24"))
    engine.create_network(NetworkConfig(name="lan", pools=(pool,), **config))  # type: ignore[arg-type]


def test_limits_last_as_long_as_the_attachment(host: Box, tmp_path: Path) -> None:
    first = Engine(tmp_path / "root")
    first.open()
    a_lan(first)
    run = runner(first)
    run("a", networks=(EndpointConfig(network="lan", driver_opts=LIMITS),))
    assert limited() == ["ni", "nm"]
    first.restart("a", timeout_s=0)
    assert limited() == ["ni", "nm"]
    first.close()

    engine = Engine(tmp_path / "root")
    engine.open()
    try:
        assert engine._warnings == []
        assert limited() == ["ni", "nm"]
        engine.stop("a", timeout_s=0)
        assert limited() == []
        engine.start("a")
        assert limited() == ["ni", "nm"]
        engine.disconnect("lan", "a", force=False)
        assert limited() == []
        engine.connect("lan", "a", EndpointConfig(network="lan", driver_opts=LIMITS))
        assert limited() == ["ni", "nm"]
        engine.remove("a", force=True)
        engine._core.reaper.drain()
        assert [name for name in host.run("ip", "-o", "link").stdout.split() if name.startswith("ni")] == []
    finally:
        clean_up(engine)


def test_what_a_crash_left_of_a_limit_goes(host: Box, tmp_path: Path) -> None:
    first = Engine(tmp_path / "root")
    first.open()
    tag = f"netmodel:{first._core.root.id}:endpoint:{'0' * 64}"
    first.close()
    host.run("ip", "link", "add", "ni000000000000", "type", "ifb")
    host.run("ip", "link", "set", "ni000000000000", "alias", tag)

    engine = Engine(tmp_path / "root")
    engine.open()
    try:
        assert "ni000000000000" not in host.run("ip", "-o", "link").stdout
    finally:
        clean_up(engine)


def test_a_driver_that_has_no_such_option_says_so(engine: Engine, run: Run) -> None:
    a_lan(engine, driver="macvlan", internal=True)
    with pytest.raises(Invalid, match=r"endpoints of this network have no option netmodel\.endpoint\.") as refusal:
        run("a", networks=(EndpointConfig(network="lan", driver_opts=LIMITS),))
    assert refusal.value.hint
    assert engine.containers() == []


def test_what_may_have_been_meant(engine: Engine, run: Run) -> None:
    a_lan(engine)
    wish = EndpointConfig(network="lan", driver_opts={"netmodel.endpoint.ingres_rate": "1mbit"})
    with pytest.raises(Invalid) as refusal:
        run("a", networks=(wish,))
    assert refusal.value.hint == "did you mean netmodel.endpoint.ingress_rate?"


TOPOLOGY = """
name: limits
services:
  a:
    image: host
    command: [sleep, infinity]
    networks:
      lan:
        driver_opts: {netmodel.endpoint.egress_rate: 4mbit}
networks:
  lan: {}
"""


def test_limits_from_the_command_line_and_a_topology(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        daemon.ok("network", "create", "lan")
        options = [f"driver-opt={key}={value}" for key, value in LIMITS.items()]
        daemon.ok("run", "-d", "--name", "a", "--network", ",".join(["name=lan", *options]), *SLEEP)
        assert buckets(daemon) == 2
        assert daemon.client.get("/containers/a/json")["NetworkSettings"]["Networks"]["lan"]["DriverOpts"] == LIMITS

        daemon.ok("run", "-d", "--name", "b", *SLEEP)
        chosen = [part for key, value in LIMITS.items() for part in ("--driver-opt", f"{key}={value}")]
        daemon.ok("network", "connect", *chosen, "lan", "b")
        assert buckets(daemon) == 4
        daemon.ok("network", "disconnect", "lan", "b")
        eventually(lambda: buckets(daemon) == 2)
        wrong = daemon.netmodel("network", "connect", "--driver-opt", f"{next(iter(LIMITS))}=fast", "lan", "b")
        assert (wrong.returncode, wrong.stderr.splitlines()[0]) == (
            2,
            "error: option netmodel.endpoint.ingress_rate: 'fast' is not a rate from 8kbit to 1tbit a second",
        )

        (tmp_path / "limits.yaml").write_text(TOPOLOGY)
        daemon.ok("up", str(tmp_path / "limits.yaml"))
        assert buckets(daemon) == 3
        daemon.ok("down", str(tmp_path / "limits.yaml"))
        eventually(lambda: buckets(daemon) == 2)


def buckets(daemon: Daemon) -> int:
    return daemon.box.run("tc", "qdisc", "show").stdout.count("qdisc tbf")


def test_the_check_of_mac_addresses_outlives_restarts_of_container_and_engine(host: Box, tmp_path: Path) -> None:
    first = Engine(tmp_path / "root")
    first.open()
    a_lan(first, options={"netmodel.bridge.mac_check": "true"})
    run = runner(first)
    run("a", "lan", cap_add=("NET_ADMIN",))
    [own] = [one.mac for one in first.endpoints(container_id=first.container("a").id)]

    def is_checked(engine: Engine) -> None:
        code, _ = execute(engine, "a", "ping", "-c1", "-W3", "10.9.0.1")
        assert code == 0
        execute(engine, "a", "ip", "link", "set", "eth0", "address", "02:de:ad:00:00:01")
        code, _ = execute(engine, "a", "ping", "-c1", "-W0.25", "10.9.0.1")
        assert code == 1
        execute(engine, "a", "ip", "link", "set", "eth0", "address", own)

    is_checked(first)
    first.restart("a", timeout_s=0)
    is_checked(first)
    first.close()

    engine = Engine(tmp_path / "root")
    engine.open()
    try:
        assert engine._warnings == []
        is_checked(engine)
        engine.stop("a", timeout_s=0)
        engine.start("a")
        is_checked(engine)
    finally:
        clean_up(engine)

"""Published ports over an engine's life: where they lead, and how they outlive its restart and a flushed ruleset."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pytest

from drivers.kernel.nft import NftWorker
from drivers.kernel.sysctl import write_sysctl
from netmodel.engine import Engine
from netmodel.errors import NetmodelError
from netmodel.model import (
    Container,
    ContainerConfig,
    EndpointConfig,
    NetworkConfig,
    PoolConfig,
    PortConfig,
    RestartPolicy,
)
from tests.drivers.wires import DROPPED_S, ask, route, serving, wire
from tests.netmodel.engine.conftest import SLEEP, Run, clean_up, runner
from tests.netmodel.engine.engine_process import EngineProcess, Zygote
from tests.support.box import Box
from tests.support.wait import eventually

pytestmark = pytest.mark.kernel
Boxes = Callable[[str], Box]
WEB = PortConfig(container_port=80, host_port=8080)
MODE = "com.docker.network.bridge.gateway_mode_ipv4"


@pytest.fixture
def remote(host: Box, box: Boxes) -> Box:
    """Another host, at 192.0.2.2; ours is .1."""
    made = box("remote")
    wire(host, made)
    return made


@pytest.fixture
def nft(host: Box) -> Iterator[NftWorker]:
    """Somebody else's."""
    worker = NftWorker()
    yield worker
    worker.close()


@contextmanager
def inside(engine: Engine, container: Container) -> Iterator[Box]:
    path = engine.sandbox_path(container.id)
    assert path is not None
    box = Box.at(container.name, path)
    yield box
    box.close()


@contextmanager
def web(engine: Engine, container: Container, port: int = 80) -> Iterator[Box]:
    """The container answers at a port."""
    with inside(engine, container) as box, serving(box, port):
        yield box


def network(engine: Engine, name: str, subnet: str, internal: bool = False, **options: str) -> str:
    pool = PoolConfig(subnet=IPv4Network(subnet))
    engine.create_network(NetworkConfig(name=name, pools=(pool,), internal=internal, options=options))
    return name


# --- robbed -----------------------------------------------------------------------------------


def test_published_ports_are_back_within_a_second_of_a_flushed_ruleset(
    engine: Engine, run: Run, remote: Box, nft: NftWorker
) -> None:
    container = run("a", network(engine, "n", "10.1.0.0/24"), ports=(WEB,))
    with web(engine, container):
        assert ask(remote, "192.0.2.1", 8080) == "a heard 192.0.2.2"

        nft.run("flush ruleset")
        began = time.monotonic()
        eventually(lambda: ask(remote, "192.0.2.1", 8080, timeout_s=DROPPED_S) == "a heard 192.0.2.2", timeout_s=1)

        assert time.monotonic() - began < 1


def test_a_flushed_ruleset_brings_back_nothing_that_was_taken_away(
    engine: Engine, run: Run, host: Box, nft: NftWorker
) -> None:
    """TestFirewalldReloadNoZombies: a port of a container that is gone, and what spoke of a removed network."""
    run("gone", network(engine, "n", "10.1.0.0/24"), ports=(WEB,))
    engine.remove("gone", force=True)
    engine.remove_network("n")
    left = run("left", network(engine, "m", "10.2.0.0/24"), ports=(replace(WEB, host_port=8081),))
    bridges = {f"br-{engine.network(name).id[:12]}" for name in ("m", "bridge")}

    nft.run("flush ruleset")

    # All of it comes back in one transaction.
    eventually(lambda: engine._core.firewall.table in host.run("nft", "list", "tables").stdout, what="the table")
    assert {(one.host_port, str(one.target)) for one in engine._core.firewall.published()} == {(8081, "10.2.0.2")}
    assert engine._core.firewall.bridges() == bridges
    with web(engine, left):
        assert ask(host, "127.0.0.1", 8081) == "left heard 10.2.0.1"
        assert ask(host, "127.0.0.1", 8080) == "refused"


def test_what_is_published_while_the_ruleset_is_flushed_is_there_afterwards(
    engine: Engine, run: Run, host: Box, nft: NftWorker
) -> None:
    name = network(engine, "n", "10.1.0.0/24")
    running = threading.Event()

    def flush() -> None:
        while not running.wait(0.02):
            nft.run("flush ruleset")

    thread = threading.Thread(target=flush)
    thread.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            started = list(
                pool.map(
                    lambda number: run(
                        f"c{number}", name, ports=(PortConfig(container_port=80, host_port=9000 + number),)
                    ),
                    range(12),
                )
            )
    finally:
        running.set()
        thread.join()

    for number, container in enumerate(started):
        with web(engine, container):
            answer = f"{container.name} heard 10.1.0.1"
            eventually(
                lambda port=9000 + number, answer=answer: ask(host, "127.0.0.1", port, timeout_s=DROPPED_S) == answer
            )


def test_the_engine_says_that_its_rules_were_taken(engine: Engine, nft: NftWorker) -> None:
    events = engine.events.subscribe()
    nft.run("flush ruleset")
    event = events.get(timeout_s=5)
    events.close()
    assert (event.type, event.action, event.attributes["name"]) == ("daemon", "reload", "firewall")


# --- another engine -----------------------------------------------------------------------------


def test_no_connection_is_lost_while_the_engine_restarts(host: Box, tmp_path: Path, remote: Box) -> None:
    """New ones and an established one, from before its end until after its start."""
    engine = Engine(tmp_path / "root")
    engine.open()
    network(engine, "n", "10.1.0.0/24")
    container = runner(engine)("a", "n", ports=(WEB, PortConfig(container_port=80, host_port=8080, protocol="udp")))
    answers: list[tuple[str, float]] = []
    done = threading.Event()

    def go_on() -> None:
        while not done.is_set():
            began = time.monotonic()
            answers.append((ask(remote, "192.0.2.1", 8080, timeout_s=5), time.monotonic() - began))

    with web(engine, container), _conversation(remote, "192.0.2.1", 8080) as talk:
        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            for _ in range(3):
                engine.close()
                assert talk() == b"a heard 192.0.2.2"
                engine = Engine(tmp_path / "root")
                engine.open()
                assert talk() == b"a heard 192.0.2.2"
        finally:
            done.set()
            thread.join()
            clean_up(engine)

    assert len(answers) > 20
    assert {answer for answer, _ in answers} == {"a heard 192.0.2.2"}
    # A packet that is lost costs a second: TCP sends its first one again after so long.
    assert max(took for _, took in answers) < 0.9


@contextmanager
def _conversation(box: Box, address: str, port: int) -> Iterator[Callable[[], bytes]]:
    """Datagrams from one socket, which the kernel takes for one connection."""
    with box.open(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(3)
        client.connect((address, port))

        def talk() -> bytes:
            client.send(b"hello")
            return client.recv(100)

        assert talk()
        yield talk


def test_ports_are_as_they_were_after_a_killed_engine(host: Box, tmp_path: Path, remote: Box) -> None:
    """TestPortMappingRestore: with no engine, and with the next one, which holds them again."""
    zygote = Zygote()
    engine = EngineProcess(zygote, tmp_path / "root", host)
    try:
        engine.ask("create_network", NetworkConfig(name="n", pools=(PoolConfig(subnet=IPv4Network("10.1.0.0/24")),)))
        wanted = (WEB, replace(WEB, host_port=0, protocol="udp"))
        config = ContainerConfig(image="host", command=SLEEP, networks=(EndpointConfig(network="n"),), ports=wanted)
        engine.ask("start", engine.ask("create_container", config, "a").id)
        before: Container = engine.ask("container", "a")
        udp = before.ports[1].host_port
        path = Path(f"/proc/{before.state.pid}/ns/net")
        with closing(Box.at("a", path)) as box, serving(box, 80):
            engine.kill()
            assert ask(remote, "192.0.2.1", 8080) == "a heard 192.0.2.2"
            engine = EngineProcess(zygote, tmp_path / "root", host)
            assert engine.ask("container", "a") == before
            assert ask(remote, "192.0.2.1", 8080) == "a heard 192.0.2.2"
            assert ask(remote, "192.0.2.1", udp, udp=True) == "a heard 192.0.2.2"
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("0.0.0.0", 8080))
    finally:
        engine.ask("remove", "a", force=True)
        engine.close()
        zygote.close()


def test_a_restarted_engine_keeps_its_ports(host: Box, tmp_path: Path, remote: Box) -> None:
    first = Engine(tmp_path / "root")
    first.open()
    network(first, "routed", "10.1.0.0/24", **{MODE: "routed"})
    network(first, "out", "10.2.0.0/24")
    run = runner(first)
    container = run(
        "a",
        ports=(WEB, PortConfig(container_port=80, host_port=0)),
        networks=(EndpointConfig(network="out", gw_priority=1), EndpointConfig(network="routed")),
    )
    before = container.ports
    first.close()

    engine = Engine(tmp_path / "root")
    engine.open()
    try:
        route(remote, "10.1.0.0/24", "192.0.2.1")
        assert engine.container("a").ports == before
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("0.0.0.0", 8080))
        with web(engine, container):
            for port in before:
                assert ask(remote, "192.0.2.1", port.host_port) == "a heard 192.0.2.2"
            assert ask(remote, "10.1.0.2") == "a heard 192.0.2.2"
    finally:
        clean_up(engine)


@pytest.mark.parametrize("rebooted", [False, True], ids=["its spawner dies", "the machine does"])
def test_who_starts_again_in_a_new_sandbox_is_published_again(
    host: Box, tmp_path: Path, remote: Box, rebooted: bool
) -> None:
    """By the numbers that it had, though its links went with the namespaces and the sockets with the engine."""
    engine = Engine(tmp_path / "root")
    engine.open()
    network(engine, "n", "10.1.0.0/24")
    wanted = (WEB, PortConfig(container_port=80, host_port=0))
    before = runner(engine)("a", "n", ports=wanted, restart=RestartPolicy(name="always"))
    if rebooted:
        spawner = engine.spawner_pid
        engine.close()
        os.kill(spawner, signal.SIGKILL)
        host.run("nft", "flush", "ruleset")
        for link in host.run("ip", "-o", "-br", "link", "show", "type", "bridge").stdout.splitlines():
            host.run("ip", "link", "delete", link.split()[0])
        engine = Engine(tmp_path / "root")
        engine.open()
    else:
        os.kill(engine.spawner_pid, signal.SIGKILL)
    eventually(lambda: engine.container("a").state.pid not in (0, before.state.pid))
    again = engine.container("a")

    assert again.ports == before.ports
    with web(engine, again):
        for port in again.ports:
            assert ask(remote, "192.0.2.1", port.host_port) == "a heard 192.0.2.2"
    engine.stop("a", 0)
    socket.create_server(("0.0.0.0", 8080)).close()
    clean_up(engine)


def test_who_lost_the_bridge_is_on_it_again_with_the_next_engine(host: Box, tmp_path: Path, remote: Box) -> None:
    """Somebody deleted it under containers that run: their ends of the link are as they were."""
    first = Engine(tmp_path / "root")
    first.open()
    network(first, "n", "10.1.0.0/24", **{"com.docker.network.bridge.enable_icc": "false"})
    container = runner(first)("a", "n", ports=(WEB,))
    runner(first)("b", "n")
    bridge = f"br-{first.network('n').id[:12]}"
    host.run("ip", "link", "delete", bridge)
    with pytest.raises(NetmodelError, match=f"bridge {bridge} of network n is gone"):
        runner(first)("c", "n")
    first.close()

    engine = Engine(tmp_path / "root")
    engine.open()

    assert [one for one in engine.info().warnings if "a is on it again" in one]
    ports = host.run("ip", "-d", "-o", "link", "show", "master", bridge).stdout
    assert (ports.count("isolated on"), len(ports.splitlines())) == (2, 2)
    with web(engine, container), inside(engine, engine.container("b")) as other:
        assert ask(remote, "192.0.2.1", 8080) == "a heard 192.0.2.2"
        assert ask(other, "192.0.2.2", 1) == "refused"
        assert ask(other, "10.1.0.2", timeout_s=DROPPED_S) == "silence"
    clean_up(engine)


def test_who_starts_again_takes_another_port_where_any_would_do(engine: Engine, run: Run, host: Box) -> None:
    """Somebody has the one that it had: with its spawner's death it held none for a moment."""
    network(engine, "n", "10.1.0.0/24")
    before = run("a", "n", ports=(PortConfig(container_port=80, host_port=0),), restart=RestartPolicy(name="always"))
    [had] = before.ports
    with closing(socket.socket()) as taken:

        def took_it() -> bool:
            with suppress(OSError):
                taken.bind(("0.0.0.0", had.host_port))
                return True
            return False

        os.kill(engine.spawner_pid, signal.SIGKILL)
        eventually(took_it)
        eventually(lambda: engine.container("a").state.pid not in (0, before.state.pid))
        [has] = engine.container("a").ports
        assert has.host_port not in (0, had.host_port)


# --- which network ports lead to ------------------------------------------------------------------


def test_a_routed_network_beside_the_way_out_is_open(engine: Engine, run: Run, remote: Box) -> None:
    """From the start, when it is connected later, and no longer when it is disconnected or the container ends."""
    network(engine, "out", "10.1.0.0/24")
    for number in (2, 3):
        network(engine, f"routed{number}", f"10.{number}.0.0/24", **{MODE: "routed"})
        route(remote, f"10.{number}.0.0/24", "192.0.2.1")
    container = run(
        "a", ports=(WEB,), networks=(EndpointConfig(network="out", gw_priority=1), EndpointConfig(network="routed2"))
    )
    with web(engine, container), inside(engine, container) as box, serving(box, 81):
        assert ask(remote, "192.0.2.1", 8080) == "a heard 192.0.2.2"
        assert ask(remote, "10.2.0.2") == "a heard 192.0.2.2"
        assert ask(remote, "10.2.0.2", 81, timeout_s=DROPPED_S) == "silence"

        engine.connect("routed3", "a")
        assert ask(remote, "10.3.0.2") == "a heard 192.0.2.2"

        engine.disconnect("routed2", "a")
        assert ask(remote, "192.0.2.1", 8080) == "a heard 192.0.2.2"
        opened = engine._core.firewall.opened()
        assert {str(one.target) for one in opened} == {"10.3.0.2"}
    engine.stop("a", timeout_s=0)
    assert engine._core.firewall.opened() == frozenset()


def test_ports_come_back_to_where_they_were_asked_for(engine: Engine, run: Run, remote: Box) -> None:
    """On a network that is routed to they have none of the host's; the next may be another kind of network."""
    network(engine, "routed", "10.2.0.0/24", **{MODE: "routed"})
    network(engine, "out", "10.1.0.0/24")
    container = run("a", ports=(WEB,), networks=(EndpointConfig(network="routed"),))
    assert [port.host_port for port in engine.container("a").ports] == [0]

    engine.connect("out", "a", EndpointConfig(network="out", gw_priority=1))

    assert [port.host_port for port in engine.container("a").ports] == [8080]
    with web(engine, container):
        assert ask(remote, "192.0.2.1", 8080) == "a heard 192.0.2.2"


def test_ports_stay_where_they_are_when_they_cannot_move(engine: Engine, run: Run, host: Box, remote: Box) -> None:
    network(engine, "routed", "10.1.0.0/24", **{MODE: "routed"})
    network(engine, "out", "10.2.0.0/24")
    route(remote, "10.1.0.0/24", "192.0.2.1")
    container = run("a", ports=(WEB,), networks=(EndpointConfig(network="routed"),))

    with host.open(lambda: socket.create_server(("0.0.0.0", 8080))), pytest.raises(NetmodelError, match="8080"):
        engine.connect("out", "a", EndpointConfig(network="out", gw_priority=1))

    with web(engine, container):
        assert ask(remote, "10.1.0.2") == "a heard 192.0.2.2"


def test_ports_that_no_network_is_left_for_are_told_to_be_withdrawn(engine: Engine, run: Run, host: Box) -> None:
    """Their way out is gone, and the next one cannot take them: the report says so, and nothing is published."""
    network(engine, "routed", "10.1.0.0/24", **{MODE: "routed"})
    network(engine, "out", "10.2.0.0/24")
    run("a", ports=(WEB,), networks=(EndpointConfig(network="routed", gw_priority=1), EndpointConfig(network="out")))

    with host.open(lambda: socket.create_server(("0.0.0.0", 8080))), pytest.raises(NetmodelError, match="8080"):
        engine.disconnect("routed", "a")

    assert engine.container("a").ports == ()
    assert engine._core.firewall.published() == frozenset()
    engine.restart("a", timeout_s=0)
    assert engine.container("a").ports == (WEB,)


def test_one_that_ended_publishes_nothing_while_others_use_its_network(engine: Engine, run: Run, host: Box) -> None:
    for number, name in enumerate(("b", "a")):
        network(engine, name, f"10.{number + 1}.0.0/24")
    run("owner", "b", ports=(WEB,))
    run("sharer", network_mode="container:owner")
    engine.stop("owner", timeout_s=0)

    engine.connect("a", "owner")

    assert engine.container("owner").ports == ()
    assert engine._core.firewall.published() == frozenset()
    with host.open(lambda: socket.create_server(("0.0.0.0", 8080))):
        engine.disconnect("a", "owner")
    engine.start("owner")
    assert engine.container("owner").ports == (WEB,)


def test_an_internal_network_may_publish_to_the_host(engine: Engine, run: Run, host: Box, remote: Box) -> None:
    network(engine, "other", "10.9.0.0/24")  # or the host would not forward at all
    network(engine, "n", "10.1.0.0/24", internal=True, **{"netmodel.bridge.publish_to_host": "true"})
    network(engine, "closed", "10.2.0.0/24", internal=True)

    container = run("a", "closed", "n", ports=(WEB,))

    assert [port.host_port for port in container.ports] == [8080]
    with web(engine, container):
        assert ask(host, "127.0.0.1", 8080) == "a heard 10.1.0.1"
        assert ask(host, "192.0.2.1", 8080).startswith("a heard")
        assert ask(remote, "192.0.2.1", 8080, timeout_s=DROPPED_S) == "silence"
    assert run("b", "closed", ports=(PortConfig(container_port=80, host_port=8081),)).ports == ()


def test_a_network_has_no_room_for_more_than_its_bridge_has_ports(
    engine: Engine, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said when the container is created, not when it is started."""
    network(engine, "n", "10.1.0.0/24")
    monkeypatch.setattr(type(engine._core.drivers["bridge"]), "max_endpoints", 2)
    run("a", "n")
    run("b", "n")

    with pytest.raises(NetmodelError, match="network n is full") as refusal:
        run("c", "n")

    assert refusal.value.kind == "unavailable"
    assert refusal.value.hint
    assert [one.name for one in engine.containers()] == ["b", "a"]


def test_a_port_of_the_engines_choice_is_none_that_the_administrator_reserved(
    engine: Engine, run: Run, host: Box
) -> None:
    write_sysctl("net/ipv4/ip_local_port_range", "40000 40009")
    write_sysctl("net/ipv4/ip_local_reserved_ports", "40000-40007")
    network(engine, "n", "10.1.0.0/24")

    ports = tuple(
        PortConfig(container_port=port, protocol=protocol)
        for port, protocol in ((80, "tcp"), (81, "tcp"), (80, "udp"), (81, "udp"), (80, "sctp"), (81, "sctp"))
    )
    published = run("a", "n", ports=ports).ports

    assert {port.host_port for port in published} == {40008, 40009}
    assert len({(port.protocol, port.host_port) for port in published}) == 6
    with pytest.raises(NetmodelError, match="no host port is free for 80/tcp"):
        run("b", "n", ports=(PortConfig(container_port=80),))


def test_exposure_of_a_routed_port_is_at_the_containers_own_address(engine: Engine, run: Run) -> None:
    network(engine, "n", "10.1.0.0/24", **{MODE: "routed"})
    run("a", "n", ports=(WEB,))
    [one] = engine.exposures("a")
    assert (str(one.address), one.number, one.state) == ("10.1.0.2", 80, "open")
    engine.stop("a", timeout_s=0)
    assert engine.exposures("a") == []


def test_exposure_where_one_family_is_routed_to_and_one_translated(engine: Engine, run: Run) -> None:
    options = {"com.docker.network.bridge.gateway_mode_ipv6": "routed"}
    pools = (PoolConfig(subnet=IPv4Network("10.1.0.0/24")), PoolConfig(subnet=IPv6Network("fd01::/64")))
    engine.create_network(NetworkConfig(name="n", pools=pools, enable_ipv6=True, options=options))
    run("a", "n", ports=(WEB,))

    told = {(str(one.address), one.number) for one in engine.exposures("a")}

    assert told == {("0.0.0.0", 8080), ("fd01::2", 80)}

"""Relayed ports over an engine's life: shown as such, and back with the next engine, however the last one ended."""

from __future__ import annotations

import signal
import socket
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path

import pytest

from netmodel.engine import Engine
from netmodel.engine.settings import Settings
from netmodel.errors import NetmodelError
from netmodel.model import NetworkConfig, PoolConfig, PortConfig
from tests.drivers.wires import ask
from tests.netmodel.engine.conftest import Run, clean_up, runner
from tests.netmodel.engine.test_ports import network, web
from tests.support.box import Box
from tests.support.daemon import running
from tests.support.wait import eventually

pytestmark = pytest.mark.kernel
WEB = (PortConfig(container_port=80, host_port=8080), PortConfig(container_port=80, host_port=8080, protocol="udp"))


def test_it_is_told_what_is_relayed(engine: Engine, run: Run) -> None:
    network(engine, "four", "10.1.0.0/24")
    six = PoolConfig(subnet=IPv6Network("fd01::/64"))
    engine.create_network(NetworkConfig(name="six", pools=(six,), enable_ipv4=False, enable_ipv6=True))
    run("a", "four", ports=(WEB[0],))
    run("b", "six", ports=(PortConfig(container_port=80, host_port=8081),))
    run("c", "four", ports=(PortConfig(container_port=80, host_port=8082, host_address=IPv6Address("::1")),))

    told = {name: [(str(one.address), one.relayed, one.state) for one in engine.exposures(name)] for name in "abc"}

    assert told == {
        "a": [("0.0.0.0", False, "open"), ("::", True, "open")],
        "b": [("::", False, "open"), ("0.0.0.0", True, "open")],
        "c": [("::1", True, "host")],
    }


def test_nothing_is_relayed_where_that_is_not_wanted(host: Box, tmp_path: Path) -> None:
    """userland-proxy: false, set while a port is relayed: what leads nowhere is told of no more, and withdrawn."""
    first = Engine(tmp_path / "root")
    first.open()
    network(first, "n", "10.1.0.0/24")
    loopback = PortConfig(container_port=80, host_port=8082, host_address=IPv6Address("::1"))
    container = runner(first)("a", "n", ports=(WEB[0], loopback))

    def told(engine: Engine) -> list[list[str]]:
        return [[str(one) for one in addresses] for _, addresses in engine.published(engine.container("a"))]

    assert told(first) == [["0.0.0.0", "::"], ["::1"]]
    first.close()

    engine = Engine(tmp_path / "root", Settings(relays=False))
    engine.open()
    with web(engine, container):
        assert engine.info().warnings == ()
        assert told(engine) == [["0.0.0.0"], []]
        assert [str(one.address) for one in engine.exposures(container.id)] == ["0.0.0.0"]
        assert ask(host, "127.0.0.1", 8080) == "a heard 10.1.0.1"
        assert [ask(host, "::1", port) for port in (8080, 8082)] == ["refused", "refused"]
        engine.stop("a", 0)
        with pytest.raises(NetmodelError, match=r"not translate what is sent to ::1, and nothing is to be relayed"):
            engine.start("a")
    clean_up(engine)


def test_a_relayed_port_ends_with_the_container_and_the_engine_and_is_back_with_the_next(
    host: Box, tmp_path: Path
) -> None:
    first = Engine(tmp_path / "root")
    first.open()
    network(first, "n", "10.1.0.0/24")
    container = runner(first)("a", "n", ports=WEB)
    with web(first, container):
        for udp in (False, True):
            assert ask(host, "::1", 8080, udp=udp) == "a heard 10.1.0.1"
        first.close()
        assert ask(host, "::1", 8080) == "refused"

        engine = Engine(tmp_path / "root")
        engine.open()
        try:
            for udp in (False, True):
                assert ask(host, "::1", 8080, udp=udp) == "a heard 10.1.0.1"
            engine.stop("a", timeout_s=0)
            for udp in (False, True):
                assert ask(host, "::1", 8080, udp=udp) == "refused"
        finally:
            clean_up(engine)


def test_an_engine_that_is_killed_leaves_no_name_behind(tmp_path: Path) -> None:
    """Connections that it relayed linger at the host's port until the other side ends them, too."""
    serve = "import socket; s = socket.create_server(('', 80)); c = []\n"
    serve += "while True: c.append(s.accept()[0]); c[-1].sendall(b'hello')"
    with running(tmp_path) as daemon:
        daemon.ok("run", "-d", "--name", "a", "-p", "8080:80", "host", "python3", "-c", serve)

        def greeted() -> socket.socket | None:
            client = daemon.box.open(lambda: socket.socket(socket.AF_INET6, socket.SOCK_STREAM))
            client.settimeout(5)
            try:
                client.connect(("::1", 8080))
                assert client.recv(100) == b"hello"
            except ConnectionResetError:  # nobody listens in the container yet
                client.close()
                return None
            return client

        with eventually(greeted) as lingering:
            daemon.stop(signal.SIGKILL)
            assert lingering.recv(100) == b""
            assert "FIN-WAIT" in daemon.box.run("ss", "-Htan", "sport", "=", "8080").stdout

            daemon.start()

            assert daemon.client.get("/info")["Warnings"] == []
            eventually(greeted).close()

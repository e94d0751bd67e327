"""Options that work with every driver: announcements, and settings of one link."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise

import pytest

from netmodel.engine import Engine
from netmodel.errors import Invalid
from netmodel.model import ContainerConfig, EndpointConfig, NetworkConfig, PoolConfig
from tests.netmodel.engine.conftest import SLEEP, Run, output_of
from tests.netmodel.engine.shared import engine, host
from tests.support.box import Box

__all__ = ["engine", "host"]

pytestmark = pytest.mark.kernel

SYSCTLS = "com.docker.network.endpoint.sysctls"
NMSGS, INTERVAL = "com.docker.network.advertise_addr_nmsgs", "com.docker.network.advertise_addr_ms"
_ARP = 0x0806
_SO_TIMESTAMPNS = 35  # Linux include/uapi/asm-generic/socket.h


def heard(host: Box, engine: Engine, run: Run, *, name: str = "web", most: int) -> list[float]:
    """When a container that starts with a MAC of its own announced its address, until nothing comes any more."""
    [bridge] = [
        line.split(":")[1].strip() for line in host.run("ip", "-o", "link").stdout.splitlines() if "lab" in line
    ]
    times: list[float] = []
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ARP)) as ear:
        ear.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)  # the kernel's clock: we may be late to read
        ear.bind((bridge, _ARP))
        wish = EndpointConfig(network="lan", mac_address="02:00:00:00:00:99", ipv4_address=IPv4Address("10.9.0.7"))
        run(name, networks=(wish,))
        ear.settimeout(0.6)
        try:
            while True:
                arp, [(_, _, stamp)], _, _ = ear.recvmsg(100, 64)
                if arp[14:18] == arp[24:28] == IPv4Address("10.9.0.7").packed:
                    seconds, nanoseconds = struct.unpack("@ll", stamp)
                    times.append(seconds + nanoseconds / 1e9)
                    assert len(times) <= most
        except TimeoutError:
            return times


def make_lan(engine: Engine, **options: str) -> None:
    keys = {NMSGS: options.get("nmsgs"), INTERVAL: options.get("ms"), "com.docker.network.bridge.name": "lab"}
    wanted = {key: value for key, value in keys.items() if value is not None}
    pool = PoolConfig(subnet=IPv4Network("10.9.0.0/24"))
    engine.create_network(NetworkConfig(name="lan", options=wanted, pools=(pool,)))


def test_addresses_are_announced_as_often_as_is_asked(host: Box, engine: Engine, run: Run) -> None:
    make_lan(engine, nmsgs="3", ms="200")

    times = heard(host, engine, run, most=3)

    assert len(times) == 3
    assert all(later - earlier > 0.15 for earlier, later in pairwise(times))


def test_none_are_announced_where_that_is_asked(host: Box, engine: Engine, run: Run) -> None:
    make_lan(engine, nmsgs="0")

    assert heard(host, engine, run, most=0) == []


def test_a_container_that_is_gone_announces_nothing(host: Box, engine: Engine, run: Run) -> None:
    make_lan(engine, nmsgs="3", ms="1000")
    wish = EndpointConfig(network="lan", mac_address="02:00:00:00:00:99")
    run("web", networks=(wish,))
    engine.remove("web", force=True)
    engine.create_network(NetworkConfig(name="other"))
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ARP)) as ear:
        ear.settimeout(1.3)
        run("next", "other")  # at the path that the first one had

        with pytest.raises(TimeoutError):
            ear.recv(100)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({NMSGS: "4"}, "'4' is not a number from 0 to 3"),
        ({INTERVAL: "99"}, "'99' is not a number from 100 to 2000"),
        ({INTERVAL: "soon"}, "'soon' is not a number"),
    ],
)
def test_numbers_out_of_range_are_refused(engine: Engine, options: dict[str, str], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        engine.create_network(NetworkConfig(name="lan", options=options))

    assert len(engine.networks()) == 3


def test_settings_of_a_link(engine: Engine, run: Run) -> None:
    """They find it by its final name, dots and all, and are there again after a stop and a start."""
    settings = "net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.neigh.IFNAME.retrans_time_ms=200"
    engine.create_network(NetworkConfig(name="lan"))
    run("web", networks=(EndpointConfig(network="lan", interface_name="up.link", driver_opts={SYSCTLS: settings}),))

    def told() -> str:
        return output_of(
            engine, "web", "cat", "/proc/sys/net/ipv4/conf/up.link/log_martians",
            "/proc/sys/net/ipv4/neigh/up.link/retrans_time_ms", "/proc/sys/net/ipv4/conf/lo/log_martians",
        )  # fmt: skip

    assert told() == "1\n200\n0\n"
    engine.stop("web", timeout_s=0)
    engine.start("web")
    assert told() == "1\n200\n0\n"


def test_settings_of_a_network_that_is_connected_later(engine: Engine, run: Run) -> None:
    engine.create_network(NetworkConfig(name="lan"))
    run("web")

    engine.connect(
        "lan", "web", EndpointConfig(network="lan", driver_opts={SYSCTLS: "net.ipv4.conf.IFNAME.log_martians=1"})
    )

    assert output_of(engine, "web", "cat", "/proc/sys/net/ipv4/conf/eth1/log_martians") == "1\n"


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({SYSCTLS: "net.ipv4.ip_forward=1"}, "is no setting of one link", "IFNAME"),
        ({SYSCTLS: "net.ipv4.conf.eth0.log_martians=1"}, "is no setting of one link", "IFNAME"),
        ({SYSCTLS: "net.ipv4.conf.IFNAME.log_martians"}, "is no setting of one link", "IFNAME"),
        ({SYSCTLS: "net.ipv4.conf.IFNAME./../x=1"}, "is no setting of one link", "IFNAME"),
        ({"com.docker.network.endpoint.sysctl": "x"}, "endpoints have no option", f"did you mean {SYSCTLS}?"),
    ],
)
def test_options_that_do_not_fit_are_refused(engine: Engine, options: dict[str, str], message: str, hint: str) -> None:
    wish = EndpointConfig(network="bridge", driver_opts=options)

    with pytest.raises(Invalid, match=message) as refused:
        engine.create_container(ContainerConfig(image="host", command=SLEEP, networks=(wish,)), "web")

    assert hint in refused.value.hint
    assert engine.containers() == []


def test_a_setting_that_the_kernel_refuses_stops_the_start(engine: Engine, run: Run) -> None:
    wish = EndpointConfig(network="bridge", driver_opts={SYSCTLS: "net.ipv4.conf.IFNAME.no_such_setting=1"})

    with pytest.raises(Exception, match=r"set net/ipv4/conf/eth0/no_such_setting to 1"):
        run("web", networks=(wish,))

    assert engine.container("web").state.status == "created"

"""The store keeps records over its end, each commit whole or not at all."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path

import pytest

from netmodel.errors import Conflict, Unavailable
from netmodel.model import (
    Container,
    ContainerConfig,
    ContainerState,
    Endpoint,
    EndpointConfig,
    MountConfig,
    Network,
    NetworkConfig,
    NetworkPool,
    PoolConfig,
    PortConfig,
    RouteConfig,
    Volume,
    VolumeConfig,
)
from netmodel.store import SqliteStore

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
NETWORK = Network(
    id="a" * 64,
    created_at=NOW,
    state="creating",
    config=NetworkConfig(
        name="lan",
        options={"com.docker.network.driver.mtu": "1400"},
        enable_ipv6=True,
        pools=(PoolConfig(subnet=IPv4Network("10.1.0.0/24"), auxiliary={"printer": IPv4Address("10.1.0.9")}),),
    ),
    pools=(
        NetworkPool(subnet=IPv4Network("10.1.0.0/24"), gateway=IPv4Address("10.1.0.1")),
        NetworkPool(subnet=IPv6Network("fd00:1::/64"), gateway=IPv6Address("fd00:1::1")),
    ),
)
CONTAINER = Container(
    id="b" * 64,
    name="web",
    created_at=NOW,
    sandbox="b" * 64,
    idmap_base=1 << 20,
    config=ContainerConfig(
        image="host",
        command=("sleep", "1"),
        cpus=0.5,
        networks=(EndpointConfig(network="lan", ipv4_address=IPv4Address("10.1.0.7")),),
        routes=(RouteConfig(destination=IPv4Network("0.0.0.0/0"), via=IPv4Address("10.1.0.1")),),
        mounts=(MountConfig(type="tmpfs", target="/scratch", tmpfs_size_bytes=4096),),
    ),
    state=ContainerState(status="running", pid=7, started_at=NOW),
    ports=(PortConfig(container_port=80, host_port=8080, host_address=IPv6Address("::1")),),
)
ENDPOINT = Endpoint(
    id="c" * 64,
    network_id=NETWORK.id,
    container_id=CONTAINER.id,
    config=CONTAINER.config.networks[0],
    mac="02:42:0a:01:00:07",
    interface="eth0",
    addresses=(IPv4Interface("10.1.0.7/24"), IPv6Interface("fd00:1::7/64")),
)
VOLUME = Volume(config=VolumeConfig(name="data", labels={"a": "b"}), created_at=NOW)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def reopened(store: SqliteStore, path: Path) -> SqliteStore:
    store.close()
    return SqliteStore(path)


def test_every_kind_of_record_comes_back_as_it_was(path: Path) -> None:
    store = SqliteStore(path)
    store.write(put=[NETWORK, CONTAINER, ENDPOINT, VOLUME], meta={"project/x": "{}"})

    store = reopened(store, path)

    assert store.list(Network) == [NETWORK]
    assert store.list(Container) == [CONTAINER]
    assert store.list(Endpoint) == [ENDPOINT]
    assert store.list(Volume) == [VOLUME]
    assert store.get(Volume, "data") == VOLUME
    assert store.get(Network, "nothing") is None
    assert store.meta("project/") == {"project/x": "{}"}
    assert store.meta("other/") == {}
    store.close()


def test_replacing_a_record_keeps_its_place_in_the_order(path: Path) -> None:
    store = SqliteStore(path)
    others = [replace(ENDPOINT, id=f"{number}" * 64) for number in range(3)]
    store.write(put=others)

    store.write(put=[replace(others[0], interface="lan0")])

    assert [one.interface for one in store.list(Endpoint)] == ["lan0", "eth0", "eth0"]
    store.close()


def test_a_commit_is_whole_or_not_at_all(path: Path) -> None:
    store = SqliteStore(path)
    store._db.execute("CREATE TRIGGER refuse BEFORE INSERT ON endpoints BEGIN SELECT RAISE(ABORT, 'no'); END")

    with pytest.raises(sqlite3.IntegrityError):
        store.write(put=[NETWORK, ENDPOINT])

    assert store.list(Network) == []
    store.write(put=[NETWORK])  # and it goes on
    store.write(delete=[NETWORK, VOLUME])
    assert store.list(Network) == []
    store.close()


def test_another_formats_file_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version=99")
    other.close()

    with pytest.raises(Conflict, match="format 99"):
        SqliteStore(path)


def test_a_damaged_file_is_named(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)

    with pytest.raises(Conflict, match="is damaged: file is not a database"):
        SqliteStore(path)


def test_a_full_disk_is_said_in_one_sentence(path: Path) -> None:
    store = SqliteStore(path)
    store._db.execute("PRAGMA max_page_count=1")

    with pytest.raises(Unavailable) as full:
        store.write(put=[replace(NETWORK, id=str(number)) for number in range(100)])

    assert str(full.value) == f"the disk is full: cannot write {path}"
    assert full.value.hint == f"make room on the file system of {path.parent}"
    assert store.list(Network) == []
    store.close()

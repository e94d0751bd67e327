"""Plans out of records: nothing here touches a kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from netmodel.errors import Conflict
from netmodel.model import (
    Container,
    ContainerConfig,
    ContainerState,
    Endpoint,
    EndpointConfig,
    Network,
    NetworkConfig,
    PortConfig,
    Volume,
    VolumeConfig,
)
from netmodel.project import Project
from netmodel.topology.config_hash import config_hash
from netmodel.topology.plan import Step, in_order, plan
from tests.netmodel.topology.support import project

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LAB = """
services:
  web: {image: host, command: a, depends_on: [db], networks: [lan]}
  db: {image: host, networks: [lan], volumes: ['data:/data']}
  side: {image: host, network_mode: 'service:web'}
networks: {lan: {}}
volumes: {data: {}}
"""


class Records:
    """What an engine would remember after it has put a project up."""

    def __init__(self, declared: Project) -> None:
        self.networks = [
            Network(id=f"n-{one.config.name}", config=one.config, created_at=NOW) for one in declared.networks
        ]
        self.volumes = [Volume(config=one.config, created_at=NOW) for one in declared.volumes]
        self.containers = [
            Container(
                id=f"c-{one.name}",
                name=one.name,
                config=one.config,
                created_at=NOW,
                sandbox=f"c-{one.name}",
                idmap_base=None,
                state=ContainerState(status="running", pid=1),
            )
            for one in declared.containers
        ]
        self.endpoints = [
            Endpoint(
                id=f"e-{one.name}-{endpoint.network}",
                network_id=f"n-{endpoint.network}",
                container_id=one.id,
                config=endpoint,
                mac="02:00:00:00:00:01",
                interface="eth0",
            )
            for one in self.containers
            for endpoint in one.config.networks
        ]

    def plan(self, declared: Project) -> tuple[Step, ...]:
        return plan(declared, self.networks, self.endpoints, self.containers, self.volumes)

    def change(self, name: str, change: Callable[[Container], Container]) -> None:
        self.containers = [change(one) if one.name == name else one for one in self.containers]


def _told(steps: tuple[Step, ...]) -> list[str]:
    return [f"{step.action} {step.kind} {step.name}: {step.reason}" for step in steps if step.action != "keep"]


def test_nothing_there_means_make_it_all_in_order(tmp_path: Path) -> None:
    steps = plan(project(tmp_path, LAB), [], [], [], [])

    assert [(step.action, step.name) for step in steps] == [
        ("create", "lab_lan"),
        ("create", "lab_data"),
        ("create", "lab-db-1"),
        ("create", "lab-web-1"),
        ("create", "lab-side-1"),
    ]
    assert {step.reason for step in steps} == {"it does not exist yet"}


def test_all_there_means_keep_it_all(tmp_path: Path) -> None:
    declared = project(tmp_path, LAB)

    steps = Records(declared).plan(declared)

    assert {step.action for step in steps} == {"keep"}
    assert all(step.id for step in steps)


def test_what_came_from_the_image_is_no_change(tmp_path: Path) -> None:
    """A container has its image's signal and ports where the file says nothing of them."""
    declared = project(tmp_path, LAB)
    records = Records(declared)
    records.containers = [
        replace(one, config=replace(one.config, stop_signal="SIGQUIT", exposed_ports=(PortConfig(container_port=80),)))
        for one in records.containers
    ]

    steps = records.plan(project(tmp_path, LAB.replace("command: a", "command: b")))

    assert _told(steps)[0] == "recreate container lab-web-1: command changed"


def test_a_changed_key_is_named(tmp_path: Path) -> None:
    before = Records(project(tmp_path, LAB))

    steps = before.plan(project(tmp_path, LAB.replace("command: a", "command: b, mem_limit: 5m")))

    assert _told(steps) == [
        "recreate container lab-web-1: command, mem_limit changed",
        "recreate container lab-side-1: it shares the network of lab-web-1, which is made anew",
    ]


def test_another_image_of_that_name_is_a_change(tmp_path: Path) -> None:
    declared = project(tmp_path, LAB)
    before = Records(declared)
    before.containers = [replace(one, image_id="sha256:1") for one in before.containers]
    image = declared.containers[0].config.image

    def steps(images: dict[str, str]) -> list[str]:
        return _told(plan(declared, before.networks, before.endpoints, before.containers, before.volumes, images))

    assert steps({}) == steps({image: "sha256:1"}) == []
    assert steps({image: "sha256:2"})[0] == f"recreate container lab-db-1: {image} is another image now"


def test_a_changed_network_takes_its_containers_along(tmp_path: Path) -> None:
    before = Records(project(tmp_path, LAB))

    steps = before.plan(project(tmp_path, LAB.replace("lan: {}", "lan: {internal: true}")))

    assert _told(steps) == [
        "recreate network lab_lan: internal changed",
        "recreate container lab-db-1: network lab_lan is made anew",
        "recreate container lab-web-1: network lab_lan is made anew",
        "recreate container lab-side-1: it shares the network of lab-web-1, which is made anew",
    ]


def test_what_does_not_run_is_started(tmp_path: Path) -> None:
    declared = project(tmp_path, LAB)
    records = Records(declared)
    records.change("lab-db-1", lambda one: replace(one, state=ContainerState(status="exited", exit_code=3)))
    records.change("lab-web-1", lambda one: replace(one, state=ContainerState()))

    assert _told(records.plan(declared)) == [
        "start container lab-db-1: it has exited with 3",
        "start container lab-web-1: it was created, but never started",
    ]


def test_what_is_half_made_is_made_anew(tmp_path: Path) -> None:
    declared = project(tmp_path, LAB)
    records = Records(declared)
    records.change("lab-db-1", lambda one: replace(one, creating=True))

    assert _told(records.plan(declared)) == ["recreate container lab-db-1: it was left half-made"]


def test_a_lost_connection_is_seen(tmp_path: Path) -> None:
    declared = project(tmp_path, LAB)
    records = Records(declared)
    records.endpoints = [one for one in records.endpoints if one.container_id != "c-lab-db-1"]

    assert _told(records.plan(declared)) == [
        "recreate container lab-db-1: it is not connected to network lab_lan",
    ]


def test_orphans_go(tmp_path: Path) -> None:
    before = project(
        tmp_path,
        "services: {a: {image: host, scale: 3, networks: [lan]}, b: {image: host, networks: [old]}}\n"
        "networks: {lan: , old: }",
    )
    after = project(tmp_path, "services: {a: {image: host, scale: 2, networks: [lan]}}\nnetworks: {lan: }")

    assert _told(Records(before).plan(after)) == [
        "remove container lab-a-3: service a has fewer replicas than 3 now",
        "remove container lab-b-1: service b is no longer declared",
        "remove network lab_old: it is no longer declared",
    ]


def test_a_changed_volume_keeps_its_data(tmp_path: Path) -> None:
    records = Records(project(tmp_path, LAB))

    steps = records.plan(project(tmp_path, LAB.replace("data: {}", "data: {labels: {a: b}}")))

    assert [step.reason for step in steps if step.kind == "volume"] == [
        "labels changed, but its data is kept; remove the volume to apply that"
    ]


def test_others_things_are_not_taken(tmp_path: Path) -> None:
    declared = project(tmp_path, LAB + "\n")
    records = Records(declared)
    records.networks = [Network(id="n", config=NetworkConfig(name="lab_lan"), created_at=NOW)]
    records.change("lab-db-1", lambda one: replace(one, config=ContainerConfig(image="host")))

    with pytest.raises(Conflict) as caught:
        records.plan(declared)

    assert str(caught.value).split("\n") == [
        'a network "lab_lan" exists and does not belong to project "lab"',
        'a container "lab-db-1" exists and does not belong to project "lab"',
    ]


def test_a_network_in_use_by_others_is_not_made_anew(tmp_path: Path) -> None:
    records = Records(project(tmp_path, LAB))
    stranger = replace(records.containers[0], id="c-s", name="stranger", config=ContainerConfig(image="host"))
    records.containers.append(stranger)
    records.endpoints.append(replace(records.endpoints[0], id="e-s", container_id="c-s"))

    with pytest.raises(Conflict, match='network "lab_lan" has changed, but stranger of another project uses it'):
        records.plan(project(tmp_path, LAB.replace("lan: {}", "lan: {internal: true}")))


def test_what_is_external_must_be_there(tmp_path: Path) -> None:
    declared = project(
        tmp_path,
        "services: {a: {image: host, networks: [lan]}}\n"
        "networks: {lan: {external: true}}\n"
        "volumes: {v: {external: true}}",
    )

    with pytest.raises(Conflict) as caught:
        plan(declared, [], [], [], [])
    assert str(caught.value).split("\n") == [
        'network "lan" is declared external and does not exist',
        'volume "v" is declared external and does not exist',
    ]
    assert caught.value.hint == "create it first"

    there = Network(id="n", config=NetworkConfig(name="lan"), created_at=NOW)
    volume = Volume(config=VolumeConfig(name="v"), created_at=NOW)
    assert [(step.action, step.name) for step in plan(declared, [there], [], [], [volume])] == [("create", "lab-a-1")]


def test_order_is_linear_in_a_long_chain(tmp_path: Path) -> None:
    count = 3000
    services = "".join(f"  s{i}: {{<<: *base, depends_on: [s{i + 1}]}}\n" for i in range(count))
    base = "x-base: &base {image: host, network_mode: none}\n"
    declared = project(tmp_path, f"{base}services:\n{services}  s{count}: {{<<: *base}}\n")

    assert [one.service for one in in_order(declared.containers)] == [f"s{i}" for i in range(count, -1, -1)]


def test_hash_is_stable_and_blind_to_defaults_and_to_composes_labels() -> None:
    config = ContainerConfig(image="host", environment={"A": "1", "B": "2"}, networks=(EndpointConfig(network="lan"),))

    # Kept in labels of running containers: changing it would make each of them look changed.
    assert config_hash(config) == "d3dbdc67ceefac31ee8aae35a970bcd618273a54beec85a41d776f1fe2efa35f"
    assert config_hash(replace(config, environment={"B": "2", "A": "1"})) == config_hash(config)
    assert config_hash(replace(config, labels={"com.docker.compose.project": "x"})) == config_hash(config)
    assert config_hash(replace(config, labels={"a": "x"})) != config_hash(config)
    assert config_hash(replace(config, networks=())) != config_hash(config)
